"""A split as windows of sub-token ids: built once per machine, memory-mapped, padded in batches.

    windows = load_windows(dataset, fingerprint, tokenizer, label2id, ...)   # arrays on the disk
    batch = windows.collate(window_ids)                  # padded tensors of one micro-batch

A process holds the lengths, the target weights and the numbers of words of all windows in memory
(20 bytes for each window); all other arrays stay on the disk.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import datasets
import numpy as np
import tokenizers
import torch
from transformers import PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows, to_tensors
from tagloop.data.storage.arrays import map_arrays
from tagloop.data.storage.store import build_once, source_digest
from tagloop.models.tokenizers import Template, probe_template, tokenizer_digest
from tagloop.tasks.tagging.alignment import resolve_stride
from tagloop.tasks.tagging.encoding import ARRAY_TYPES, build_encoder, encode_sentences

WINDOWS_AT_ONCE = 1 << 16  # The labels stay on the disk; so many windows of them are read at once.


@dataclass(frozen=True, eq=False, kw_only=True)
class Windows(SubTokenRows):
    """All windows of one split: they are the examples of tagging, and each is one row.

    Attributes:
        labels: int16 [num_sub_tokens], IGNORE_INDEX where a sub-token is not learned from.
        num_targets: int32 [num_windows], sub-tokens that are learned from.
        first_sub_token: int32 [num_words], a word's first sub-token, counted in its window.
        word_offsets: int64 [num_windows + 1], the words that a window owns.
        references: int16 [num_words], label ids, IGNORE_INDEX for a word without a gold tag; ids
            above those of the model are of tags that it does not know.
        sentence_offsets: int64 [num_sentences + 1], the words of a sentence.
        facts: the numbers of encoding.FACTS: words without sub-tokens, words shortened, sentences
            cut, words, and words that the tokenizer does not know.
        template: where the tokenizer puts its special tokens.
        class_weights: float64 [num_labels], the weight of a target by its label; None: each is 1.
    """

    labels: np.ndarray
    num_targets: np.ndarray
    first_sub_token: np.ndarray
    word_offsets: np.ndarray
    references: np.ndarray
    sentence_offsets: np.ndarray
    facts: dict[str, int]
    template: Template
    class_weights: np.ndarray | None = None

    @property
    def packable(self) -> bool:
        """True, because labels and outputs belong to sub-tokens, so windows may share a row."""
        return True

    @property
    def output_lengths(self) -> np.ndarray:
        """The number of sub-tokens of every window, int32 [num_windows]; each has its logits."""
        return self.lengths

    @cached_property
    def target_weights(self) -> np.ndarray:
        """The sum of the weights of the targets of every window, float64 [num_windows]."""
        if self.class_weights is None:
            return self.num_targets.astype(np.float64)
        weight_of = np.append(self.class_weights, 0.0)  # The last one is for IGNORE_INDEX.
        sums = np.zeros(len(self))
        for start in range(0, len(self), WINDOWS_AT_ONCE):
            offsets = self.offsets[start : start + WINDOWS_AT_ONCE + 1]
            labels = self.labels[offsets[0] : offsets[-1]]
            weights = weight_of[np.where(labels == IGNORE_INDEX, -1, labels)]
            sums[start : start + WINDOWS_AT_ONCE] = np.add.reduceat(
                weights, offsets[:-1] - offsets[0]
            )
        return sums

    @cached_property
    def num_units(self) -> np.ndarray:
        """The number of own words of every window, int32 [num_windows]."""
        return np.diff(self.word_offsets).astype(np.int32)

    @property
    def prediction_offsets(self) -> np.ndarray:
        """The offsets of one prediction for every own word, int64 [num_windows + 1]."""
        return self.word_offsets

    def label_counts(self, num_labels: int) -> np.ndarray:
        """The number of targets with each label, int64 [num_labels]."""
        learned = self.labels[self.labels != IGNORE_INDEX]
        return np.bincount(learned, minlength=num_labels)

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad windows on the right into the tensors of one micro-batch; see `Examples.collate`.

        Returns:
            input_ids, attention_mask, labels and, if the model takes them, token_type_ids:
            int64 [rows, columns].
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
        lengths = self.lengths[ids]
        type_ids = np.where(np.arange(shape[1]) < lengths[:, None], body, 0)
        type_ids[:, : len(before)] = before
        for number, value in enumerate(after, start=-len(after)):
            type_ids[np.arange(len(ids)), lengths + number] = value
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
    num_workers: int = 1,
    unknown: Sequence[str] = (),
    context_tokens: int = 0,
) -> Windows:
    """Load the windows of one split; they are built once per machine.

    Args:
        dataset: columns `tokens`, `tags` and, for context, `document`; `fingerprint` stands for its
            rows.
        max_length: sub-tokens in a window, special tokens included.
        stride: as `resolve_stride` takes it.
        num_workers: processes that build them; they change no byte.
        unknown: tags of the data that the model does not know.
        context_tokens: as `build_encoder` takes it.
    """
    template = probe_template(tokenizer)
    budget = max_length - template.num_special
    options = {
        "label2id": label2id | {tag: len(label2id) + n for n, tag in enumerate(unknown)},
        "num_labels": len(label2id),
        "budget": budget,
        "stride": resolve_stride(stride, budget),
        "label_all_tokens": label_all_tokens,
        "context_tokens": context_tokens,
    }
    key = {
        "corpus": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "code": source_digest("tagloop.tasks.tagging.encoding"),
        **options,
    }

    def build(folder: Path) -> None:
        encoder = build_encoder(tokenizer, template, **options)
        facts = encode_sentences(folder, dataset, encoder, num_workers=num_workers)
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    folder = build_once("windows", key, build)
    return Windows(
        **map_arrays(folder, ARRAY_TYPES),
        facts=json.loads((folder / "facts.json").read_text(encoding="utf-8")),
        template=template,
        pad_token_id=tokenizer.pad_token_id or 0,  # The mask hides padding, so any id will do.
        special_ids=tokenizer.all_special_ids,
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )
