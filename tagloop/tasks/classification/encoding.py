"""Texts, or pairs of them, -> rows of sub-token ids with a label each, built once per machine."""

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import tokenizers
import torch
from transformers import PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows, to_tensors
from tagloop.data.store import build_once, source_digest
from tagloop.models.tokenizers import tokenizer_digest

BATCH = 1000  # rows


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
    """

    type_ids: np.ndarray | None
    labels: np.ndarray
    has_label: np.ndarray
    is_learned: np.ndarray
    num_words: np.ndarray

    @property
    def packable(self) -> bool:
        """A row has one answer, so it does not share its place in a batch."""
        return False

    @property
    def output_lengths(self) -> np.ndarray:
        """One answer for a whole row, int32 [num_rows]."""
        return np.zeros(len(self), dtype=np.int32)

    @property
    def num_units(self) -> np.ndarray:
        """Words of every row, int32 [num_rows]."""
        return self.num_words

    @property
    def target_weights(self) -> np.ndarray:
        """1 where there is a label that the model can predict, float64 [num_rows]."""
        return self.is_learned.astype(np.float64)

    @property
    def prediction_offsets(self) -> np.ndarray:
        """One prediction for every row, int64 [num_rows + 1]."""
        return np.arange(len(self) + 1)

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad rows on the right; IGNORE_INDEX where there is no label. See `Examples.collate`.

        Returns:
            input_ids, attention_mask and, if the model takes them, token_type_ids:
            int64 [num_rows, columns]; labels [num_rows], without one IGNORE_INDEX or NaN.
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
    max_length: int,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
) -> tuple[LabelledRows, int]:
    """Tokenize a split; texts that are too long lose their end, the longer of a pair first.

    Args:
        dataset: columns `text`, `pair` (null: one text) and `label` (null: none), strings;
            `fingerprint` stands for its rows.
        read_label: a cell of `label` -> class id or number, None for no label.
        num_classes: of the model; ids from there on are never learned. None: labels are numbers.
        max_length: sub-tokens of a row, special tokens included.

    Returns:
        The rows, and how many lost their end.
    """
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "code": source_digest("tagloop.tasks.classification.encoding"),
        "max_length": max_length,
    }

    def build(folder: Path) -> None:
        _write_rows(folder, dataset, tokenizer, max_length)

    folder = build_once("texts", key, build)
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("input_ids", "type_ids", "num_words", "offsets")
    }
    if "token_type_ids" not in tokenizer.model_input_names:
        arrays["type_ids"] = None
    cells = dataset["label"][:]
    values = [None if cell is None else read_label(cell) for cell in cells]
    is_class = num_classes is not None
    labels = np.array([value or 0 for value in values], np.int64 if is_class else np.float32)
    has_label = np.array([value is not None for value in values], dtype=bool)
    rows = LabelledRows(
        **arrays,
        labels=labels,
        has_label=has_label,
        is_learned=has_label & (labels < num_classes) if is_class else has_label,
        pad_token_id=tokenizer.pad_token_id or 0,
        special_ids=tokenizer.all_special_ids,
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )
    return rows, json.loads((folder / "facts.json").read_text(encoding="utf-8"))["cut"]


def _write_rows(
    folder: Path, dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int
) -> None:
    ids, types, words, offsets, cut = array("i"), array("b"), array("i"), array("q", [0]), 0
    has_pairs = any(cell is not None for cell in dataset["pair"])
    for batch in dataset.iter(BATCH):
        texts = [text or "" for text in batch["text"]]
        pairs = [pair or "" for pair in batch["pair"]] if has_pairs else None
        for encoding in tokenizer(
            texts, pairs, truncation=True, max_length=max_length, verbose=False
        ).encodings:
            ids.extend(encoding.ids)
            types.extend(encoding.type_ids)
            offsets.append(len(ids))
            cut += bool(encoding.overflowing)
        whole = texts if pairs is None else map(" ".join, zip(texts, pairs, strict=True))
        words.extend(len(text.split()) for text in whole)
    flat = {"input_ids": ids, "type_ids": types, "num_words": words, "offsets": offsets}
    for name, values in flat.items():
        np.save(folder / f"{name}.npy", np.frombuffer(values, values.typecode))
    (folder / "facts.json").write_text(json.dumps({"cut": cut}), encoding="utf-8")
