"""Files of sound: what is read, what becomes of it, and what cannot be read."""

import io

import numpy as np
import pytest
from recordings import tone

from tagloop.errors import InputError
from tagloop.sample.digits import as_wav
from tagloop.tasks.speech.columns import source_of
from tagloop.tasks.speech.sound import read_sound

RATE = 16_000


def pitch_of(samples: np.ndarray, rate: int = RATE) -> float:
    """The strongest frequency in Hz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(power.argmax() * rate / len(samples))


def test_a_plain_file_keeps_its_samples():
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    sound = read_sound(as_wav(samples, RATE), RATE, "a.wav")
    assert (sound.rate, sound.channels) == (RATE, 1)
    assert np.array_equal(sound.samples, samples)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_another_rate_is_resampled_and_not_heard_at_another_speed(rate):
    sound = read_sound(tone(0.5, rate=rate), RATE, "a.wav")
    assert len(sound.samples) == pytest.approx(0.5 * RATE, abs=2)
    assert pitch_of(sound.samples) == pytest.approx(440, abs=5)
    assert np.abs(sound.samples).max() == pytest.approx(8000, rel=0.1)


def test_channels_are_averaged():
    left = np.full(100, 1000, np.int16)
    sound = read_sound(as_wav(np.stack([left, 3 * left], 1), RATE), RATE, "a.wav")
    assert sound.channels == 2
    assert (sound.samples == 2000).all()


def test_silence_is_known():
    quiet = np.random.default_rng(0).integers(-9, 9, 500).astype(np.int16)
    assert read_sound(as_wav(quiet, RATE), RATE, "a.wav").is_silent
    assert not read_sound(tone(0.1), RATE, "a.wav").is_silent


BAD = {
    "a file that is cut off": (tone(0.2)[:-500], "cut off"),
    "a text": (b"not a sound at all, but some text", "is no file of sound"),
    "an empty file": (b"", "the file is empty"),
    "no samples": (as_wav(np.zeros(0, np.int16), RATE), "no samples"),
    "a rate of nothing": (as_wav(np.ones(9, np.int16), 7), "damaged"),
    "half a head": (tone(0.1)[:20], "cut off"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_named_with_a_remedy(case):
    content, fragment = BAD[case]
    with pytest.raises(InputError) as caught:
        read_sound(content, RATE, "clips/a.wav")
    message = str(caught.value)
    assert message.startswith("clips/a.wav: ")
    assert fragment in message
    assert len(message.splitlines()) == 1


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_sound(tmp_path / "a.wav", RATE, "a.wav")
    with pytest.raises(InputError, match="no plain file"):
        read_sound(tmp_path, RATE, "a.wav")


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "FLOAT"), ("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)],
)
def test_soundfile_reads_other_formats(format, subtype):
    soundfile = pytest.importorskip("soundfile")
    time = np.arange(RATE // 2) / RATE
    content = io.BytesIO()
    samples = np.stack([0.25 * np.sin(2 * np.pi * 440 * time)] * 2, 1)
    soundfile.write(content, samples, RATE, format=format, subtype=subtype)
    sound = read_sound(content.getvalue(), 8000, "a")
    assert (sound.rate, sound.channels) == (RATE, 2)
    assert pitch_of(sound.samples, 8000) == pytest.approx(440, abs=5)


def test_a_damaged_file_is_named_without_the_address_of_its_content():
    pytest.importorskip("soundfile")
    with pytest.raises(InputError, match=r"^a\.flac: cannot be read, as it is damaged") as caught:
        read_sound(b"fLaC" + bytes(50), RATE, "a.flac")
    assert "BytesIO" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"),
     ("WAV", "PCM_24"), ("FLAC", "PCM_16")],
)  # fmt: skip
def test_every_format_is_whole_or_refused(kind, subtype):
    soundfile = pytest.importorskip("soundfile")
    content = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    soundfile.write(content, noise, RATE, format=kind, subtype=subtype)
    whole = content.getvalue()
    assert len(read_sound(whole, RATE, "a").samples) == RATE
    with pytest.raises(InputError, match=r"a: (the file is cut off|cannot be read)"):
        read_sound(whole[: len(whole) * 6 // 10], RATE, "a")


def test_a_wav_without_all_samples_of_its_head_is_refused_but_not_one_of_a_pipe():
    whole = as_wav(np.ones(1000, np.int16), RATE)
    size, cut = len(whole) - 500, whole[:-500]
    shorter = cut[:4] + (size - 8).to_bytes(4, "little") + cut[8:]
    with pytest.raises(InputError, match=r"1,500 of 2,000 bytes of its samples"):
        read_sound(shorter, RATE, "a.wav")
    of_a_pipe = cut[:4] + b"\xff" * 4 + cut[8:40] + b"\xff" * 4 + cut[44:]
    assert len(read_sound(of_a_pipe, RATE, "a.wav").samples) == 750


def test_a_head_that_promises_too_many_samples_is_refused():
    soundfile = pytest.importorskip("soundfile")
    content = io.BytesIO()
    soundfile.write(content, np.full(RATE, 0.1), RATE, format="FLAC")
    damaged = bytearray(content.getvalue())
    damaged[21] |= 15
    damaged[22] = 255
    with pytest.raises(
        InputError, match=r"a\.flac: (its head says|cannot be read|the file is cut)"
    ):
        read_sound(bytes(damaged), RATE, "a.flac")


def test_a_name_with_a_null_character_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_sound(tmp_path / "a\0b.wav", RATE, "a")


def test_samples_that_are_no_numbers_and_cut_off_flac_are_refused():
    soundfile = pytest.importorskip("soundfile")
    content = io.BytesIO()
    soundfile.write(content, np.array([0.1, np.nan] * 99), RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(InputError, match="no numbers"):
        read_sound(content.getvalue(), RATE, "a.wav")
    content = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    soundfile.write(content, noise, RATE, format="FLAC")
    with pytest.raises(InputError, match=r"a\.flac: (cannot be read|the file is cut off)"):
        read_sound(content.getvalue()[:-9000], RATE, "a.flac")


@pytest.mark.parametrize("name", ["a\0.wav", "a\ud800.wav", " ", None, ["a.wav"]])
def test_what_is_no_name_of_a_recording_is_refused(name):
    with pytest.raises(InputError, match=r"^a\.jsonl:1: no recording"):
        source_of(name, "a.jsonl:1")
