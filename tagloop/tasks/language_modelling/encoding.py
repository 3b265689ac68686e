"""Turns texts into rows or blocks of sub-tokens; once per machine, streaming, memory-mapped.

    rows, facts = encode_texts(dataset, fingerprint, tokenizer, Cutting(length=128), ...)

The sub-tokens of all texts stand in one array on the disk. Only the offsets decide where a row
begins and ends: texts as they are, long texts in several rows, or blocks that cut through texts.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

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

WORTH_PROCESSES = 100_000  # Texts; with fewer, the start of other processes takes longer.
IDS_AT_ONCE = 1 << 24  # Sub-tokens that are counted at once.
ARRAY_TYPES = {"input_ids": np.int32, "offsets": np.int64, "num_pieces": np.int32}


class Cutting(NamedTuple):
    """How texts become rows.

    Attributes:
        length: sub-tokens of a row, at most.
        in_blocks: True joins all texts and cuts them into blocks; the last one may be shorter.
        with_special: True gives every row of a long text special tokens of its own. False cuts
            the sub-tokens of the whole text. None leaves the special tokens of the tokenizer out.
        line_end: what is put behind every text.
        last_id: the id that is put behind the sub-tokens of every text; None: no id.
    """

    length: int
    in_blocks: bool = False
    with_special: bool | None = False
    line_end: str = ""
    last_id: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TextRows(SubTokenRows):
    """Rows of running text. A subclass says which sub-tokens are targets.

    Attributes:
        text_of_row: int64 [num_rows], the number of the text that a row is a part of; None: the
            rows are blocks, and a block may hold parts of several texts.
        num_texts: the number of texts of the split; some may have no row.
    """

    text_of_row: np.ndarray | None
    num_texts: int
    unit: ClassVar[str] = "tokens"
    wide_rows: ClassVar[bool] = True
    only_targets: ClassVar[bool] = True

    @property
    def packable(self) -> bool:
        """True if rows are texts. Blocks have one length, so nothing is gained for them."""
        return self.text_of_row is not None

    @property
    def output_lengths(self) -> np.ndarray:
        """A row of logits for every sub-token, int32 [num_rows]."""
        return self.lengths

    @property
    def num_units(self) -> np.ndarray:
        """The sub-tokens of every row, int32 [num_rows]."""
        return self.lengths

    @property
    def prediction_offsets(self) -> np.ndarray:
        """The offsets of one prediction for every row, int64 [num_rows + 1]."""
        return np.arange(len(self) + 1)

    def sum_texts(self, values: np.ndarray) -> np.ndarray:
        """Sum values of rows over the rows of every text; of blocks every block is one text.

        Args:
            values: [num_rows].

        Returns:
            float64 [num_texts], or [num_rows] for blocks.
        """
        if self.text_of_row is None:
            return values.astype(np.float64)
        return np.bincount(self.text_of_row, values, minlength=self.num_texts)

    def parts(self) -> Iterator[np.ndarray]:
        """All sub-token ids in parts that fit into memory, int32 [up to IDS_AT_ONCE] each."""
        for start in range(0, len(self.input_ids), IDS_AT_ONCE):
            yield np.asarray(self.input_ids[start : start + IDS_AT_ONCE])

    def target_counts(self, num_ids: int) -> np.ndarray:
        """How often every id is, or may be, a target, int64 [num_ids]."""
        return sum(np.bincount(part, minlength=num_ids) for part in self.parts())


@dataclass(frozen=True, eq=False, kw_only=True)
class CausalRows(TextRows):
    """Rows in which every sub-token is the target of the one before it."""

    @cached_property
    def goes_on(self) -> np.ndarray:
        """True for a row whose text goes on in the next row, bool [num_rows].

        The last sub-token of this row learns the first one of the next row. Blocks do not go on,
        as in transformers' script.
        """
        goes_on = np.zeros(len(self), dtype=bool)
        if self.text_of_row is not None:
            goes_on[:-1] = self.text_of_row[1:] == self.text_of_row[:-1]
        return goes_on

    @cached_property
    def target_weights(self) -> np.ndarray:
        """The number of targets of every row, float64 [num_rows]."""
        return (self.lengths - 1 + self.goes_on).astype(np.float64)

    def target_counts(self, num_ids: int) -> np.ndarray:
        """How often every id is a target, int64 [num_ids]."""
        counts = super().target_counts(num_ids)
        begins_anew = np.concatenate([[True], ~self.goes_on[:-1]])
        first = self.input_ids[self.offsets[:-1][begins_anew]]
        return counts - np.bincount(first, minlength=num_ids)

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad rows on the right, see `Examples.collate`.

        Returns:
            input_ids, attention_mask and labels, int64 [rows, columns]. The label of a sub-token
            is the next sub-token.
        """
        rows = ids if len(ids) else self.stand_in()
        batch = self.pad_inputs(rows)
        batch["labels"] = np.full_like(batch["input_ids"], IGNORE_INDEX)
        goes_on = self.goes_on
        for row, number in enumerate(ids):
            begin, end = self.offsets[number] + 1, self.offsets[number + 1] + goes_on[number]
            batch["labels"][row, : end - begin] = self.input_ids[begin:end]
        return to_tensors(batch)


def encode_texts(
    dataset: datasets.Dataset,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    cutting: Cutting,
    *,
    num_workers: int = 1,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Tokenize the texts of a split and cut them into rows. No sub-token is dropped.

    Args:
        dataset: the column `text`; `fingerprint` stands for its rows.
        num_workers: processes that tokenize; they change no byte.

    Returns:
        The attributes input_ids, offsets, text_of_row and num_texts of TextRows; and how many
        `texts` are `blank`, are `long` (several rows), and how many sub-tokens are `unknown`.

    Raises:
        InputError: nearly all sub-tokens are unknown to the tokenizer.
    """
    encoder = TextEncoder(tokenizer, cutting)
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "cuts_off": tokenizer.truncation_side,
        "code": source_digest("tagloop.tasks.language_modelling.encoding"),
        # Blocks, and texts without special tokens in each row, are cut below, from the same arrays.
        "encoder": [encoder.window, cutting.line_end, cutting.last_id, encoder.is_bare],
    }

    def build(folder: Path) -> None:
        counts = write_arrays(
            folder,
            dataset.select_columns(["text"]),
            encoder,
            ARRAY_TYPES,
            offsets=["offsets"],
            num_workers=num_workers,
            worth_processes=WORTH_PROCESSES,
        )
        counts = {"sub_tokens": 0, "unknown": 0, "blank": 0} | counts
        require_known(counts["unknown"], counts["sub_tokens"], "sub-tokens")
        (folder / "facts.json").write_text(json.dumps(counts), encoding="utf-8")

    folder = build_once("sub_tokens", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    arrays = map_arrays(folder, ARRAY_TYPES)
    ids, offsets, num_pieces = (arrays[name] for name in ARRAY_TYPES)
    text_of_row = np.repeat(np.arange(len(num_pieces)), num_pieces)
    if cutting.in_blocks:
        offsets = np.append(np.arange(0, len(ids), cutting.length), len(ids))
        text_of_row = None
    elif not cutting.with_special:
        offsets, piece_of_row = cut_rows(offsets, cutting.length)
        text_of_row = text_of_row[piece_of_row]
    if text_of_row is not None:
        facts["long"] = int((np.bincount(text_of_row) > 1).sum())
    rows = {"input_ids": ids, "offsets": offsets, "text_of_row": text_of_row}
    return rows | {"num_texts": len(num_pieces)}, facts


def cut_rows(offsets: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut pieces of more than `length` sub-tokens into rows; all rows of a piece but the last are
    full.

    Args:
        offsets: int64 [num_pieces + 1].

    Returns:
        The offsets of the rows, int64 [num_rows + 1], and the number of the piece that every row
        is of, int64 [num_rows].

    >>> cut_rows(np.array([0, 3, 8]), 2)
    (array([0, 2, 3, 5, 7, 8]), array([0, 0, 1, 1, 1]))
    """
    counts = -(-np.diff(offsets) // length)
    piece_of_row = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(piece_of_row)) - np.repeat(counts.cumsum() - counts, counts)
    return np.append(offsets[piece_of_row] + length * within, offsets[-1]), piece_of_row


@dataclass(frozen=True)
class TextEncoder:
    """Turns a table of texts into pieces of sub-tokens."""

    tokenizer: PreTrainedTokenizerFast
    cutting: Cutting

    @property
    def window(self) -> int | None:
        """The length of pieces with special tokens; None: a text is one piece of any length."""
        is_cut = self.cutting.with_special and not self.cutting.in_blocks
        return self.cutting.length if is_cut else None

    @property
    def is_bare(self) -> bool:
        """True if the tokenizer adds no special tokens."""
        return self.cutting.with_special is None

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The pieces of some texts. A blank text without a line end has no piece.

        See `Encoder` in tagloop/data/storage/arrays.py.
        """
        texts = [text or "" for text in table["text"].to_pylist()]
        is_kept = [bool(text.strip() or self.cutting.line_end) for text in texts]
        kept = [
            text + self.cutting.line_end for text, keep in zip(texts, is_kept, strict=True) if keep
        ]
        cut = {} if self.window is None else {"truncation": True, "max_length": self.window}
        cut["add_special_tokens"] = not self.is_bare
        encodings = self.tokenizer(kept, **cut, verbose=False).encodings if kept else []
        pieces = [[each.ids, *(more.ids for more in each.overflowing)] for each in encodings]
        if self.cutting.last_id is not None:
            pieces = [[[*ids, self.cutting.last_id] for ids in text] for text in pieces]
        pieces = [[ids for ids in text if ids] for text in pieces]
        num_pieces = np.zeros(len(texts), np.int32)
        num_pieces[np.array(is_kept, dtype=bool)] = [len(text) for text in pieces]
        flat = [*chain.from_iterable(pieces)]
        arrays = {
            "input_ids": np.fromiter(chain.from_iterable(flat), np.int32),
            "offsets": np.array([len(ids) for ids in flat], np.int64),
            "num_pieces": num_pieces,
        }
        unknown_id = self.tokenizer.unk_token_id
        is_unknown = arrays["input_ids"] == (-1 if unknown_id is None else unknown_id)
        if unknown_id in (self.tokenizer.bos_token_id, self.cutting.last_id):
            is_unknown[:] = False  # GPT-2 has one token for the unknown and for the end of a text.
        return arrays, {
            "unknown": int(is_unknown.sum()),
            "sub_tokens": len(is_unknown),
            "blank": int((num_pieces == 0).sum()),
        }
