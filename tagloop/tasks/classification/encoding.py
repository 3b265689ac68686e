"""Turns texts, or pairs of texts, into rows of sub-token ids with a label; once per machine."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
import torch
from transformers import PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows, to_tensors
from tagloop.data.storage.arrays import Arrays, map_arrays, write_arrays
from tagloop.data.storage.store import build_once, source_digest
from tagloop.models.tokenizers import require_known, tokenizer_digest

# Several processes are used from this number of rows on. A process takes 3 s to start, and so many
# rows take more than 10 s.
WORTH_PROCESSES = 100_000
ARRAY_TYPES = {
    "input_ids": np.int32,
    "type_ids": np.int8,
    "num_words": np.int32,
    "offsets": np.int64,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledRows(SubTokenRows):
    """Rows with one label each: a text, or a pair of texts.

    Attributes:
        type_ids: int8 [num_sub_tokens], which text of a pair; None: the model takes none.
        labels: int64 or float32 [num_rows], class ids or numbers; ids above those of the model
            are of classes that it does not know.
        has_label: bool [num_rows].
        is_learned: bool [num_rows], has a label that the model can predict.
        num_words: int32 [num_rows].
        num_unknown: how many sub-tokens stand for something unknown to the tokenizer.
        class_weights: float64 [num_classes], the weight of a target by its class; None: each is 1.
    """

    type_ids: np.ndarray | None
    labels: np.ndarray
    has_label: np.ndarray
    is_learned: np.ndarray
    num_words: np.ndarray
    num_unknown: int = 0
    class_weights: np.ndarray | None = None

    @property
    def packable(self) -> bool:
        """False, because a row has one answer, and a packed row could not hold several of them."""
        return False

    @property
    def output_lengths(self) -> np.ndarray:
        """0 for every row, int32 [num_rows], because the whole row has one answer."""
        return np.zeros(len(self), dtype=np.int32)

    @property
    def num_units(self) -> np.ndarray:
        """The number of words of every row, int32 [num_rows]."""
        return self.num_words

    @cached_property
    def target_weights(self) -> np.ndarray:
        """The weight of a label that the model can predict, else 0, float64 [num_rows]."""
        if self.class_weights is None:
            return self.is_learned.astype(np.float64)
        return np.where(self.is_learned, self.class_weights[self.labels * self.is_learned], 0.0)

    @property
    def prediction_offsets(self) -> np.ndarray:
        """The offsets of one prediction for every row, int64 [num_rows + 1]."""
        return np.arange(len(self) + 1)

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad rows on the right into the tensors of one micro-batch, see `Examples.collate`.

        Returns:
            input_ids, attention_mask and, if the model takes them, token_type_ids:
            int64 [rows, columns]. labels: [rows], int64 or float32; a row without a label has
            IGNORE_INDEX or NaN.
        """
        rows = ids if len(ids) else self.stand_in()
        batch = self.pad_inputs(rows)
        if self.type_ids is not None:
            batch["token_type_ids"] = self.pad(rows, self.type_ids, 0)
        is_target = self.is_learned[rows] & (len(ids) > 0)
        nothing = np.nan if self.labels.dtype.kind == "f" else IGNORE_INDEX
        batch["labels"] = np.where(is_target, self.labels[rows], self.labels.dtype.type(nothing))
        return to_tensors(batch)


def encode_texts(
    dataset: datasets.Dataset,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    read_label: Callable[[str], int | float | None],
    *,
    num_classes: int | None,
    has_pairs: bool,
    max_length: int,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
    num_workers: int = 1,
) -> tuple[LabelledRows, int]:
    """Tokenize a split.

    A text that is too long loses its end; of a pair the longer text is cut first.

    Args:
        dataset: columns `text`, `pair` (null: one text) and `label` (null: none), strings;
            `fingerprint` stands for its rows.
        read_label: a cell of `label` -> class id or number, None for no label.
        has_pairs: as in `TextEncoder`: of the run, so that no row depends on others of its split.
        num_classes: of the model; ids from there on are never learned. None: labels are numbers.
        max_length: sub-tokens of a row, special tokens included.
        num_workers: processes that tokenize; they change no byte.

    Returns:
        The rows, and the number of rows that lost their end.

    Raises:
        InputError: a label cannot be read, or nearly all sub-tokens are unknown to the tokenizer.
    """
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "cuts_off": tokenizer.truncation_side,
        "code": source_digest("tagloop.tasks.classification.encoding"),
        "max_length": max_length,
        "has_pairs": has_pairs,
    }

    def build(folder: Path) -> None:
        encoder = TextEncoder(tokenizer, max_length, has_pairs)
        counts = write_arrays(
            folder,
            dataset.select_columns(["text", "pair"]),
            encoder,
            ARRAY_TYPES,
            offsets=["offsets"],
            num_workers=num_workers,
            worth_processes=WORTH_PROCESSES,
        )
        counts = {"cut": 0, "unknown": 0, "sub_tokens": 0} | counts
        require_known(counts["unknown"], counts["sub_tokens"], "sub-tokens")
        (folder / "facts.json").write_text(json.dumps(counts), encoding="utf-8")

    folder = build_once("texts", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    arrays: dict[str, np.ndarray | None] = map_arrays(folder, ARRAY_TYPES)
    if "token_type_ids" not in tokenizer.model_input_names:
        arrays["type_ids"] = None
    rows = LabelledRows(
        **arrays,
        **label_arrays(dataset["label"][:], read_label, num_classes),
        num_unknown=facts["unknown"],
        pad_token_id=tokenizer.pad_token_id or 0,
        special_ids=tokenizer.all_special_ids,
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )
    return rows, facts["cut"]


def label_arrays(
    cells: Sequence[str | None],
    read_label: Callable[[str], int | float | None],
    num_classes: int | None,
) -> dict[str, np.ndarray]:
    """The arrays `labels`, `has_label` and `is_learned` of `LabelledRows`.

    Args:
        cells: of the column `label`, one for each row.
        read_label, num_classes: as in `encode_texts`.

    >>> label_arrays(["1", None, "2"], int, 2)["is_learned"].tolist()
    [True, False, False]
    """
    known = {cell: read_label(cell) for cell in dict.fromkeys(cells) if cell is not None}
    values = [None if cell is None else known[cell] for cell in cells]
    is_class = num_classes is not None
    labels = np.array([value or 0 for value in values], np.int64 if is_class else np.float32)
    has_label = np.array([value is not None for value in values], dtype=bool)
    is_learned = has_label & (labels < num_classes) if is_class else has_label
    return {"labels": labels, "has_label": has_label, "is_learned": is_learned}


@dataclass(frozen=True)
class TextEncoder:
    """Turns a table of texts into rows of sub-tokens.

    Attributes:
        max_length: sub-tokens of a row, special tokens included, at most.
        has_pairs: True if some rows have two texts; all other rows then have an empty second text.
    """

    tokenizer: PreTrainedTokenizerFast
    max_length: int
    has_pairs: bool

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The arrays of some rows, how many rows lost their end, how many sub-tokens are unknown.

        See `Encoder` in tagloop/data/storage/arrays.py.
        """
        texts = [text or "" for text in table["text"].to_pylist()]
        pairs = [pair or "" for pair in table["pair"].to_pylist()] if self.has_pairs else None
        encodings = self.tokenizer(
            texts, pairs, truncation=True, max_length=self.max_length, verbose=False
        ).encodings
        ids = [encoding.ids for encoding in encodings]
        type_ids = [encoding.type_ids for encoding in encodings]
        whole = texts if pairs is None else map(" ".join, zip(texts, pairs, strict=True))
        arrays = {
            "input_ids": np.fromiter(chain.from_iterable(ids), np.int32),
            "type_ids": np.fromiter(chain.from_iterable(type_ids), np.int8),
            "num_words": np.array([len(text.split()) for text in whole]),
            "offsets": np.array([len(row) for row in ids]),
        }
        special = np.fromiter(
            chain.from_iterable(encoding.special_tokens_mask for encoding in encodings), bool
        )
        inside, unknown_id = arrays["input_ids"][~special], self.tokenizer.unk_token_id
        unknown = 0 if unknown_id is None else int(np.count_nonzero(inside == unknown_id))
        cut = sum(bool(encoding.overflowing) for encoding in encodings)
        return arrays, {"cut": cut, "unknown": unknown, "sub_tokens": len(inside)}
