"""A corpus as windows of sub-token ids: built once per machine, memory-mapped, padded on demand.

    windows = load_windows(dataset, tokenizer, label2id, ...)   # flat arrays on disk
    batch = windows.collate(window_ids)                         # padded tensors of one micro-batch

A process holds the lengths and label counts of the windows (8 bytes each); all else stays on disk.
"""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import datasets
import numpy as np
import tokenizers
import torch
from transformers import PreTrainedTokenizerFast

from tagloop.data import schemes
from tagloop.data.store import build_once, source_digest
from tagloop.tasks.tagging import alignment
from tagloop.training.examples import IGNORE_INDEX, SubTokenRows, to_tensors
from tagloop.training.tokenizers import (
    Template,
    probe_template,
    tokenize_words,
    tokenizer_digest,
)

ARRAY_TYPES = {  # array.array's type codes: i int32, h int16, q int64
    "input_ids": "i",
    "labels": "h",
    "offsets": "q",
    "num_labels": "i",
    "first_sub_token": "i",
    "word_offsets": "q",
    "references": "h",
    "sentence_offsets": "q",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Windows(SubTokenRows):
    """All windows of one split: the examples of tagging, one row each.

    Attributes:
        labels: int16 [num_sub_tokens], IGNORE_INDEX where a sub-token is not learned from.
        num_labels: int32 [num_windows], labelled sub-tokens.
        first_sub_token: int32 [num_words], a word's first sub-token, counted in its window.
        word_offsets: int64 [num_windows + 1], the words that a window owns.
        references: int16 [num_words], label ids, IGNORE_INDEX for a word without a gold tag.
        sentence_offsets: int64 [num_sentences + 1], the words of a sentence.
        facts: what was met on the way (words without sub-tokens, sentences cut, words shortened).
    """

    labels: np.ndarray
    num_labels: np.ndarray
    first_sub_token: np.ndarray
    word_offsets: np.ndarray
    references: np.ndarray
    sentence_offsets: np.ndarray
    facts: dict[str, int]
    template: Template

    @property
    def num_targets(self) -> np.ndarray:
        """Labelled sub-tokens, int32 [num_windows]."""
        return self.num_labels

    @cached_property
    def num_words(self) -> np.ndarray:
        """Words that a window owns, int32 [num_windows]."""
        return np.diff(self.word_offsets).astype(np.int32)

    @property
    def prediction_offsets(self) -> np.ndarray:
        """One value a word: a label id."""
        return self.word_offsets

    def label_counts(self, num_labels: int) -> np.ndarray:
        """How often each label is learned from, int64 [num_labels]."""
        learned = self.labels[self.labels != IGNORE_INDEX]
        return np.bincount(learned, minlength=num_labels)

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad windows on the right into the tensors of one micro-batch; see `Examples.collate`.

        Returns:
            input_ids, attention_mask, labels and, if the model takes them, token_type_ids:
            int64 [num_windows, padded_length].
        """
        ignore_all = len(ids) == 0
        ids = self.stand_in() if ignore_all else ids
        batch = self.pad_inputs(ids)
        batch["labels"] = self.pad(ids, self.labels, IGNORE_INDEX)
        if ignore_all:
            batch["labels"][:] = IGNORE_INDEX
        if self.template.type_ids:
            batch["token_type_ids"] = self._type_ids(ids, batch["input_ids"].shape)
        return to_tensors(batch)

    def _type_ids(self, ids: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        before, body, after = self.template.type_ids
        type_ids = np.zeros(shape, dtype=np.int64)
        for row, length in enumerate(self.lengths[ids]):
            suffix_at = length - len(after)
            type_ids[row, : len(before)] = before
            type_ids[row, len(before) : suffix_at] = body
            type_ids[row, suffix_at:length] = after
        return type_ids


def load_windows(
    dataset: datasets.Dataset,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    label2id: dict[str, int],
    *,
    max_length: int,
    stride: int | None,
    label_all_tokens: bool,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
) -> Windows:
    """The windows of one split, built once per machine.

    Args:
        dataset: columns `tokens` and `tags`; `fingerprint` stands for its rows.
        max_length: sub-tokens in a window, special tokens included.
        stride: sub-tokens that neighbouring windows share; None: a quarter of a window.
    """
    template = probe_template(tokenizer)
    budget = max_length - template.num_special
    how = {
        "label2id": label2id,
        "budget": budget,
        "stride": budget // 4 if stride is None else min(stride, budget // 2),
        "label_all_tokens": label_all_tokens,
    }
    key = {
        "corpus": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "code": source_digest("data", "tasks/tagging", "training"),
        **how,
    }

    def build(folder: Path) -> None:
        sentences = dataset.iter(batch_size=1000)
        arrays, facts = encode_sentences(sentences, tokenizer, template, **how)
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    folder = build_once("windows", key, build)
    return Windows(
        **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAY_TYPES},
        facts=json.loads((folder / "facts.json").read_text(encoding="utf-8")),
        template=template,
        pad_token_id=tokenizer.pad_token_id or 0,  # masked, so any id does
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )


def encode_sentences(
    batches: Iterable[dict[str, list]],
    tokenizer: PreTrainedTokenizerFast,
    template: Template,
    *,
    label2id: dict[str, int],
    budget: int,
    stride: int,
    label_all_tokens: bool,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Tokenize, cut and label sentences.

    Args:
        batches: dicts of `tokens` and `tags` (None: no gold tag), lists of sentences.
        budget: sub-tokens of words in a window.

    Returns:
        The arrays of `Windows` by name, and the facts to report.
    """
    arrays = {name: array(code) for name, code in ARRAY_TYPES.items()}
    facts = {"words_without_sub_tokens": 0, "words_shortened": 0, "sentences_cut": 0}
    for name in ("offsets", "word_offsets", "sentence_offsets"):
        arrays[name].append(0)
    # A word that the tokenizer makes nothing of still has to be predicted.
    stand_in = next(
        token_id
        for token_id in (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id, 0)
        if token_id is not None
    )
    for batch in batches:
        pieces_of_batch = tokenize_words(tokenizer, batch["tokens"])
        for pieces, tags in zip(pieces_of_batch, batch["tags"], strict=True):
            facts["words_without_sub_tokens"] += sum(not word for word in pieces)
            facts["words_shortened"] += sum(len(word) > budget for word in pieces)
            pieces = [word[:budget] or [stand_in] for word in pieces]
            counts = [len(word) for word in pieces]
            windows = alignment.cut_windows(counts, budget=budget, stride=stride) if counts else []
            facts["sentences_cut"] += len(windows) > 1
            for window in windows:
                _append_window(arrays, window, pieces, tags, template, label2id, label_all_tokens)
            arrays["references"].extend(
                IGNORE_INDEX if tag is None else label2id[tag] for tag in tags
            )
            arrays["sentence_offsets"].append(len(arrays["references"]))
    return {name: np.frombuffer(values, values.typecode) for name, values in arrays.items()}, facts


def _append_window(arrays, window, pieces, tags, template, label2id, label_all_tokens) -> None:
    ids, labels = list(template.prefix), [IGNORE_INDEX] * len(template.prefix)
    for word in range(window.start, window.end):
        word_labels = [IGNORE_INDEX] * len(pieces[word])
        if window.own_start <= word < window.own_end:
            arrays["first_sub_token"].append(len(ids))
            if tags[word] is not None:
                word_labels[0] = label2id[tags[word]]
                if label_all_tokens:
                    later = label2id.get(schemes.continuation(tags[word]), word_labels[0])
                    word_labels[1:] = [later] * (len(word_labels) - 1)
        ids += pieces[word]
        labels += word_labels
    arrays["input_ids"].extend(ids + template.suffix)
    arrays["labels"].extend(labels + [IGNORE_INDEX] * len(template.suffix))
    arrays["num_labels"].append(sum(label != IGNORE_INDEX for label in labels))
    arrays["offsets"].append(len(arrays["input_ids"]))
    arrays["word_offsets"].append(len(arrays["first_sub_token"]))
