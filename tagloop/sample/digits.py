"""The recordings of the built-in sample: digits, of two chirps each, as if somebody spoke them."""

import io
import wave

import numpy as np

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000  # samples a second
SIZES = {"train": 1600, "validation": 100, "test": 100}
MOST_WORDS = 3  # in a recording
SEED = 1729
LOUDNESS = 16000  # of 32768


def build_sample_digits() -> dict[str, list[dict]]:
    """Return the splits train, validation and test: rows with `audio` (a WAV file) and `text`.

    The speakers have other pitches and speeds, and there is noise around them.
    """
    result = {}
    for split, size in SIZES.items():
        draw = np.random.Generator(np.random.PCG64([SEED, *split.encode()]))
        result[split] = [_draw_row(draw) for _ in range(size)]
    return result


def _draw_row(draw: np.random.Generator) -> dict:
    numbers = draw.integers(0, len(WORDS), draw.integers(1, MOST_WORDS + 1)).tolist()
    pitch, speed = draw.uniform(0.96, 1.04), draw.uniform(0.9, 1.1)
    before = np.zeros(int(RATE * draw.uniform(0.01, 0.05)))
    sound = np.concatenate([before, *(_speak(number, pitch, speed) for number in numbers)])
    sound = (sound + draw.normal(0, 0.01, len(sound))).clip(-1, 1)
    text = " ".join(WORDS[number] for number in numbers)
    return {"audio": {"bytes": as_wav((sound * LOUDNESS).astype(np.int16), RATE)}, "text": text}


def _speak(number: int, pitch: float, speed: float) -> np.ndarray:
    """A digit, float64 [num_samples]: a low tone that rises or falls, and a high one beside it."""
    low, high = 350 * pitch * 1.35 ** (number % 5), 1200 * pitch * 1.25 ** (number // 2)
    time = np.arange(int(RATE * 0.2 / speed)) / RATE
    bend = 1 + (0.5 if number % 2 else -0.3) * time / time[-1]
    envelope = np.sin(np.pi * time / time[-1]).clip(0) ** 0.5
    tones = 0.4 * np.sin(2 * np.pi * low * bend * time) + 0.3 * np.sin(2 * np.pi * high * time)
    return np.concatenate([envelope * tones, np.zeros(int(RATE * 0.04 / speed))])


def as_wav(samples: np.ndarray, rate: int) -> bytes:
    """The content of a WAV file.

    Args:
        samples: int16 [num_samples], or [num_samples, channels].
        rate: samples a second.
    """
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()
