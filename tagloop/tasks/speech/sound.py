"""Reads recordings: files of sound -> samples of one channel at the rate that a model hears.

    sound = read_sound(Path("clips/a.flac"), 16_000, "clips/a.flac")
    sound.samples  # int16 [num_samples]

WAV files with samples of 16 bits need no further package. `soundfile` reads all others.
"""

import io
import stat
import wave
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from tagloop.errors import InputError

SCALE = 32768  # Samples are numbers from -1 to 1; 16 bits hold a multiple of them.
RATES = range(1000, 1_000_000)  # samples a second; a file with another rate is damaged
SILENT = 33  # of 32768: about -60 dB; nothing that is said is as quiet
# The first bytes of the files that soundfile reads; "text named .wav" has none of them.
KNOWN = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff")
UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # in the head of a WAV file that was written into a pipe
W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")  # The first bytes of a file of Wave64.


class Sound(NamedTuple):
    """A recording.

    Attributes:
        samples: int16 [num_samples], one channel, at the rate that was asked for.
        rate: samples a second in the file.
        channels: in the file; the samples are their mean.
    """

    samples: np.ndarray
    rate: int
    channels: int

    @property
    def is_silent(self) -> bool:
        """True if no sample is louder than noise."""
        return int(np.abs(self.samples.astype(np.int32)).max()) < SILENT


def read_sound(source: Path | bytes, rate: int, name: str) -> Sound:
    """Read a recording, whole.

    Args:
        source: a file, or the content of one.
        rate: samples a second of the result.
        name: what messages call the recording.

    Raises:
        InputError: the recording cannot be read, is cut off, holds no samples or samples that are
            no numbers, or needs a package that is not there.
    """
    data = source if isinstance(source, bytes) else _content_of(source, name)
    if not data:
        raise InputError(f"{name}: the file is empty; record it again, or leave its row out")
    _require_whole(data, name)
    values, own_rate = _read_plain(data, name) or _read_with_soundfile(data, name)
    if own_rate not in RATES:
        raise InputError(f"{name}: its head says {own_rate:,} samples a second; it is damaged")
    if not len(values):
        raise InputError(f"{name}: it has no samples; record it again, or leave its row out")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(
            f"{name}: it has samples that are no numbers (NaN or infinite); write the file again, "
            "or leave its row out"
        )
    channels = values.shape[1]
    if values.dtype == np.int16 and channels == 1 and own_rate == rate:
        return Sound(values[:, 0], own_rate, channels)
    mean = values.mean(1) / (SCALE if values.dtype == np.int16 else 1)
    if own_rate != rate:
        shared = gcd(rate, own_rate)
        mean = resample_poly(mean.astype(np.float64), rate // shared, own_rate // shared)
    samples = np.rint(mean * SCALE).clip(-SCALE, SCALE - 1).astype(np.int16)
    return Sound(samples, own_rate, channels)


def _content_of(path: Path, name: str) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{name}: is no plain file; name a file of sound")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read ({reason}); check its name") from error


def _require_whole(data: bytes, name: str) -> None:
    """Refuse a file that is shorter than its head says; readers would take what is left."""
    size = _promised_size(data)
    if size > len(data) + 1:
        raise InputError(
            f"{name}: the file is cut off: its head says {size:,} bytes, and it has "
            f"{len(data):,}; copy it again, or leave its row out"
        )


def _promised_size(data: bytes) -> int:
    """The bytes that the head of a file says the file has; 0: it says nothing."""
    if len(data) < 12:
        return 0
    first, second = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8))
    if data[:4] == b"RIFF":
        first = int.from_bytes(data[4:8], "little")
    if data[:4] in (b"RIFF", b"RIFX", b"FORM"):
        return 0 if first in UNKNOWN_SIZES else first + 8
    if data[:4] == b".snd":  # where the samples begin, and their number of bytes
        return 0 if second in UNKNOWN_SIZES else first + second
    if data[:4] == b"RF64" and data[12:16] == b"ds64":
        return int.from_bytes(data[20:28], "little") + 8
    if data[:16] == W64:
        return int.from_bytes(data[16:24], "little")
    return 0


def _read_plain(data: bytes, name: str) -> tuple[np.ndarray, int] | None:
    """The samples of a WAV file of 16 bits, int16 [num_samples, channels], and its rate.

    None: the file has another format. Raises InputError if samples are missing at the end.
    """
    if data[:4] != b"RIFF":
        return None
    try:
        with wave.open(io.BytesIO(data)) as file:
            if file.getsampwidth() != 2:
                return None
            content = file.readframes(file.getnframes())
            channels, rate = file.getnchannels(), file.getframerate()
            promised = 2 * channels * file.getnframes()
    except (wave.Error, EOFError, RuntimeError):
        return None
    if len(content) < promised and _promised_size(data):
        raise InputError(
            f"{name}: the file is cut off: {len(content):,} of {promised:,} bytes of its samples "
            "are there; copy it again, or leave its row out"
        )
    whole = len(content) // (2 * channels) * channels
    return np.frombuffer(content, "<i2", whole).astype(np.int16).reshape(-1, channels), rate


def _read_with_soundfile(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """The samples that soundfile reads, float32 [num_samples, channels], and their rate."""
    is_mp3 = data[0] == 0xFF and len(data) > 1 and data[1] & 0xE0 == 0xE0
    remedy = "save it as WAV or FLAC, or leave its row out"
    if not (data.startswith(KNOWN) or is_mp3):
        raise InputError(f"{name}: is no file of sound; {remedy}")
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise InputError(
            f"{name}: only WAV files of 16 bits are read without the package soundfile; "
            "pip install soundfile, or convert the files"
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            number, rate = file.frames, file.samplerate
            values = file.read(dtype="float32", always_2d=True)
    except MemoryError as error:
        raise InputError(
            f"{name}: its head says {number:,} samples, for which there is no memory; it is "
            "damaged or too long, so write it again, or leave its row out"
        ) from error
    except (soundfile.SoundFileError, ValueError) as error:
        raise InputError(
            f"{name}: cannot be read, as it is damaged or of a format that the package soundfile "
            f"does not know; {remedy}"
        ) from error
    if len(values) < number < 2**62:
        raise InputError(
            f"{name}: the file is cut off: {len(values):,} of {number:,} samples can be read; "
            "copy it again, or leave its row out"
        )
    return values, rate
