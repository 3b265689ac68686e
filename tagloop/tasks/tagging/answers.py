"""Gold and predicted tags of a finished run, for its report. No model is loaded.

A span is (first word, end exclusive, type); for pos every tagged word is a span of one word.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tagloop.data.words import schemes
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
        strict: of each sentence the predicted spans that begin with B-, which strict scores take.
        probabilities: of the predicted label of every word with a gold tag, float32 [num_words];
            None: the run left none.
        is_right: bool [num_words], whether the label is the gold one.
        in_span: bool [num_words], whether the label is part of a span.
        training: the words of each span of the training data -> its types there; None: unknown.
    """

    task: str
    strict: list[list[Span]] = field(default_factory=list)
    probabilities: np.ndarray | None = None
    is_right: np.ndarray | None = None
    in_span: np.ndarray | None = None
    training: dict[str, set[str]] | None = None

    @property
    def has_spans(self) -> bool:
        """True where it is predicted which words belong together: entities and chunks."""
        return self.task != "pos"

    @property
    def span(self) -> str:
        """What a span is called."""
        return SPAN_NAMES[self.task]

    @property
    def spans(self) -> str:
        """What several spans are called."""
        return PLURALS[self.span]

    def add(self, row: int, words: list[str], gold: list[str], predicted: list[str]) -> None:
        """Count a sentence; gold and predicted tags of every word are IOB2, or plain for pos."""
        found = to_spans(predicted, self.task)
        self.sentences.append(Sentence(words, to_spans(gold, self.task), found))
        self.strict.append([span for span in found if predicted[span[0]].startswith("B-")])
        self.rows.append(row)


def to_spans(tags: Sequence[str], task: str) -> list[Span]:
    """Spans of IOB2 tags; for pos every word is one.

    >>> to_spans(["B-PER", "I-PER", "O"], "ner"), to_spans(["DET", "NOUN"], "pos")
    ([(0, 2, 'PER')], [(0, 1, 'DET'), (1, 2, 'NOUN')])
    """
    if task == "pos":
        return [(index, index + 1, tag) for index, tag in enumerate(tags)]
    return schemes.spans(tags)


def read_answers(outcome: Outcome) -> TagAnswers | None:
    """Gold and predicted tags: from predictions.npz and the data of the run, which is read again.

    Where that fails, words and tags are those of predictions.conll, which has no probabilities;
    without it, too, there are no answers. Notes of the outcome say what is missing.

    Raises:
        InputError: predictions.conll was edited and is no longer such a file.
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
    answers.warnings = _warnings(answers)
    if outcome.labels:
        answers.guessing_loss = math.log(len(outcome.labels))
    return answers


def _read_corpus(outcome: Outcome) -> Corpus | None:
    if not outcome.record.get("finished"):
        return None
    split = outcome.predictions.split if outcome.predictions else "test"
    try:
        return load_corpus(outcome.config, read_choices(outcome.config), ["train", split])
    except Exception as error:  # moved or damaged since: the page does without
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        outcome.notes.append(f"the data of the run cannot be read again: {reason}")
        return None


def _new_answers(task: str, split: str) -> TagAnswers:
    score, logged = ("accuracy", "accuracy") if task == "pos" else ("F1", "f1")
    return TagAnswers(
        task=task, split=split, sentences=[], rows=[], score=score, logged_score=logged
    )


def _join(outcome: Outcome, corpus: Corpus) -> TagAnswers | None:
    """Put the predicted labels beside the words that they were predicted for."""
    split, fingerprint, outputs = outcome.predictions
    if corpus.fingerprints.get(split) != fingerprint:
        outcome.notes.append(
            f"the {split} data is another one now than what was predicted: nothing is said of "
            "probabilities"
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
                answers.add(row, [_shown(words[index]) for index in known], gold, tags)
                kept.append(at[known])
                right += [tag == other for tag, other in zip(gold, tags, strict=True)]
                in_span += [tag != "O" for tag in tags]
            row += 1
    if not kept:
        outcome.notes.append(f"no word of the {split} data has a gold tag")
        return None
    answers.probabilities = probabilities[np.concatenate(kept)]
    answers.is_right = np.array(right)
    answers.in_span = np.array(in_span) if answers.has_spans else None
    return answers


def _shown(word: str) -> str:
    """A word as predictions.conll writes it: without spaces, and not empty."""
    return "".join("_" if letter.isspace() else letter for letter in word) or "_"


def _from_columns(outcome: Outcome, corpus: Corpus | None) -> TagAnswers | None:
    """The sentences of predictions.conll, if their words have gold tags of this task."""
    path = outcome.folder / "predictions.conll"
    if outcome.options.get("predict_file") or not path.is_file():
        return None  # words to tag replace the test split; their gold tags may be of another kind
    found = read_conll(path)
    if not found:
        return None
    task = outcome.config.task_name
    if not outcome.record and any(not _marks_spans(tags) for _, *tags in found):
        task = "pos"
    answers = _new_answers(task, "test")
    numbers = _rows_with_gold(outcome, corpus) if corpus else None
    if numbers is not None and len(numbers) != len(found):
        outcome.notes.append(
            f"predictions.conll has {len(found):,} sentences, the test data {len(numbers):,}: the "
            "file is not what this run predicted"
        )
        numbers = None
    for row, sentence in zip(numbers or range(len(found)), found, strict=True):
        answers.add(row, *sentence)
    return answers


def _rows_with_gold(outcome: Outcome, corpus: Corpus) -> list[int] | None:
    """Rows of the test data that are in predictions.conll; None if the data is another one now."""
    now, then = corpus.fingerprints.get("test"), outcome.fingerprints.get("test")
    if now is None or (then is not None and then != now):
        return None
    tags = corpus.splits["test"]["tags"]
    return [row for row, of in enumerate(tags) if any(tag is not None for tag in of)]


def _marks_spans(sides: list[list[str]]) -> bool:
    return all(tag == "O" or schemes.is_span_tag(tag) for side in sides for tag in side)


def read_conll(path: Path) -> list[tuple[list[str], list[str], list[str]]]:
    """Words, gold and predicted tags of every sentence; empty if there are no gold tags.

    Raises:
        InputError: a line that write_predictions did not write.
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
    """The words of every span of the training data, and its types there."""
    now, then = corpus.fingerprints.get("train"), outcome.fingerprints.get("train")
    if now is None:
        return None
    if then is not None and then != now:
        outcome.notes.append("seen entities are left out: the training data is another one now")
        return None
    training: dict[str, set[str]] = defaultdict(set)
    task = outcome.config.task_name
    for batch in corpus.splits["train"].iter(1000):
        for words, tags in zip(batch["tokens"], batch["tags"], strict=True):
            known = [index for index, tag in enumerate(tags) if tag is not None]
            spans = to_spans([tags[index] for index in known], task)
            sentence = Sentence([_shown(words[index]) for index in known], spans, [])
            for span in spans:
                training[surface(sentence, span)].add(span[2])
    return training


def _warnings(answers: TagAnswers) -> list[str]:
    """Predictions that show that nothing was learned, in plain words."""
    gold = Counter(span[2] for sentence in answers.sentences for span in sentence.gold)
    found = Counter(span[2] for sentence in answers.sentences for span in sentence.predicted)
    if gold and not found:
        return [
            f"The model predicted no {answers.span} at all in {answers.where}, where "
            f"{gold.total():,} could be found: it has not learned to find any. More epochs or "
            "another --learning_rate may help."
        ]
    if not answers.has_spans and len(found) == 1 and len(gold) > 1:
        return [
            f"The model gave every word of {answers.where} the same tag, {next(iter(found))}: it "
            "has not learned to tell words apart. More epochs or another --learning_rate may help."
        ]
    return []
