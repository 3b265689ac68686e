"""Gold and predicted answers of a finished run, for its report. No model is loaded."""

import itertools
import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from tagloop.data.places import places_of_rows
from tagloop.data.questions import stands_there
from tagloop.data.rows import Rows, load_rows
from tagloop.models.tokenizers import load_tokenizer
from tagloop.models.trained import read_record
from tagloop.options.config import Config
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers, Grouping
from tagloop.pages.sentences import Sentence, Span, bucket, buckets
from tagloop.pages.statistics import Measure
from tagloop.sample.questions import build_sample_questions
from tagloop.tasks.qa.columns import QuestionReader, choose_columns
from tagloop.tasks.qa.decoding import Decoded, choice_of, decode_questions
from tagloop.tasks.qa.encoding import QuestionWindows, load_windows
from tagloop.tasks.qa.predictor import RECORD
from tagloop.tasks.qa.scores import normalize, scores_of_answers

ANSWER = "answer"  # the type of all spans
ANSWER_EDGES = (1, 2, 3, 5, 9, 17)  # in words
CONTEXT_EDGES = (1, 51, 101, 151, 251, 401)


@dataclass(kw_only=True)
class QuestionAnswers(Answers):
    """Answers to questions. An answer is a span of the words of its context.

    Attributes:
        questions: the questions.
        golds: the gold answers of every question; none if it has no answer.
        found: the predicted answer of every question, "" for none.
        probabilities: of the predicted answers, float64 [num_questions].
        exact, f1: the scores of every question, float64 [num_questions], 0 to 1.
        exact_name: the name of the exact match in metrics.jsonl, without "eval_".
    """

    questions: list[str]
    golds: list[list[str]]
    found: list[str]
    probabilities: np.ndarray
    exact: np.ndarray
    f1: np.ndarray
    exact_name: str
    item: str = "question"
    gold_name: ClassVar[str] = "gold answers"
    better_and_worse: ClassVar[tuple[str, str]] = ("a higher F1", "a lower one")

    @property
    def has_answer(self) -> np.ndarray:
        """True for the questions with a gold answer, bool [num_questions]."""
        return np.array([bool(gold) for gold in self.golds])

    @property
    def identities(self) -> list[Hashable]:
        contexts = (one.words for one in self.sentences)
        return [*zip(self.questions, self.golds, contexts, strict=True)]

    @cached_property
    def measures(self) -> list[Measure]:
        return [
            Measure(
                name=name,
                logged=logged,
                sums=np.stack([values, np.ones_like(values)], axis=1),
                of=lambda sums: 100 * sums[..., 0] / sums[..., 1],
                shape=".2f",
                interval_shape=".1f",
            )
            for name, logged, values in (
                ("F1", "f1", self.f1),
                ("exact match", self.exact_name, self.exact),
            )
        ]

    @property
    def groupings(self) -> list[Grouping]:
        groups = ["with an answer" if has else "without an answer" for has in self.has_answer]
        lengths = [
            bucket(max(len(normalize(gold[0]).split()), 1), ANSWER_EDGES) if gold else "no answer"
            for gold in self.golds
        ]
        contexts = [bucket(len(one.words), CONTEXT_EDGES) for one in self.sentences]
        return [
            Grouping(
                "By answerable or not", "questions", groups, ["with an answer", "without an answer"]
            ),
            Grouping(
                "By length of the answer", "words of the gold answer", lengths,
                ["no answer", *buckets(ANSWER_EDGES)],
            ),
            Grouping(
                "By length of the context", "words of the context", contexts, buckets(CONTEXT_EDGES)
            ),
        ]  # fmt: skip

    @cached_property
    def errors(self) -> np.ndarray:
        """What every question lacks to an F1 of 1, float64 [num_questions]."""
        return 1 - self.f1

    def change(self, other: Self, at: int) -> str:
        mine, others = (run.found[at] or "no answer" for run in (self, other))
        return f"{self.questions[at]} – {mine} → {others}"


def read_answers(outcome: Outcome) -> QuestionAnswers | None:
    """Read gold answers from the data, which is read again, and logits from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    config = outcome.config
    reader = QuestionReader(config.misaligned)
    rows = outcome.read_again(
        lambda: load_rows(
            config, choose_columns, build_sample_questions, reader, [config.misaligned]
        )
    )
    if rows is None:
        return None
    if rows.fingerprints.get(split) != fingerprint:
        outcome.note_other_data(split)
        return None
    windows = outcome.read_again(lambda: _load_windows(outcome, rows, split))
    if windows is None:
        return None
    logits = [outputs.get(name) for name in ("start_logit", "end_logit")]
    if any(values is None or len(values) != windows.offsets[-1] for values in logits):
        outcome.notes.append(f"predictions.npz does not fit the {split} data")
        return None
    contexts = rows.splits[split]["context"]
    decoded = list(decode_questions(windows, contexts, *logits, choice=choice_of(config)))
    answers = _join(config, rows, split, decoded)
    if not answers.rows:
        outcome.notes.append(f"no question of the {split} data has a gold answer")
        return None
    return answers


def _load_windows(outcome: Outcome, rows: Rows, split: str) -> QuestionWindows:
    """The windows that the run had; they are made again if they are no longer prepared."""
    config, record = outcome.config, read_record(outcome.folder, RECORD)
    saved = Config(model_name_or_path=str(outcome.folder))
    return load_windows(
        rows.splits[split], rows.fingerprints[split],
        load_tokenizer(saved, [], pre_split=False),
        max_length=record["max_length"], doc_stride=config.doc_stride,
        learns_null=config.version_2_with_negative, pad_to_max_length=False, pad_to_multiple_of=1,
    )  # fmt: skip


def _join(config: Config, rows: Rows, split: str, decoded: list[Decoded]) -> QuestionAnswers:
    """Join the questions that have gold answers, or are known to have none, with predictions."""
    known, sentences, questions, golds = [], [], [], []
    for number, row in enumerate(rows.splits[split]):
        gold = None if row["answers"] is None else json.loads(row["answers"])
        if gold is None or not (gold["text"] or config.version_2_with_negative):
            continue
        context = row["context"] or ""
        spans = [
            (start, start + len(text))
            for text, start in zip(gold["text"][:1], gold["answer_start"][:1], strict=True)
            if text.strip() and stands_there(context, text, start)
        ]
        answer = decoded[number].answer
        predicted = [(answer.start, answer.end)] if answer.text else []
        sentences.append(
            Sentence(
                context.split() or ["_"], _words_of(context, spans), _words_of(context, predicted)
            )
        )
        known.append(number)
        questions.append(row["question"] or "")
        golds.append(gold["text"])
    decoded = [decoded[number] for number in known]
    found = [one.answer.text for one in decoded]
    scores = scores_of_answers(golds, found, v2=config.version_2_with_negative)
    shares = [
        next((share for one, share in each.n_best() if one == each.answer), 0.0) for each in decoded
    ]
    return QuestionAnswers(
        split=split,
        sentences=sentences,
        rows=known,
        places=places_of_rows(config, rows.stored[split], known),
        score=None,
        logged_score="f1",
        questions=questions,
        golds=golds,
        found=found,
        probabilities=np.array(shares),
        exact=np.array(scores["exact"]),
        f1=np.array(scores["f1"]),
        exact_name="exact" if config.version_2_with_negative else "exact_match",
    )


def _words_of(context: str, spans: list[tuple[int, int]]) -> list[Span]:
    """Spans of characters as spans of the words between blanks that they touch.

    >>> _words_of("Ann  left.", [(5, 9)])
    [(1, 2, 'answer')]
    """
    ends = list(itertools.accumulate(len(word) for word in context.split()))
    found = []
    for begin, end in spans:  # characters are counted without blanks
        before, until = (len("".join(context[:at].split())) for at in (begin, end))
        first = int(np.searchsorted(ends, before, side="right"))
        found.append((first, int(np.searchsorted(ends, until)) + 1, ANSWER))
    return found
