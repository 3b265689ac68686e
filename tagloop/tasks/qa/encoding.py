"""Questions and contexts as windows of sub-tokens: built once per machine, memory-mapped.

A window holds the question and a part of the context. Neighbouring windows of a context share
--doc_stride sub-tokens.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
import torch
from transformers import PreTrainedTokenizerFast

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows, to_tensors
from tagloop.data.storage.arrays import Arrays, map_arrays, write_arrays
from tagloop.data.storage.store import build_once, source_digest
from tagloop.errors import InputError
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.wording import shown

# Several processes are used from this number of rows on. A process takes 3 s to start, and so many
# rows take more than 10 s.
WORTH_PROCESSES = 20_000
USUAL_LENGTH = 384  # sub-tokens of a window, if the model takes as many
NOT_CONTEXT = -1  # in place of the characters of a sub-token
NO_TARGET = -1  # in place of the sub-token at which an answer begins or ends
FACTS = ("unlabelled", "without_answer", "misplaced", "cut", "several", "sub_tokens", "unknown")
START, END = 1, 2  # bits of a label; the sub-token of a null answer has both of them
ARRAY_TYPES = {
    "input_ids": np.int32,
    "type_ids": np.int8,
    "begins": np.int32,
    "ends": np.int32,
    "offsets": np.int64,
    "answer_starts": np.int32,
    "answer_ends": np.int32,
    "null_indices": np.int32,
    "num_words": np.int32,
    "row_offsets": np.int64,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class QuestionWindows(SubTokenRows):
    """All windows of one split: they are the examples of this task, and each is one row.

    Attributes:
        type_ids: int8 [num_sub_tokens], question or context; None: the model takes none.
        begins, ends: int32 [num_sub_tokens], the characters of the context that a sub-token stands
            for; NOT_CONTEXT for any other sub-token and for blanks.
        answer_starts, answer_ends: int32 [num_windows], the first and the last sub-token of the
            answer, counted in the window; both the null index if the answer is not in the window;
            NO_TARGET if nothing is learned from the window.
        null_indices: int32 [num_windows], the sub-token that stands for "no answer here".
        num_words: int32 [num_windows], words of the context in a window.
        row_offsets: int64 [num_rows + 1], the windows of a question.
        facts: what was met on the way, see `QuestionEncoder.encode`.
    """

    type_ids: np.ndarray | None
    begins: np.ndarray
    ends: np.ndarray
    answer_starts: np.ndarray
    answer_ends: np.ndarray
    null_indices: np.ndarray
    num_words: np.ndarray
    row_offsets: np.ndarray
    facts: dict[str, int]

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
        """2 for a window that is learned from (begin and end), else 0; float64 [num_windows]."""
        return 2.0 * (self.answer_starts != NO_TARGET)

    @property
    def num_units(self) -> np.ndarray:
        """The number of words of the context in every window, int32 [num_windows]."""
        return self.num_words

    @property
    def prediction_offsets(self) -> np.ndarray:
        """The offsets of one prediction for every sub-token, int64 [num_windows + 1]."""
        return self.offsets

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad windows on the right into the tensors of one micro-batch; see `Examples.collate`.

        Returns:
            input_ids, attention_mask, labels and, if the model takes them, token_type_ids:
            int64 [rows, columns]. A label is IGNORE_INDEX in padding cells, else the sum of START
            if the answer begins there and END if it ends there.
        """
        rows = ids if len(ids) else self.stand_in()
        batch = self.pad_inputs(rows)
        if self.type_ids is not None:
            batch["token_type_ids"] = self.pad(rows, self.type_ids, 0)
        labels = np.where(batch["attention_mask"] == 1, 0, IGNORE_INDEX)
        if not len(ids):
            labels[:] = IGNORE_INDEX
        for row, number in enumerate(ids):
            if self.answer_starts[number] != NO_TARGET:
                labels[row, self.answer_starts[number]] += START
                labels[row, self.answer_ends[number]] += END
        batch["labels"] = labels
        return to_tensors(batch)


def load_windows(
    dataset: datasets.Dataset,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    doc_stride: int,
    learns_null: bool,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
    num_workers: int = 1,
) -> QuestionWindows:
    """Load the windows of one split; they are built once per machine.

    Args:
        dataset: columns `id`, `question`, `context` and `answers` (JSON, null: nobody knows),
            strings; `fingerprint` stands for its rows.
        max_length: sub-tokens of a window, special tokens included.
        doc_stride: sub-tokens of the context that neighbouring windows share.
        learns_null: True if a question without answers is one that has no answer. If False,
            nothing is learned from it.
        num_workers: processes that build the windows; they change no byte.

    Raises:
        InputError: a question leaves no room for its context.
    """
    options = {"max_length": max_length, "doc_stride": doc_stride, "learns_null": learns_null}
    key = {
        "rows": fingerprint,
        "tokenizer": [tokenizers.__version__, tokenizer_digest(tokenizer), tokenizer.padding_side],
        "code": source_digest("tagloop.tasks.qa.encoding"),
        **options,
    }

    def build(folder: Path) -> None:
        facts = dict.fromkeys(FACTS, 0) | write_arrays(
            folder,
            dataset.select_columns(["id", "question", "context", "answers"]),
            QuestionEncoder(tokenizer, **options),
            ARRAY_TYPES,
            offsets=["offsets", "row_offsets"],
            num_workers=num_workers,
            worth_processes=WORTH_PROCESSES,
        )
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    folder = build_once("questions", key, build)
    return windows_of_arrays(
        map_arrays(folder, ARRAY_TYPES),
        json.loads((folder / "facts.json").read_text(encoding="utf-8")),
        tokenizer,
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )


def windows_of_arrays(
    arrays: Arrays,
    facts: dict[str, int],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    pad_to_max_length: bool,
    pad_to_multiple_of: int,
) -> QuestionWindows:
    """Windows of arrays by name, as `ARRAY_TYPES` names them; offsets begin with 0."""
    if "token_type_ids" not in tokenizer.model_input_names:
        arrays = arrays | {"type_ids": None}
    return QuestionWindows(
        **arrays,
        facts=facts,
        pad_token_id=tokenizer.pad_token_id or 0,  # The mask hides padding, so any id will do.
        special_ids=tokenizer.all_special_ids,
        max_length=max_length,
        pad_to_max_length=pad_to_max_length,
        pad_to_multiple_of=pad_to_multiple_of,
    )


class Window(NamedTuple):
    """One window: its sub-tokens, and the characters of the context that they stand for."""

    ids: list[int]
    type_ids: list[int]
    begins: np.ndarray
    ends: np.ndarray
    null_index: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class QuestionEncoder:
    """Turns a table of questions into windows. See `Encoder` in tagloop/data/storage/arrays.py.

    Attributes:
        max_length, doc_stride, learns_null: as in `load_windows`.
    """

    tokenizer: PreTrainedTokenizerFast
    max_length: int
    doc_stride: int
    learns_null: bool

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The arrays of some questions, and counts.

        The counts are: `unlabelled` questions, from which nothing is learned; `without_answer`;
        `misplaced` (answers without a place); `cut` (answers of which the sub-tokens do not hold
        every character); `several` (questions with more than one window); `sub_tokens`, and the
        `unknown` ones among them.
        """
        names = ("id", "question", "context", "answers")
        rows = list(zip(*(table[name].to_pylist() for name in names), strict=True))
        # The blanks before a question say nothing, and some questions have hundreds of them.
        questions = [(question or "").lstrip() for _, question, _, _ in rows]
        contexts = [context or "" for _, _, context, _ in rows]
        first_is_question = self.tokenizer.padding_side != "left"  # XLNet has the context first
        pairs = (questions, contexts) if first_is_question else (contexts, questions)
        encodings = self.tokenizer(*pairs, truncation=False, verbose=False).encodings
        columns: dict[str, list] = {name: [] for name in ARRAY_TYPES}
        facts: Counter[str] = Counter()
        for row, context, encoding in zip(rows, contexts, encodings, strict=True):
            gold = None if row[3] is None else json.loads(row[3])
            span = self._learned_span(gold, facts)
            windows = list(self._cut(encoding, context, int(first_is_question), row))
            columns["row_offsets"].append(len(windows))
            facts["several"] += len(windows) > 1
            facts["sub_tokens"] += len(encoding.ids)
            facts["unknown"] += encoding.ids.count(self.tokenizer.unk_token_id)
            for window in windows:
                start, end = self._target(window, span, facts)
                inside = window.begins[window.begins != NOT_CONTEXT]
                shown_part = context[inside[0] : window.ends.max()] if len(inside) else ""
                columns["input_ids"].append(window.ids)
                columns["type_ids"].append(window.type_ids)
                columns["begins"].append(window.begins)
                columns["ends"].append(window.ends)
                columns["offsets"].append(len(window.ids))
                columns["answer_starts"].append(start)
                columns["answer_ends"].append(end)
                columns["null_indices"].append(window.null_index)
                columns["num_words"].append(len(shown_part.split()))
        nested = ("input_ids", "type_ids", "begins", "ends")
        arrays = {
            name: np.concatenate(values) if name in nested else np.array(values)
            for name, values in columns.items()
        }
        return arrays, dict(facts)

    def _learned_span(self, gold: dict | None, facts: Counter[str]) -> tuple[int, int] | None:
        """The characters of the answer that is learned; (0, 0) if the answer is that there is none.

        Returns:
            None if nothing is learned from the question.
        """
        pairs = [] if gold is None else zip(gold["text"], gold["answer_start"], strict=True)
        text, start = next(((t, s) for t, s in pairs if t.strip()), ("", 0))
        if gold is not None and not text:
            facts["without_answer"] += 1
        if gold is None or (not text and not self.learns_null):
            facts["unlabelled"] += 1
            return None
        if start < 0:
            facts["misplaced"] += 1
            return None
        begin = start + len(text) - len(text.lstrip())
        return (begin, begin + len(text.strip())) if text else (0, 0)

    def _target(
        self, window: Window, span: tuple[int, int] | None, facts: Counter[str]
    ) -> tuple[int, int]:
        """The first and the last sub-token of the answer in a window, as QuestionWindows has it."""
        if span is None:
            return NO_TARGET, NO_TARGET
        begin, end = span
        places = np.flatnonzero(window.begins != NOT_CONTEXT)
        if begin < end and len(places):
            from_here = window.is_first or window.begins[places[0]] <= begin
            to_here = window.is_last or window.ends[places[-1]] >= end
            start = places[window.ends[places] > begin][:1]
            last = places[window.begins[places] < end][-1:]
            if from_here and to_here and len(start) and len(last) and start[0] <= last[0]:
                is_cut = window.begins[start[0]] > begin or window.ends[last[0]] < end
                facts["cut"] += int(is_cut)
                return int(start[0]), int(last[0])
        return window.null_index, window.null_index

    def _cut(
        self, encoding: tokenizers.Encoding, context: str, context_number: int, row: tuple
    ) -> Iterator[Window]:
        """Cut a question and its whole context into windows.

        Args:
            context_number: which sequence of the pair the context is, 0 or 1.
            row: id and question, for messages.
        """
        sequences = np.array([-1 if s is None else s for s in encoding.sequence_ids], dtype=int)
        places = np.flatnonzero(sequences == context_number)
        first = int(places[0]) if len(places) else len(sequences)
        after = int(places[-1]) + 1 if len(places) else len(sequences)
        number = after - first
        room = self.max_length - (len(sequences) - number)
        if number > room and room <= self.doc_stride:
            self._refuse(row, len(sequences) - number, room)
        spans = np.array([_span_of(context, a, b) for a, b in encoding.offsets[first:after]])
        spans = spans.reshape(-1, 2)
        special = np.flatnonzero(sequences == -1)
        starts = range(0, max(number - self.doc_stride, 1), room - self.doc_stride) if (
            number > room
        ) else range(1)  # fmt: skip
        for start in starts:
            end = min(start + room, number) if number > room else number

            def part(values: Sequence[int], start: int = start, end: int = end) -> list[int]:
                inner = values[first + start : first + end]
                return [*values[:first], *inner, *values[after:]]

            ids = part(encoding.ids)
            kept = special[special < first].tolist()
            kept += (special[special >= after] - (number - (end - start))).tolist()
            begins = np.full(len(ids), NOT_CONTEXT)
            ends = np.full(len(ids), NOT_CONTEXT)
            begins[first : first + end - start] = spans[start:end, 0]
            ends[first : first + end - start] = spans[start:end, 1]
            yield Window(
                ids,
                part(encoding.type_ids),
                begins,
                ends,
                self._null_index(ids, kept),
                is_first=start == 0,
                is_last=end == number,
            )

    def _null_index(self, ids: list[int], special: list[int]) -> int:
        """The place of the classification token, else of the begin token, else 0."""
        for token_id in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id):
            for place in special:
                if token_id is not None and ids[place] == token_id:
                    return place
        return 0

    def _refuse(self, row: tuple, used: int, room: int) -> None:
        name = shown(row[0] or row[1])
        if room <= 0:
            raise InputError(
                f"question {name}: takes {used:,} sub-tokens with special tokens, and a window has "
                f"{self.max_length:,}, so no room is left for its context; shorten the question, "
                "or give a longer --max_length"
            )
        raise InputError(
            f"question {name}: leaves room for {room:,} sub-tokens of its context, and "
            f"neighbouring windows cannot share --doc_stride {self.doc_stride:,} of them; give "
            f"--doc_stride {room // 3} or a longer --max_length"
        )


def _span_of(context: str, begin: int, end: int) -> tuple[int, int]:
    """The characters of a sub-token without blanks around them; NOT_CONTEXT if nothing is left."""
    whole = context[begin:end]
    text = whole.strip()
    if len(text) == len(whole) > 0:
        return begin, end
    begin += len(whole) - len(whole.lstrip())
    return (begin, begin + len(text)) if text else (NOT_CONTEXT, NOT_CONTEXT)
