"""--check_data for question answering: what the questions hold and what is wrong with them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import FirstSight, Report, SplitCounts, Survey, shortened
from tagloop.data.questions import GoldAnswers, parse_answers, stands_there
from tagloop.data.rows import cell_text
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.models.tokenizers import longest_input, tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.questions import build_sample_questions
from tagloop.tasks.qa.columns import choose_columns, misplaced
from tagloop.tasks.qa.encoding import USUAL_LENGTH

ANSWER_WORDS = 12  # of an answer before and after which an example shows the context


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    notes: list[str] = []
    return QuestionSurvey(config, find_sources(config, notes, build_sample_questions), notes).run()


class QuestionRow(NamedTuple):
    """A question with its context; `gold` is None if nobody knows the answer."""

    place: str
    id: str | None
    question: str
    context: str
    gold: GoldAnswers | None


@dataclass
class QuestionCounts(SplitCounts):
    """What was counted in one split.

    Attributes:
        without_answer: questions that have no answer.
        contexts: a digest of every context.
        shared: a digest of every context that a split before has, too.
        answer_lengths: words of the first answer of every question.
        ids: of the questions so far, with their places.
    """

    without_answer: int = 0
    contexts: set[bytes] = field(default_factory=set)
    shared: set[bytes] = field(default_factory=set)
    answer_lengths: list[int] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)


class QuestionSurvey(Survey):
    """See `tagloop.data.check.Survey`."""

    no_rows, no_labels = "no questions", "no question has an answer"
    in_two_splits = "the same question about the same context in two splits"
    in_two_ways = "the same question about the same context, with two answers"
    between = " | "
    counts_type = QuestionCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        super().__init__(config, sources, notes)
        self.tokenizer: PreTrainedTokenizerFast | None = None

    def rows(self, split: str) -> Iterator[QuestionRow]:
        table = open_table(self.sources[split], split)
        chosen = choose_columns(table, split)
        columns = [column for column in chosen.values() if column is not None]
        for place, row in table.rows(columns):
            texts = {
                name: cell_text(row, chosen[name], place) for name in ("id", "question", "context")
            }
            answers = chosen["answers"]
            gold = None if answers is None else parse_answers(row.get(answers), place)
            question, context = texts["question"] or "", texts["context"] or ""
            yield QuestionRow(place, texts["id"], question, context, gold)

    def texts_of(self, row: QuestionRow) -> list[str]:
        return [row.question.strip(), row.context]

    def labels_of(self, row: QuestionRow) -> list[str | None]:
        return [None if row.gold is None else next(iter(row.gold.texts), "")]

    def read_split(self, split: str) -> tuple[int, bool]:
        total, has_answers = 0, False
        for row in self.rows(split):
            total += 1
            has_answers = has_answers or bool(row.gold and row.gold.texts)
        return total, has_answers

    def prepare(self) -> None:
        rows = self.rows("train") if "train" in self.totals else ()
        words = (f"{row.question} {row.context}".split() for row in rows)
        self.tokenizer = tokenizer_at_hand(self.config, words, self.report.fact, pre_split=False)

    def look_at(self, stored: str, split: str, counts: QuestionCounts, row: QuestionRow) -> None:
        if split != "predict":
            self.compare(split, counts, row)
        name = shortened(row.question) or row.id
        for text, noun in ((row.question, "question"), (row.context, "context")):
            if not text.strip():
                self.report.problem(f"empty {noun}s", f"{row.place}: no {noun} ({name})")
        if row.id is not None and (first := counts.ids.setdefault(row.id, row.place)) != row.place:
            self.report.problem("ids that stand twice", f"{row.place}: {row.id}, as at {first}")
        self._count_context(split, counts, row)
        self._measure(counts, row, name)
        if row.gold is None:
            counts.without_label += 1
            return
        counts.without_answer += not row.gold.texts
        for text, start in zip(*row.gold, strict=True):
            if not text.strip():
                self.report.problem("empty answers", f"{row.place}: {name}")
            elif not stands_there(row.context, text, start):
                line = f"{row.place}: {misplaced(row.context, text, start)}"
                self.report.problem("answers that do not stand at their place", line)
        if row.gold.texts:
            counts.answer_lengths.append(len(row.gold.texts[0].split()))
        self.sample.show(row)

    def _count_context(self, split: str, counts: QuestionCounts, row: QuestionRow) -> None:
        digest = hashlib.blake2b(row.context.encode(), digest_size=16).digest()
        counts.contexts.add(digest)
        others = (other for name, other in self.counts.items() if name != split)
        if any(digest in other.contexts for other in others):
            counts.shared.add(digest)

    def _measure(self, counts: QuestionCounts, row: QuestionRow, name: str) -> None:
        """Count sub-tokens, and note a question that leaves its context no room."""
        if self.tokenizer is None:
            return
        texts = (row.question.lstrip(), row.context)
        whole = len(self.tokenizer(*texts, truncation=False, verbose=False)["input_ids"])
        counts.sub_tokens.append(whole)
        if whole > self._limit:
            alone = len(self.tokenizer(texts[0], "", truncation=False, verbose=False)["input_ids"])
            if self._limit - alone <= self.config.doc_stride:
                self.report.problem(
                    "questions that leave too little room for their context",
                    f"{row.place}: {alone:,} of {self._limit:,} sub-tokens, and windows share "
                    f"--doc_stride {self.config.doc_stride}: {name}",
                )

    @property
    def _limit(self) -> int:
        """The sub-tokens of a window."""
        longest = longest_input(self.tokenizer) or USUAL_LENGTH
        return self.config.max_length or min(longest, USUAL_LENGTH)

    def contradiction(self, row: QuestionRow, at: int, first: FirstSight) -> str:
        answers = [label or "no answer" for label in (self.labels_of(row)[at], first.labels[at])]
        return f"{row.place}: {answers[0]}, but {answers[1]} at {first.place}"

    def report_split(self, split: str, counts: QuestionCounts) -> None:
        text = f"{counts.rows:,} questions about {len(counts.contexts):,} contexts"
        self.report.fact(split, text)
        if counts.without_label and split != "predict":
            self.report.fact("", f"{counts.without_label:,} of them have no gold answer")
        if counts.without_answer and split != "predict":
            text = f"{counts.without_answer:,} of them are questions without answer"
            if not self.config.version_2_with_negative:
                text += "; --version_2_with_negative learns and scores them"
            self.report.fact("", text)
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} rows repeat another one, answer and all")
        if counts.shared:
            text = f"{len(counts.shared):,} of its contexts are in another split, too"
            self.report.fact("", text)
        if counts.answer_lengths:
            lengths = np.array(counts.answer_lengths)
            text = (
                f"answers of {np.median(lengths):.0f} words (median), the longest {lengths.max()}"
            )
            self.report.fact("", text)
        if counts.sub_tokens:
            lengths = np.array(counts.sub_tokens)
            text = f"{np.median(lengths):.0f} sub-tokens (median), the longest {lengths.max():,}"
            long = int((lengths > self._limit).sum())
            text += f"; {long:,} are longer than {self._limit} and become several windows"
            self.report.fact("", text)

    def report_labels(self) -> None:
        """Nothing, because answers are no labels."""

    def report_example(self, row: QuestionRow) -> None:
        pieces = [(row.question, None)]
        if row.gold and row.gold.texts:
            text, start = row.gold.texts[0], max(row.gold.starts[0], 0)
            before = row.context[:start].split()[-ANSWER_WORDS:]
            after = row.context[start + len(text) :].split()[:ANSWER_WORDS]
            pieces += [(" ".join(["|", *before]), None), (f"[{text}]", "answer")]
            pieces.append((" ".join(after), None))
        else:
            pieces += [("| no answer in:", None), (shortened(row.context, 120), None)]
        self.report.example(row.place, pieces)
