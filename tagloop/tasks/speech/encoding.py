"""Recordings as samples and transcripts as sub-tokens: built once per machine, memory-mapped.

Neither depends on the other. What a model hears of the samples (the log-mel features) is computed
when a batch needs it: features of a second take as much room as those of 30 s.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from tagloop.batches.pairs import PairRows
from tagloop.data.storage.arrays import Arrays, map_arrays, write_arrays
from tagloop.data.storage.store import build_once, source_digest
from tagloop.files import sha256_of
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.tasks.speech.columns import files_of, recording_of
from tagloop.tasks.speech.sound import SCALE, read_sound
from tagloop.tasks.speech.texts import shape_text

AT_ONCE = 32  # recordings that are in memory at once
# Several processes are used from this number of rows on; a process takes 3 s to start.
WORTH_PROCESSES = 5_000
SOUND_TYPES = {"samples": np.int16, "offsets": np.int64}
TEXT_TYPES = {"input_ids": np.int32, "offsets": np.int64, "num_words": np.int32}


class Sounds(NamedTuple):
    """All recordings of a split.

    Attributes:
        samples: int16 [num_samples], one recording after the other, at the rate of the model.
        offsets: int64 [num_rows + 1]; recording i is samples[offsets[i] : offsets[i + 1]].
        facts: `fingerprint`, a hash of samples and transcripts; `rates`, how many files had each
            rate; `channels`, the same of the numbers of channels; `silent`, how many say nothing.
    """

    samples: np.ndarray
    offsets: np.ndarray
    facts: dict[str, Any]


class Transcripts(NamedTuple):
    """All transcripts of a split as sub-tokens.

    Attributes:
        input_ids: int32 [num_sub_tokens], what the decoder learns to write: the prompt without the
            id of the start, the transcript, the end.
        offsets: int64 [num_rows + 1]; a row without a transcript has no sub-token.
        num_words: int32 [num_rows].
        facts: `empty`, how many transcripts are there, and hold no word.
    """

    input_ids: np.ndarray
    offsets: np.ndarray
    num_words: np.ndarray
    facts: dict[str, int]


@dataclass(frozen=True, eq=False)
class Heard:
    """What the encoder of Whisper hears of some recordings; the source of `PairRows`.

    Attributes:
        sounds: all recordings of the split.
        rows: int64 [num_examples], the row of the split that each example is.
        extractor: computes the features of a recording.
    """

    sounds: Sounds
    rows: np.ndarray
    extractor: WhisperFeatureExtractor

    @property
    def lengths(self) -> np.ndarray:
        """The frames of a recording, int32 [num_examples]: of all as many, as silence pads them."""
        return np.full(len(self.rows), self.extractor.nb_max_frames, np.int32)

    @property
    def padded_lengths(self) -> np.ndarray:
        """The same as the lengths."""
        return self.lengths

    def pad_inputs(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """input_features, float32 [rows, mels, frames].

        Each recording is heard alone, so its features do not depend on the batch.

        Args:
            ids: int64 [rows], numbers of examples.
        """
        return {"input_features": np.stack([self.features_of(number) for number in ids])}

    def features_of(self, number: int) -> np.ndarray:
        """The features of an example, float32 [mels, frames]."""
        row = self.rows[number]
        begin, end = self.sounds.offsets[row : row + 2]
        return features_of(self.sounds.samples[begin:end], self.extractor)


def features_of(samples: np.ndarray, extractor: WhisperFeatureExtractor) -> np.ndarray:
    """The log-mel features of a recording, float32 [mels, frames].

    Args:
        samples: int16 [num_samples], at the rate of the extractor.
    """
    values = samples.astype(np.float32) / SCALE
    found = extractor(values, sampling_rate=extractor.sampling_rate, return_tensors="np")
    return found.input_features[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordingRows(PairRows):
    """The examples of a split: recordings that the encoder hears, and their transcripts.

    Attributes:
        rows: int64 [num_examples], ascending, the row of the split that each example is. A row
            that is too long for the model, among others, is no example.
        num_rows: of the split.
        num_words: int32 [num_examples], words of the transcripts.
        left_out: why rows are no examples, and how many.
        sounds: facts of `Sounds`, and `seconds` of the examples.
        num_empty: transcripts without a word.
    """

    rows: np.ndarray
    num_rows: int
    num_words: np.ndarray
    left_out: dict[str, int]
    sounds: dict[str, Any]
    num_empty: int

    unit: ClassVar[str] = "words"

    @property
    def num_units(self) -> np.ndarray:
        """The words of every transcript, int32 [num_examples]."""
        return self.num_words


def load_sounds(
    dataset: datasets.Dataset, fingerprint: str, rate: int, *, num_workers: int = 1
) -> Sounds:
    """Read the recordings of a split, and store their samples.

    Args:
        dataset: the columns of RecordingReader; `fingerprint` stands for its rows.
        rate: samples a second that the model hears.
        num_workers: processes that read; they change no byte.

    Raises:
        InputError: a recording cannot be read.
    """
    digest = hashlib.sha256()
    # The contents of files are not read here; the fingerprint of the rows stands for them.
    parts = dataset.select_columns(["file", "place"]).with_format("arrow").iter(1000)
    cells = (row for part in parts for row in part.to_pylist())
    for facts in files_of((row["file"], row["place"]) for row in cells):
        digest.update(json.dumps(facts).encode())
    key = {
        "rows": fingerprint,
        "files": digest.hexdigest(),  # A file may change while the table that names it does not.
        "rate": rate,
        "code": source_digest("tagloop.tasks.speech.encoding"),
    }

    def build(folder: Path) -> None:
        counts = write_arrays(
            folder,
            dataset.select_columns(["file", "content", "place"]),
            SoundEncoder(rate),
            SOUND_TYPES,
            offsets=["offsets"],
            num_workers=num_workers,
            worth_processes=WORTH_PROCESSES,
            rows_at_once=AT_ONCE,
        )
        content = hashlib.sha256()
        for name in SOUND_TYPES:
            content.update(sha256_of(folder / f"{name}.npy").encode())
        for part in dataset.select_columns(["text"]).with_format("arrow").iter(1000):
            content.update(json.dumps(part["text"].to_pylist()).encode())
        found = {"fingerprint": content.hexdigest(), "silent": counts.pop("silent", 0)}
        for kind in ("rates", "channels"):
            own = {name: n for name, n in counts.items() if name.startswith(kind)}
            found[kind] = {int(name.split()[1]): n for name, n in sorted(own.items())}
        (folder / "facts.json").write_text(json.dumps(found), encoding="utf-8")

    folder = build_once("sounds", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Sounds(**map_arrays(folder, SOUND_TYPES), facts=facts)


@dataclass(frozen=True)
class SoundEncoder:
    """Reads recordings. See `Encoder` in tagloop/data/storage/arrays.py."""

    rate: int

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The samples of some rows.

        Raises:
            InputError: a recording cannot be read.
        """
        counts: Counter[str] = Counter()
        parts = []
        for row in table.to_pylist():
            name, source = recording_of(row["file"], row["content"], row["place"])
            sound = read_sound(source, self.rate, name)
            parts.append(sound.samples)
            counts[f"rates {sound.rate}"] += 1
            counts[f"channels {sound.channels}"] += 1
            counts["silent"] += sound.is_silent
        lengths = np.array([len(part) for part in parts], np.int64)
        return {"samples": np.concatenate(parts), "offsets": lengths}, dict(counts)


def load_transcripts(
    dataset: datasets.Dataset,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    start_id: int,
    *,
    lower_case: bool,
    num_workers: int = 1,
) -> Transcripts:
    """Tokenize the transcripts of a split, and store their sub-tokens.

    Args:
        dataset: the column `text`; `fingerprint` stands for its rows.
        start_id: the id that the decoder reads first. The tokenizer writes it, too, and it is no
            target.
        lower_case: True writes the transcripts in lower case.
        num_workers: processes that tokenize; they change no byte.
    """
    encoder = TranscriptEncoder(tokenizer, start_id, lower_case)
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "encoder": [start_id, lower_case],
        "code": source_digest("tagloop.tasks.speech.encoding"),
    }

    def build(folder: Path) -> None:
        counts = write_arrays(
            folder,
            dataset.select_columns(["text"]),
            encoder,
            TEXT_TYPES,
            offsets=["offsets"],
            num_workers=num_workers,
            worth_processes=100_000,
        )
        (folder / "facts.json").write_text(json.dumps({"empty": 0} | counts), encoding="utf-8")

    folder = build_once("transcripts", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Transcripts(**map_arrays(folder, TEXT_TYPES), facts=facts)


@dataclass(frozen=True)
class TranscriptEncoder:
    """Turns transcripts into sub-tokens. See `Encoder` in tagloop/data/storage/arrays.py."""

    tokenizer: PreTrainedTokenizerFast
    start_id: int
    lower_case: bool

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The sub-tokens of some rows, with prompt and end; none for a row without a transcript."""
        texts = table["text"].to_pylist()
        known = [shape_text(text, self.lower_case) for text in texts if text is not None]
        encoded = iter(encode_texts(self.tokenizer, known, self.start_id))
        rows = [[] if text is None else next(encoded) for text in texts]
        words = [len((text or "").split()) for text in texts]
        arrays = {
            "input_ids": np.fromiter((id_ for ids in rows for id_ in ids), np.int32),
            "offsets": np.array([len(ids) for ids in rows], np.int64),
            "num_words": np.array(words, np.int32),
        }
        return arrays, {"empty": sum(not text.strip() for text in known)}


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], start_id: int
) -> list[list[int]]:
    """The sub-tokens of transcripts with all that the tokenizer puts around them, but the start.

    The decoder reads the start anyway; if the labels had it, too, the model would learn to write a
    second one.
    """
    rows = tokenizer(list(texts), verbose=False).input_ids if texts else []
    return [ids[1:] if ids[:1] == [start_id] else ids for ids in rows]
