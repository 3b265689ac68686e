"""Turns sentences into windows of sub-token ids, a thousand at once, in one process or several.

    encoder = build_encoder(tokenizer, template, ...)
    facts = encode_sentences(folder, dataset, encoder)  # one .npy file for every array

The tokenizer gets every distinct word once; all further steps are arithmetic on arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.data.row import DOCUMENT_START
from tagloop.data.storage.arrays import Arrays, write_arrays
from tagloop.data.words import schemes
from tagloop.errors import InputError
from tagloop.models.tokenizers import SubTokens, Template, require_known
from tagloop.tasks.tagging import alignment

# Several processes are used from this number of sentences on. A process takes 3 s to start, and a
# million sentences take 8 s.
WORTH_PROCESSES = 2_000_000
ARRAY_TYPES = {
    "input_ids": np.int32,
    "labels": np.int16,
    "offsets": np.int64,
    "num_targets": np.int32,
    "first_sub_token": np.int32,
    "word_offsets": np.int64,
    "references": np.int16,
    "sentence_offsets": np.int64,
}
OFFSETS = ("offsets", "word_offsets", "sentence_offsets")
FACTS = ("words_without_sub_tokens", "words_shortened", "sentences_cut", "words", "words_unknown")
MOST_LABELS = np.iinfo(ARRAY_TYPES["labels"]).max  # label ids count from 0


def encode_sentences(
    folder: Path, dataset: datasets.Dataset, encoder: "Encoder", *, num_workers: int = 1
) -> dict[str, int]:
    """Tokenize, cut and label sentences; write the arrays of `Windows` as `<name>.npy`.

    Args:
        folder: an existing folder.
        dataset: the columns `tokens` and `tags`; a word without a gold tag has the tag None. An
            encoder with context reads `document`, too.
        num_workers: processes, at most; a small dataset needs only one.

    Returns:
        The numbers of FACTS by name.

    Raises:
        InputError: nearly all words are unknown to the tokenizer.
        RunStopped: a process was killed, probably because memory ended.
    """
    counts = write_arrays(
        folder,
        dataset,
        encoder,
        ARRAY_TYPES,
        offsets=OFFSETS,
        num_workers=num_workers,
        worth_processes=WORTH_PROCESSES,
        neighbours=encoder.context_tokens,
    )
    facts = dict.fromkeys(FACTS, 0) | counts
    require_known(facts["words_unknown"], facts["words"], "words")
    return facts


def build_encoder(
    tokenizer: PreTrainedTokenizerFast,
    template: Template,
    *,
    label2id: dict[str, int],
    budget: int,
    stride: int,
    label_all_tokens: bool,
    num_labels: int | None = None,
    context_tokens: int = 0,
) -> "Encoder":
    """Build an encoder of sentences.

    Args:
        label2id: the id of every tag. Tags that the model does not know have the ids from
            `num_labels` on: they count in the scores, but are not learned.
        num_labels: the number of tags that the model knows; None: all.
        budget: sub-tokens of words in a window.
        stride: how many of these the next window repeats.
        label_all_tokens: whether a word's later sub-tokens are learned from, too.
        context_tokens: sub-tokens of the same document that a window sees on each side, of at most
            as many sentences; 0: a window sees words of its sentence alone.

    Raises:
        InputError: there are more labels than the arrays can number.
    """
    if len(label2id) > MOST_LABELS:
        raise InputError(
            f"{len(label2id):,} labels, and at most {MOST_LABELS:,} can be learned; are the tags "
            "words or numbers? See --label_column_name"
        )
    # A word without sub-tokens gets this id, because it must have a prediction, too.
    stand_in = next(
        token_id
        for token_id in (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id, 0)
        if token_id is not None
    )
    sub_tokens_of = SubTokens(tokenizer)
    return Encoder(
        sub_tokens_of,
        template,
        stand_in,
        tokenizer.unk_token_id,
        label2id,
        budget,
        stride,
        label_all_tokens,
        len(label2id) if num_labels is None else num_labels,
        context_tokens,
    )


@dataclass(frozen=True)
class Encoder:
    """Turns a table of sentences into windows; `build_encoder` describes the other attributes.

    Attributes:
        sub_tokens_of: the sub-token ids of words.
        template: where the tokenizer puts its special tokens.
        stand_in: the id of a word of which the tokenizer makes no sub-token.
        unknown: the id of unknown words; None: the tokenizer has none.
    """

    sub_tokens_of: SubTokens
    template: Template
    stand_in: int
    unknown: int | None
    label2id: dict[str, int]
    budget: int
    stride: int
    label_all_tokens: bool
    num_labels: int
    context_tokens: int = 0

    def encode_words(
        self, sentences: list[list[str]], documents: Sequence[int] | None = None
    ) -> tuple[Arrays, dict[str, int]]:
        """The arrays of `Windows`, in memory, and the numbers of FACTS for untagged sentences.

        Args:
            documents: the number of the document of every sentence; neighbours with equal numbers
                are in one document. None: each sentence is a document.
        """
        strings = pa.list_(pa.string())
        no_tags = [[None] * len(words) for words in sentences]
        columns = {"tokens": pa.array(sentences, strings), "tags": pa.array(no_tags, strings)}
        columns["document"] = pa.array(range(len(sentences)) if documents is None else documents)
        arrays, facts = self.encode(pa.table(columns))
        for name in OFFSETS:
            arrays[name] = np.concatenate([[0], arrays[name].cumsum(dtype=np.int64)])
        return {name: arrays[name].astype(dtype) for name, dtype in ARRAY_TYPES.items()}, facts

    def encode(
        self, table: pa.Table, first: int = 0, end: int | None = None
    ) -> tuple[Arrays, dict[str, int]]:
        """The arrays and the numbers of FACTS for some sentences.

        An array of OFFSETS has the lengths of its entries instead of their offsets.

        Args:
            first, end: the rows to encode, end exclusive; all others are only seen by them.
        """
        sizes, distinct, numbers = _indexed(table["tokens"])
        sub_tokens = self.sub_tokens_of(distinct)
        full_counts = _lengths(sub_tokens)[numbers]
        is_unknown = np.fromiter(
            (self.unknown in word for word in sub_tokens), bool, len(sub_tokens)
        )
        sub_tokens = [word[: self.budget] or [self.stand_in] for word in sub_tokens]
        sizes_of_words = _lengths(sub_tokens)
        sub_token_ids = np.fromiter(chain.from_iterable(sub_tokens), np.int32)
        counts = sizes_of_words[numbers]
        begins = (sizes_of_words.cumsum() - sizes_of_words)[numbers]
        labels = self._labels(table["tags"])
        rows = slice(first, end)
        ends_of_rows = np.concatenate([[0], sizes.cumsum()])
        words = slice(ends_of_rows[first], ends_of_rows[len(sizes) if end is None else end])
        windows = self._windows(sizes, counts, rows)
        if self.context_tokens:
            is_mark = _are_marks(sizes, distinct, numbers)
            windows = self._widened(windows, sizes, counts, table["document"], is_mark)
        targets = (np.where(ids < self.num_labels, ids, IGNORE_INDEX) for ids in labels)
        arrays = self._assemble(windows, sub_token_ids, begins, counts, *targets)
        arrays |= {"references": labels[0][words], "sentence_offsets": sizes[rows]}
        full_counts = full_counts[words]
        facts = {
            "words_without_sub_tokens": int(np.count_nonzero(full_counts == 0)),
            "words_shortened": int(np.count_nonzero(full_counts > self.budget)),
            "words": len(full_counts),
            "words_unknown": int(np.count_nonzero(is_unknown[numbers[words]])),
            "sentences_cut": int(np.count_nonzero(_sums(counts, sizes)[rows] > self.budget)),
        }
        return arrays, facts

    def _labels(self, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the first and of the later sub-tokens of every word, int16 [num_words] each."""
        _, tags, numbers = _indexed(column)
        # Words to tag may have any tags; unknown tags become IGNORE_INDEX.
        first = [self.label2id.get(tag, IGNORE_INDEX) for tag in tags]
        later = [IGNORE_INDEX] * len(tags)
        if self.label_all_tokens:
            known = zip(tags, first, strict=True)
            later = [self.label2id.get(schemes.continuation(tag), same) for tag, same in known]
        nothing = [IGNORE_INDEX]  # A word without a tag has the number after those of all tags.
        return tuple(np.array(ids + nothing, dtype=np.int16)[numbers] for ids in (first, later))

    def _windows(self, sizes: np.ndarray, counts: np.ndarray, rows: slice) -> np.ndarray:
        """The fields of `alignment.Window` for every window of some rows, int64 [num_windows, 4].

        The indices count the words of the whole table.
        """
        ends = sizes.cumsum()
        begins = ends - sizes
        is_cut = _sums(counts, sizes) > self.budget
        sizes, begins, ends, is_cut = (each[rows] for each in (sizes, begins, ends, is_cut))
        whole = np.stack([begins, ends, begins, ends], axis=1)[(sizes > 0) & ~is_cut]
        parts = [whole]
        for begin, end in zip(begins[is_cut], ends[is_cut], strict=True):
            cut = alignment.cut_windows(
                counts[begin:end].tolist(), budget=self.budget, stride=self.stride
            )
            parts.append([(w.start, w.end, w.own_start, w.own_end) for w in cut] + begin)
        windows = np.concatenate(parts)
        return windows[windows[:, 0].argsort()]

    def _widened(
        self,
        windows: np.ndarray,
        sizes: np.ndarray,
        counts: np.ndarray,
        documents: pa.ChunkedArray,
        is_mark: np.ndarray,
    ) -> np.ndarray:
        """The windows with the words around them that stand in the same document."""
        ends = sizes.cumsum()
        rows = np.arange(len(sizes))
        begins = np.diff(documents.to_numpy(), prepend=-1) != 0  # True where a document begins.
        begins |= is_mark | np.roll(is_mark, 1)
        begins[:1] = True
        document = begins.cumsum() - 1
        starts = np.append(np.flatnonzero(begins), len(rows))
        first_row = np.maximum(starts[document], rows - self.context_tokens)
        end_row = np.minimum(starts[document + 1], rows + self.context_tokens + 1)
        row = np.searchsorted(ends, windows[:, 2], side="right")
        return alignment.widen_windows(
            windows,
            counts,
            (ends - sizes)[first_row[row]],
            ends[end_row[row] - 1],
            context_tokens=self.context_tokens,
            budget=self.budget,
        )

    def _assemble(
        self,
        windows: np.ndarray,
        sub_token_ids: np.ndarray,
        begins: np.ndarray,
        counts: np.ndarray,
        first: np.ndarray,
        later: np.ndarray,
    ) -> Arrays:
        """The arrays of windows with their sub-tokens and labels.

        Args:
            windows: the result of `_windows` or of `_widened`.
            sub_token_ids: the sub-tokens of the distinct words, one word after the other.
            begins, counts: int64 [num_words]; the sub-tokens of a word are those from its begin in
                sub_token_ids on, as many as its count.
            first, later: the result of `_labels`.
        """
        prefix, suffix = self.template.prefix, self.template.suffix
        starts, ends, own_starts, own_ends = windows.T
        words = _ranges(starts, ends - starts)  # A word occurs once for each of its windows.
        window_of = np.repeat(np.arange(len(windows)), ends - starts)
        is_own = (own_starts[window_of] <= words) & (words < own_ends[window_of])
        counts = counts[words]
        body = _sums(counts, ends - starts)
        lengths = len(prefix) + body + len(suffix)
        offsets = lengths.cumsum() - lengths
        at = _ranges(offsets + len(prefix), body)
        first_at = at[counts.cumsum() - counts]

        input_ids = np.empty(lengths.sum(), dtype=np.int32)
        input_ids[at] = sub_token_ids[_ranges(begins[words], counts)]
        for column, token_id in enumerate(prefix):
            input_ids[offsets + column] = token_id
        for column, token_id in enumerate(suffix, start=-len(suffix)):
            input_ids[offsets + lengths + column] = token_id
        labels = np.full(len(input_ids), IGNORE_INDEX, dtype=np.int16)
        if self.label_all_tokens:
            labels[at] = np.repeat(np.where(is_own, later[words], IGNORE_INDEX), counts)
        labels[first_at] = np.where(is_own, first[words], IGNORE_INDEX)
        return {
            "input_ids": input_ids,
            "labels": labels,
            "offsets": lengths,
            "num_targets": _sums(labels != IGNORE_INDEX, lengths),
            "first_sub_token": (first_at - offsets[window_of])[is_own],
            "word_offsets": own_ends - own_starts,
        }


def _indexed(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Turn lists of strings into numbers.

    Returns:
        The lengths of the lists, int64 [num_lists]; the distinct strings; and for every string of
        the lists its number among them, int [num_strings]. The number of a null is the number of
        distinct strings.
    """
    lists = column.combine_chunks()
    flat = lists.flatten().dictionary_encode()
    numbers = flat.indices.fill_null(len(flat.dictionary))
    sizes = pc.list_value_length(lists)
    return (
        sizes.to_numpy(zero_copy_only=False).astype(np.int64),
        flat.dictionary.to_pylist(),
        numbers.to_numpy(zero_copy_only=False),
    )


def _are_marks(sizes: np.ndarray, distinct: list[str], numbers: np.ndarray) -> np.ndarray:
    """Whether a row is the word -DOCSTART- alone, bool [num_rows]; arguments as of `_indexed`."""
    is_mark = np.zeros(len(sizes), bool)
    if DOCUMENT_START in distinct:
        single = sizes == 1
        first_words = (sizes.cumsum() - sizes)[single]
        is_mark[single] = numbers[first_words] == distinct.index(DOCUMENT_START)
    return is_mark


def _lengths(lists: list[list[int]]) -> np.ndarray:
    return np.fromiter(map(len, lists), np.int64, len(lists))


def _ranges(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranges from each begin on, `count` numbers each, joined: begin, begin + 1, ..."""
    ends = counts.cumsum()
    return np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)


def _sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum of the first `counts[0]` values, of the next `counts[1]` values, and so on."""
    totals = np.concatenate([[0], values.cumsum()])
    ends = counts.cumsum()
    return totals[ends] - totals[ends - counts]
