"""The corpus as windows of sub-token ids: built once per machine, memory-mapped, padded on demand.

    windows = load_windows(config, corpus, tokenizer, model_config, ...)   # flat arrays on disk
    batch = windows["train"].collate(window_ids)              # padded tensors of one micro-batch

A process holds the lengths and label counts of the windows (8 bytes each); all else stays on disk.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch.utils.data import DataLoader, Dataset

import alignment
import schemes
from batching import deal_update
from cache import build_once, source_digest
from errors import InputError

IGNORE_INDEX = -100  # cross-entropy's default: no label here
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


@dataclass(frozen=True)
class Template:
    """What the tokenizer puts around a single sequence: `[CLS] ... [SEP]` for BERT."""

    prefix: list[int]
    suffix: list[int]
    # Of prefix, body and suffix; None: the model takes none.
    type_ids: tuple[list[int], int, list[int]] | None

    @property
    def num_special(self) -> int:
        return len(self.prefix) + len(self.suffix)


def probe_template(tokenizer) -> Template:
    """Find a tokenizer's special tokens by encoding one word."""
    encoding = tokenizer([["a"]], is_split_into_words=True, verbose=False).encodings[0]
    body = [at for at, word_id in enumerate(encoding.word_ids) if word_id is not None]
    first, last = body[0], body[-1]
    ids, types = encoding.ids, encoding.type_ids
    return Template(
        prefix=ids[:first],
        suffix=ids[last + 1 :],
        type_ids=(types[:first], types[first], types[last + 1 :])
        if "token_type_ids" in tokenizer.model_input_names
        else None,
    )


@dataclass(frozen=True, eq=False)
class Windows:
    """All windows of one split, as flat memory-mapped arrays.

    Attributes:
        input_ids: int32 [num_sub_tokens], special tokens included.
        labels: int16 [num_sub_tokens], IGNORE_INDEX where a sub-token is not learned from.
        offsets: int64 [num_windows + 1], where a window lies in the two above.
        num_labels: int32 [num_windows], labelled sub-tokens.
        first_sub_token: int32 [num_words], a word's first sub-token, counted in its window.
        word_offsets: int64 [num_windows + 1], the words that a window owns.
        references: int16 [num_words], label ids, IGNORE_INDEX for a word without a gold tag.
        sentence_offsets: int64 [num_sentences + 1], the words of a sentence.
        facts: what was met on the way (words without sub-tokens, sentences cut, words shortened).
    """

    input_ids: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    num_labels: np.ndarray
    first_sub_token: np.ndarray
    word_offsets: np.ndarray
    references: np.ndarray
    sentence_offsets: np.ndarray
    facts: dict[str, int]
    template: Template
    pad_token_id: int
    max_length: int  # sub-tokens that a window, and a row of a batch, may have
    pad_to_max_length: bool  # else to a batch's longest window
    pad_to_multiple_of: int

    @cached_property
    def lengths(self) -> np.ndarray:
        """Sub-tokens of every window, int32 [num_windows]."""
        return np.diff(self.offsets).astype(np.int32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_words(self) -> int:
        return len(self.first_sub_token)

    def label_counts(self, num_labels: int) -> np.ndarray:
        """How often each label is learned from, int64 [num_labels]."""
        learned = self.labels[self.labels != IGNORE_INDEX]
        return np.bincount(learned, minlength=num_labels)

    def padded_length(self, window_ids: np.ndarray) -> int:
        """Columns of the batch that these windows make."""
        if self.pad_to_max_length:
            return self.max_length
        longest = int(self.lengths[window_ids].max())
        rounded = -(-longest // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return min(rounded, self.max_length)  # beyond it the model may have no position

    def collate(self, window_ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad windows on the right into the tensors of one micro-batch.

        No windows give the corpus' shortest one with every label ignored, so that a process
        without work still takes part in every collective, with a zero gradient.

        Returns:
            input_ids, attention_mask, labels and, if the model takes them, token_type_ids:
            int64 [num_windows, padded_length].
        """
        ignore_all = len(window_ids) == 0
        if ignore_all:
            window_ids = np.array([self.lengths.argmin()])
        shape = (len(window_ids), self.padded_length(window_ids))
        input_ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        for row, window in enumerate(window_ids):
            begin, end = self.offsets[window], self.offsets[window + 1]
            length = end - begin
            input_ids[row, :length] = self.input_ids[begin:end]
            attention_mask[row, :length] = 1
            if not ignore_all:
                labels[row, :length] = self.labels[begin:end]
            if self.template.type_ids:
                before, body, after = self.template.type_ids
                suffix_at = length - len(self.template.suffix)
                token_type_ids[row, : len(self.template.prefix)] = before
                token_type_ids[row, len(self.template.prefix) : suffix_at] = body
                token_type_ids[row, suffix_at:length] = after
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if self.template.type_ids:
            batch["token_type_ids"] = token_type_ids
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class Updates(Dataset):
    """One item is one update: the micro-batches of this process and the update's label count."""

    def __init__(self, windows, plan, *, num_processes, process_index, per_device_batch_size):
        self.windows = windows
        self.plan = plan
        self.share = {
            "num_processes": num_processes,
            "process_index": process_index,
            "per_device_batch_size": per_device_batch_size,
        }

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, update: int) -> dict:
        window_ids = self.plan[update]
        micro_batches = deal_update(window_ids, self.windows.lengths, **self.share)
        windows = self.windows
        return {
            "window_ids": window_ids,
            "micro_batches": [windows.collate(ids) for ids in micro_batches],
            # Every process knows every window's label count, so the update's needs no collective.
            "num_labels": int(windows.num_labels[window_ids].sum()),
            # For the throughput: words of the update, sub-tokens and cells of this process.
            "num_words": int(
                (windows.word_offsets[window_ids + 1] - windows.word_offsets[window_ids]).sum()
            ),
            "num_sub_tokens": sum(int(windows.lengths[ids].sum()) for ids in micro_batches),
            "num_cells": sum(
                len(ids) * windows.padded_length(ids) for ids in micro_batches if len(ids)
            ),
        }


def build_dataloader(windows: Windows, plan, accelerator, config, *, start: int) -> DataLoader:
    """The updates of an epoch from `start` on: a resumed epoch skips indices, never data."""
    updates = Updates(
        windows,
        plan,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        per_device_batch_size=config.per_device_train_batch_size,
    )
    return DataLoader(
        updates,
        batch_size=None,
        sampler=range(start, len(updates)),
        num_workers=config.dataloader_num_workers,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),  # else every epoch draws a number from the global generator
    )


def load_windows(
    config, corpus, tokenizer, model_config, *, max_length: int, for_tensor_cores: bool
) -> dict[str, Windows]:
    """Windows of every split that the options need, built once per machine.

    Args:
        max_length: sub-tokens in a window, special tokens included.
        for_tensor_cores: pad to multiples of eight, which half precision on a GPU likes.

    Raises:
        InputError: the options need a split that there is not, or it has nothing to learn from.
    """
    needed = {"train": config.do_train, "validation": config.do_eval}
    if config.do_train and "train" not in corpus.splits:
        raise InputError(f"{config.dataset_name}: no training split; give --train_file")
    windows = {
        split: _load_split(
            config,
            corpus,
            split,
            tokenizer,
            model_config.label2id,
            max_length,
            8 if for_tensor_cores else 1,
        )
        for split in corpus.splits
        if needed.get(split, config.do_predict)
    }
    for split, found in windows.items():
        if len(found) == 0:
            raise InputError(f"the {split} split has no words")
    if not windows:
        raise InputError("nothing to do: the data has no split for what the --do_ options ask")
    if config.load_best_model_at_end and "validation" not in windows:
        raise InputError("--load_best_model_at_end: there is no validation split to tell the best")
    return windows


def _load_split(config, corpus, split, tokenizer, label2id, max_length, pad_to_multiple_of):
    template = probe_template(tokenizer)
    budget = max_length - template.num_special
    stride = budget // 4 if config.stride is None else min(config.stride, budget // 2)
    how = {
        "label2id": label2id,
        "budget": budget,
        "stride": stride,
        "label_all_tokens": config.label_all_tokens,
    }
    key = {
        "corpus": corpus.fingerprints[split],
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer)],
        "code": source_digest(alignment, schemes, sys.modules[__name__]),
        **how,
    }

    def build(folder: Path) -> None:
        sentences = corpus.splits[split].iter(batch_size=1000)
        arrays, facts = encode_sentences(sentences, tokenizer, template, **how)
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        (folder / "facts.json").write_text(json.dumps(facts))

    folder = build_once("windows", key, build)
    return Windows(
        **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAY_TYPES},
        facts=json.loads((folder / "facts.json").read_text()),
        template=template,
        pad_token_id=tokenizer.pad_token_id or 0,  # masked, so any id does
        max_length=max_length,
        pad_to_max_length=config.pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )


def encode_sentences(
    batches: Iterable[dict[str, list]],
    tokenizer,
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
        pieces_of_batch = alignment.tokenize_words(tokenizer, batch["tokens"])
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


def tokenizer_digest(tokenizer) -> str:
    """sha256 of everything that decides a fast tokenizer's ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
