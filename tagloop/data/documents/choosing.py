"""Which predictions are written: none with a low score, the most uncertain documents first. Pure.

The uncertainty of a document is 1 minus a probability:

- of tagged words: the lowest probability of a word's tag. Liu et al. (2022, "LTP: A New Active
  Learning Strategy for CRF-Based Named Entity Recognition", Neural Processing Letters 54) chose
  sentences by it. Unlike the probability of all tags together, it does not prefer long sentences.
- else: the probability of the answer, the "least confidence" of Lewis and Gale (1994, "A Sequential
  Algorithm for Training Text Classifiers", SIGIR).
"""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from tagloop.data.documents.reading import WORD, Document, NamedValues, Tagged
from tagloop.data.row import TagKind
from tagloop.data.words.tags import EMPTY
from tagloop.errors import InputError

DIGITS = 4  # of an uncertainty, as of a probability
SCORE = "score"  # the name of the probability of an answer among its values


def uncertainty_of(predicted: Tagged | NamedValues) -> float:
    """1 minus the lowest probability of a word's tag, or 1 minus the probability of the answer.

    The uncertainty is 0 if there is nothing to predict: no word, or no gap in a text.

    Raises:
        InputError: the prediction has no probability.
    """
    if isinstance(predicted, Tagged):
        lowest = min(predicted.scores, default=1.0)
    else:
        lowest = _score_of(predicted, "--sort_by uncertainty")
    return round(1 - (1.0 if lowest is None else lowest), DIGITS)


def _score_of(predicted: NamedValues, option: str) -> float | None:
    if SCORE not in predicted.values:
        raise InputError(
            f"{option}: this model gives {', '.join(predicted.values)} without a probability; "
            "leave the option out"
        )
    return predicted.values[SCORE]


def without_low_scores(
    predicted: Tagged | NamedValues, least: float, kind: TagKind | None
) -> Tagged | NamedValues:
    """The prediction without entities, tags or an answer whose score is below `least`.

    The words of an entity that is left out have the tag O. Where tags mark no spans, a tag that is
    left out becomes `_`, which the readers take for no tag. An answer becomes None, and its score
    stays.

    Args:
        kind: the kind of the tags; None if the prediction is no tags.

    Raises:
        InputError: the prediction has no score.
    """
    if isinstance(predicted, NamedValues):
        score = _score_of(predicted, "--min_score")
        if score is None or score >= least:
            return predicted
        values = {name: v if name == SCORE else None for name, v in predicted.values.items()}
        return replace(predicted, values=values, marks=[])
    tags = list(predicted.tags)
    if not kind.has_spans:
        pairs = zip(tags, predicted.scores, strict=True)
        return replace(predicted, tags=[tag if score >= least else EMPTY for tag, score in pairs])
    kept = []
    for entity, span in zip(predicted.entities, predicted.spans, strict=True):
        if entity["score"] >= least:
            kept.append((entity, span))
        else:
            tags[slice(*span)] = ["O"] * (span[1] - span[0])
    entities, spans = ([pair[at] for pair in kept] for at in (0, 1))
    return replace(predicted, tags=tags, entities=entities, spans=spans)


class Ranking:
    """The most uncertain documents; among equals the earlier one comes first.

    Args:
        top: how many are kept; None keeps all. The memory grows with this number alone.
    """

    def __init__(self, top: int | None = None):
        self.top, self.number = top, 0
        self.kept: list[tuple[float, int, Document, Tagged | NamedValues]] = []

    def add(self, document: Document, predicted: Tagged | NamedValues) -> None:
        """Take a document with its prediction, unless enough are more uncertain.

        Raises:
            InputError: the prediction has no probability.
        """
        entry = (uncertainty_of(predicted), -self.number, document, predicted)
        self.number += 1
        if document.content == []:  # comments and blank lines at the end of a column file
            return
        if self.top is None or len(self.kept) < self.top:
            heapq.heappush(self.kept, entry)
        else:
            heapq.heappushpop(self.kept, entry)

    def ranked(self) -> Iterator[tuple[Document, Tagged | NamedValues]]:
        """The documents, the most uncertain one first; each row has gained `uncertainty`."""
        for uncertainty, _, document, predicted in sorted(self.kept, reverse=True):
            yield _with_uncertainty(_ended(document), uncertainty), predicted


def _with_uncertainty(document: Document, uncertainty: float) -> Document:
    """The document with a value more in its row; lines of columns stay as they are."""
    if not isinstance(document.source, dict):
        return document
    added = {"uncertainty": uncertainty}
    row = document.source
    if isinstance(row.get("data"), dict):  # a task of Label Studio keeps its values there
        return replace(document, source=row | {"data": row["data"] | added})
    return replace(document, source=row | added)


def _ended(document: Document) -> Document:
    """The document with the end of its last line, as it may no longer be the last of its file."""
    if not isinstance(document.source, list):
        return replace(document, ending=document.ending or "\n")
    lines = [(line if line.endswith("\n") else f"{line}\n", role) for line, role in document.source]
    if lines and lines[-1][1] == WORD:  # A blank line ends a sentence.
        lines.append(("\n", None))
    return replace(document, source=lines)
