"""Gold and predicted tags of a finished run, for its report. No model is loaded.

A span is (first word, end exclusive, type); for pos every tagged word is a span of one word.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tagloop.data.places import places_of_sentences
from tagloop.data.words import schemes
from tagloop.data.words.columns import shown_word
from tagloop.data.words.corpus import Corpus, load_corpus
from tagloop.errors import InputError
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers
from tagloop.pages.sentences import Sentence, Span, surface
from tagloop.tasks.tagging.kinds import read_choices

SPAN_NAMES = {"ner": "entity", "chunk": "chunk", "pos": "word"}
PLURALS = {"entity": "entities", "chunk": "chunks", "word": "words"}


@dataclass(kw_only=True)
class TagAnswers(Answers):
    """Answers for a tagged split.

    Attributes:
        task: "ner", "chunk" or "pos".
        strict: for every sentence the predicted spans that begin with B-, for strict scores.
        probabilities: the probability of the predicted label of every word with a gold tag,
            float32 [num_words]; None if the run left no probabilities.
        is_right: bool [num_words], True if the predicted label is the gold label.
        in_span: bool [num_words], True if the predicted label is part of a span.
        context_tokens: sub-tokens that the model saw around a sentence on each side, at most.
        training: for the words of every span in the training data its types there; None if the
            training data cannot be read.
    """

    task: str
    strict: list[list[Span]] = field(default_factory=list)
    probabilities: np.ndarray | None = None
    is_right: np.ndarray | None = None
    in_span: np.ndarray | None = None
    context_tokens: int = 0
    training: dict[str, set[str]] | None = None

    @property
    def has_spans(self) -> bool:
        """True for entities and chunks, whose predictions say which words belong together."""
        return self.task != "pos"

    @property
    def span(self) -> str:
        """The name of a span of this task, in the singular."""
        return SPAN_NAMES[self.task]

    @property
    def spans(self) -> str:
        """The name of a span of this task, in the plural."""
        return PLURALS[self.span]

    def add(self, row: int, words: list[str], gold: list[str], predicted: list[str]) -> None:
        """Add a sentence.

        Args:
            row: the number of the sentence in its split.
            gold, predicted: a tag for every word, in IOB2, or plain for pos.
        """
        spans = to_spans(predicted, self.task)
        self.sentences.append(Sentence(words, to_spans(gold, self.task), spans))
        self.strict.append([span for span in spans if predicted[span[0]].startswith("B-")])
        self.rows.append(row)


def to_spans(tags: Sequence[str], task: str) -> list[Span]:
    """The spans of IOB2 tags; for pos every word is a span.

    >>> to_spans(["B-PER", "I-PER", "O"], "ner"), to_spans(["DET", "NOUN"], "pos")
    ([(0, 2, 'PER')], [(0, 1, 'DET'), (1, 2, 'NOUN')])
    """
    if task == "pos":
        return [(index, index + 1, tag) for index, tag in enumerate(tags)]
    return schemes.spans(tags)


def read_answers(outcome: Outcome) -> TagAnswers | None:
    """Read gold tags from the data of the run, and predicted tags from predictions.npz.

    If one of them cannot be read, words and tags come from predictions.conll, which has no
    probabilities. Notes of the outcome say which part is missing.

    Returns:
        The answers; None if predictions.conll cannot be used either.

    Raises:
        InputError: predictions.conll was edited and has another format now.
    """
    corpus, answers = _read_corpus(outcome), None
    if corpus and outcome.predictions:
        answers = _join(outcome, corpus)
    if answers is None:
        answers = _from_columns(outcome, corpus)
    if answers is None:
        return None
    if corpus:
        answers.training = _training_spans(outcome, corpus)
    answers.context_tokens = outcome.config.context_tokens
    answers.warnings = _warnings(answers)
    if outcome.labels:
        answers.guessing_loss = math.log(len(outcome.labels))
    return answers


def _read_corpus(outcome: Outcome) -> Corpus | None:
    if not outcome.record.get("finished"):
        return None
    split = outcome.predictions.split if outcome.predictions else "test"
    return outcome.read_again(
        lambda: load_corpus(outcome.config, read_choices(outcome.config), ["train", split])
    )


def _new_answers(task: str, split: str) -> TagAnswers:
    score, logged = ("accuracy", "accuracy") if task == "pos" else ("F1", "f1")
    return TagAnswers(
        task=task, split=split, sentences=[], rows=[], score=score, logged_score=logged
    )


def _join(outcome: Outcome, corpus: Corpus) -> TagAnswers | None:
    """Join the words of a split with their predicted labels."""
    split, fingerprint, outputs = outcome.predictions
    if corpus.fingerprints.get(split) != fingerprint:
        outcome.notes.append(
            f"the {split} data has changed since the prediction, so the report has no probabilities"
        )
        return None
    rows = corpus.splits[split]
    offsets = np.cumsum([0, *map(len, rows["tokens"])])
    if not outcome.predictions.fit("label", number=offsets[-1], num_labels=len(outcome.labels)):
        outcome.notes.append(
            f"predictions.npz does not fit the {split} data and the model's labels"
        )
        return None
    label_ids, probabilities = outputs["label"], outputs["probability"]
    answers, kept, right, in_span = _new_answers(outcome.config.task_name, split), [], [], []
    row = 0
    for batch in rows.iter(1000):
        for words, gold in zip(batch["tokens"], batch["tags"], strict=True):
            at = np.arange(offsets[row], offsets[row + 1])
            known = [index for index, tag in enumerate(gold) if tag is not None]
            if known:
                tags = [outcome.labels[label] for label in label_ids[at[known]].tolist()]
                gold = [gold[index] for index in known]
                answers.add(row, [shown_word(words[index]) for index in known], gold, tags)
                kept.append(at[known])
                right += [tag == other for tag, other in zip(gold, tags, strict=True)]
                in_span += [tag != "O" for tag in tags]
            row += 1
    if not kept:
        outcome.notes.append(f"no word of the {split} data has a gold tag")
        return None
    _add_places(outcome, corpus, answers)
    answers.probabilities = probabilities[np.concatenate(kept)]
    answers.is_right = np.array(right)
    answers.in_span = np.array(in_span) if answers.has_spans else None
    return answers


def _from_columns(outcome: Outcome, corpus: Corpus | None) -> TagAnswers | None:
    """The answers from predictions.conll; None if its words have no gold tags of this task."""
    path = outcome.folder / "predictions.conll"
    if outcome.options.get("predict_file") or not path.is_file():
        # The file has the words of --predict_file, and maybe gold tags of another task.
        return None
    tagged = read_conll(path)
    if not tagged:
        return None
    task = outcome.config.task_name
    if not outcome.record and any(not _marks_spans(tags) for _, *tags in tagged):
        task = "pos"
    answers = _new_answers(task, "test")
    numbers = _rows_with_gold(outcome, corpus) if corpus else None
    if numbers is not None and len(numbers) != len(tagged):
        outcome.notes.append(
            f"predictions.conll has {len(tagged):,} sentences, the test data {len(numbers):,}: the "
            "file is not what this run predicted"
        )
        numbers = None
    for row, sentence in zip(numbers or range(len(tagged)), tagged, strict=True):
        answers.add(row, *sentence)
    if numbers is not None:
        _add_places(outcome, corpus, answers)
    return answers


def _add_places(outcome: Outcome, corpus: Corpus, answers: TagAnswers) -> None:
    """Say of every sentence where it stands in the data, which has not changed since the run."""
    choices, stored = read_choices(outcome.config), corpus.stored[answers.split]
    answers.places = places_of_sentences(outcome.config, choices, stored, answers.rows)


def _rows_with_gold(outcome: Outcome, corpus: Corpus) -> list[int] | None:
    """Rows of the test data that are in predictions.conll; None if the data has changed."""
    now, then = corpus.fingerprints.get("test"), outcome.fingerprints.get("test")
    if now is None or (then is not None and then != now):
        return None
    tags = corpus.splits["test"]["tags"]
    return [row for row, own in enumerate(tags) if any(tag is not None for tag in own)]


def _marks_spans(sides: list[list[str]]) -> bool:
    return all(tag == "O" or schemes.is_span_tag(tag) for side in sides for tag in side)


def read_conll(path: Path) -> list[tuple[list[str], list[str], list[str]]]:
    """Words, gold tags and predicted tags of every sentence; [] if the file has no gold tags.

    Raises:
        InputError: write_predictions has not written this line.
    """
    sentences, words, gold, predicted = [], [], [], []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if line:
            cells = line.rsplit(" ", 2)
            if len(cells) == 2:
                return []
            if len(cells) < 2:
                raise InputError(f"{path}:{number}: no word with its tags; was the file edited?")
            for side, cell in zip((words, gold, predicted), cells, strict=True):
                side.append(cell)
        elif words:
            sentences.append((words, gold, predicted))
            words, gold, predicted = [], [], []
    return sentences


def _training_spans(outcome: Outcome, corpus: Corpus) -> dict[str, set[str]] | None:
    """For the words of every span in the training data its types there.

    The result is None if the training data cannot be read or has changed.
    """
    now, then = corpus.fingerprints.get("train"), outcome.fingerprints.get("train")
    if now is None:
        return None
    if then is not None and then != now:
        outcome.notes.append("seen entities are left out: the training data has changed")
        return None
    training: dict[str, set[str]] = defaultdict(set)
    task = outcome.config.task_name
    for batch in corpus.splits["train"].iter(1000):
        for words, tags in zip(batch["tokens"], batch["tags"], strict=True):
            known = [index for index, tag in enumerate(tags) if tag is not None]
            spans = to_spans([tags[index] for index in known], task)
            sentence = Sentence([shown_word(words[index]) for index in known], spans, [])
            for span in spans:
                training[surface(sentence, span)].add(span[2])
    return training


def _warnings(answers: TagAnswers) -> list[str]:
    """A sentence for the reader if the predictions show that the model learned nothing."""
    gold = Counter(span[2] for sentence in answers.sentences for span in sentence.gold)
    predicted = Counter(span[2] for sentence in answers.sentences for span in sentence.predicted)
    if gold and not predicted:
        return [
            f"The model predicted no {answers.span} at all in {answers.where}, where "
            f"{gold.total():,} could be found: it has not learned to find any. More epochs or "
            "another --learning_rate may help."
        ]
    if not answers.has_spans and len(predicted) == 1 and len(gold) > 1:
        return [
            f"The model gave every word of {answers.where} the same tag, {next(iter(predicted))}: "
            "it has not learned to tell words apart. More epochs or another --learning_rate may "
            "help."
        ]
    return []
