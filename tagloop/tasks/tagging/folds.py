"""Joins what the runs of --folds predicted: every sentence by a model that has not seen it."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tagloop.data.formats import detect_format
from tagloop.data.places import places_of_sentences
from tagloop.data.sources import find_sources
from tagloop.data.words.columns import shown_word
from tagloop.data.words.corpus import load_corpus
from tagloop.errors import InputError
from tagloop.outcome.record import Outcome
from tagloop.pages.label_errors import (
    JoinedFolds,
    Suspect,
    confident_errors,
    disagreements,
    types_text,
)
from tagloop.pages.page import mark
from tagloop.pages.sentences import Sentence, Span
from tagloop.tasks.tagging.answers import to_spans
from tagloop.tasks.tagging.kinds import read_choices

COLUMNS = ("conll", "conllu")  # formats that keep a word on a line


class Predicted(NamedTuple):
    """A sentence as the model of its fold predicted it.

    Attributes:
        row: its number in the training data.
        tags: gold tags; None for a word without one.
        predicted: predicted tags.
        scores: the probabilities of the predicted tags, float32 [num_words].
        gold_scores: the probabilities of the gold tags, float32 [num_words].
    """

    row: int
    words: list[str]
    tags: list[str | None]
    predicted: list[str]
    scores: np.ndarray
    gold_scores: np.ndarray


def join_folds(outcomes: Sequence[Outcome]) -> JoinedFolds:
    """Predictions of all sentences in the order of the data, and the annotations they contradict.

    Raises:
        InputError: a run has left no predictions, or its data has changed since.
    """
    config = outcomes[0].config
    sentences = sorted(itertools.chain.from_iterable(map(_read, outcomes)), key=lambda one: one.row)
    source = find_sources(config, []).get("train")
    if detect_format(source, tagged=True).name in COLUMNS:
        files = {"predictions.conll": "".join(map(_columns, sentences))}
    else:
        files = {"predictions.jsonl": "".join(map(_json_line, sentences))}
    return JoinedFolds(files, _suspects(sentences, config.task_name))


def places_of(outcome: Outcome, rows: Sequence[int]) -> list[str]:
    """Where rows of the training data stand, as "train.conll:17"; [] if no place is known."""
    stored = "train", np.arange(max(rows, default=-1) + 1)
    return places_of_sentences(outcome.config, read_choices(outcome.config), stored, rows)


def _read(outcome: Outcome) -> Iterator[Predicted]:
    """The sentences that a run was tested on."""
    config = outcome.config
    if outcome.predictions is None:
        raise InputError(f"{outcome.folder}: {'; '.join(outcome.notes)}; train this fold again")
    split, fingerprint, outputs = outcome.predictions
    corpus = load_corpus(config, read_choices(config), [split])
    offsets = np.cumsum([0, *map(len, corpus.splits[split]["tokens"])])
    fits = outcome.predictions.fit("label", number=offsets[-1], num_labels=len(outcome.labels))
    has_gold = len(outputs.get("gold_probability", ())) == offsets[-1]
    if corpus.fingerprints[split] != fingerprint or not (fits and has_gold):
        raise InputError(
            f"{outcome.folder}: its predictions are not those of the data as it is now; put the "
            "data back, or train again with --overwrite_output_dir"
        )
    rows = zip(corpus.splits[split], corpus.stored[split][1].tolist(), strict=True)
    for (sentence, row), start, end in zip(rows, offsets[:-1], offsets[1:], strict=True):
        yield Predicted(
            row,
            sentence["tokens"],
            sentence["tags"],
            [outcome.labels[label] for label in outputs["label"][start:end].tolist()],
            outputs["probability"][start:end],
            outputs["gold_probability"][start:end],
        )


def _columns(sentence: Predicted) -> str:
    """Word, gold tag, predicted tag and score, a word on a line; `_` is no gold tag."""
    cells = zip(sentence.words, sentence.tags, sentence.predicted, sentence.scores, strict=True)
    lines = [
        f"{shown_word(word)} {gold or '_'} {tag} {score:.4f}\n" for word, gold, tag, score in cells
    ]
    return "".join([*lines, "\n"])


def _json_line(sentence: Predicted) -> str:
    row = {
        "tokens": sentence.words,
        "tags": sentence.tags,
        "predicted_tags": sentence.predicted,
        "scores": [round(float(score), 4) for score in sentence.scores],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _suspects(sentences: Sequence[Predicted], task_name: str) -> list[Suspect]:
    """The annotations that the predictions contradict; words without gold tags are left out."""
    known = [_with_gold(sentence) for sentence in sentences]
    known = [sentence for sentence in known if sentence.words]
    if not known:
        return []
    ids: dict[str | None, int] = {}
    sides = [
        np.array([ids.setdefault(tag, len(ids)) for one in known for tag in tags(one)])
        for tags in (lambda one: one.tags, lambda one: one.predicted)
    ]
    scores = [np.concatenate([one.gold_scores for one in known])]
    scores += [np.concatenate([one.scores for one in known])]
    are_errors = confident_errors(sides[0], sides[1], *scores)
    margins = np.where(sides[0] != sides[1], scores[0] - scores[1], np.inf)
    suspects, start = [], 0
    for one in known:
        tags = [tag or "O" for tag in one.tags]  # None of these is None.
        gold, predicted = to_spans(tags, task_name), to_spans(one.predicted, task_name)
        for own, other in disagreements(gold, predicted):
            spans = [*own, *other]
            first, end = min(span[0] for span in spans), max(span[1] for span in spans)
            at = slice(start + first, start + end)
            suspects.append(
                Suspect(
                    row=one.row,
                    gold=types_text(own),
                    gold_words=_words(one.words, own),
                    predicted=types_text(other),
                    predicted_words=_words(one.words, other),
                    self_confidence=float(scores[0][at].min()),
                    margin=float(margins[at].min()),
                    is_likely=bool(are_errors[at].any()),
                    text=" ".join(one.words),
                    lines=[
                        ("gold", mark(Sentence(one.words, [], []), gold, predicted)),
                        ("predicted", mark(Sentence(one.words, [], []), predicted, gold)),
                    ],
                )
            )
        start += len(one.words)
    return suspects


def _words(words: Sequence[str], spans: Sequence[Span]) -> str:
    """The words of spans."""
    return ", ".join(" ".join(words[first:end]) for first, end, _ in spans)


def _with_gold(sentence: Predicted) -> Predicted:
    """The words of a sentence that have a gold tag."""
    kept = [at for at, tag in enumerate(sentence.tags) if tag is not None]
    return Predicted(
        sentence.row,
        [sentence.words[at] for at in kept],
        [sentence.tags[at] for at in kept],
        [sentence.predicted[at] for at in kept],
        sentence.scores[kept],
        sentence.gold_scores[kept],
    )
