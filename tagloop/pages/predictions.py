"""A page of predictions: texts with what a model found in them, in the colours of its types."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TextIO

from tagloop.data.documents.reading import Document, NamedValues, Tagged
from tagloop.data.row import TagKind
from tagloop.data.words.tags import EMPTY
from tagloop.pages.page import Colour, ColouredTexts, Piece, Section, render

MOST_TEXTS = 1000  # A page with more texts is slow to open.
ANSWER = "answer"  # the type of a marked answer


class PageWriter:
    """Collects documents with their predictions, and writes them as one page at the end.

    Args:
        output: the file of the page.
        title: the heading of the page.
    """

    def __init__(self, output: TextIO, title: str):
        self.output, self.title = output, title
        self.number = 0
        self.types: Counter[str] = Counter()  # in the order in which they were found
        self.texts: list[tuple[str, list[list[Piece]]]] = []

    def write(
        self,
        document: Document,
        predicted: Tagged | NamedValues,
        *,
        kind: TagKind | None,
        with_scores: bool = False,
    ) -> None:
        """Add a document with its prediction.

        Args:
            kind: the kind of the tags; None if the prediction is no tags.
            with_scores: makes no difference; the page shows all scores.
        """
        if document.content == []:
            return  # comments and blank lines alone
        self.number += 1
        if self.number > MOST_TEXTS:
            return
        if isinstance(predicted, NamedValues):
            heading, parts = _answer(document, predicted)
        elif kind.has_spans:
            heading, parts = "", [list(_entities(predicted))]
        else:
            heading, parts = "", [list(_words(predicted))]
        for piece in (piece for part in parts for piece in part if piece.type):
            self.types[piece.type] += 1
        row = document.source if isinstance(document.source, dict) else {}
        if "uncertainty" in row:
            heading += f"{'; ' if heading else ''}uncertainty {row['uncertainty']}"
        self.texts.append((f"text {self.number:,}{': ' if heading else ''}{heading}", parts))

    def close(self) -> None:
        """Write the page."""
        colours = [Colour(name, f"{number:,}") for name, number in self.types.most_common()]
        notes = []
        if self.number > MOST_TEXTS:
            notes.append(
                f"The page shows the first {MOST_TEXTS:,} of {self.number:,} texts; --sort_by "
                "uncertainty --top N chooses others."
            )
        subtitle = f"{self.number:,} text{'s' * (self.number != 1)}"
        if marks := self.types.total():
            subtitle += f", {marks:,} marked place{'s' * (marks > 1)}"
        section = Section("Texts", "", [ColouredTexts(colours, self.texts)])
        self.output.write(render(self.title, subtitle, [section], notes=notes))


def _entities(tagged: Tagged) -> Iterator[Piece]:
    """The text in pieces: entities, and what stands between them."""
    position = 0
    for entity in tagged.entities:
        yield Piece(tagged.text[position : entity["start"]])
        yield Piece(entity["text"], entity["label"], note=f"{entity['score']:.2f}")
        position = entity["end"]
    yield Piece(tagged.text[position:])


def _words(tagged: Tagged) -> Iterator[Piece]:
    """The text in pieces: every word with its tag, and what stands between the words."""
    position = 0
    for word, tag in zip(tagged.tokens, tagged.tags, strict=True):
        start = tagged.text.index(word, position)
        yield Piece(tagged.text[position:start])
        yield Piece(word, "" if tag == EMPTY else tag)
        position = start + len(word)
    yield Piece(tagged.text[position:])


def _answer(document: Document, predicted: NamedValues) -> tuple[str, list[list[Piece]]]:
    """The answer with its score, and the texts of the document; its place in the last text."""
    answer, score = next(iter(predicted.values.values())), predicted.values.get("score")
    heading = "left out" if answer is None else str(answer) or "no answer"
    if score is not None:
        heading += f" ({score:.2f})"
    content = document.content
    *others, last = (content,) if isinstance(content, str) else content
    ends = [0, *(end for mark in predicted.marks for end in mark), len(last)]
    pieces = [
        Piece(last[start:end], ANSWER if number % 2 else "")
        for number, (start, end) in enumerate(pairwise(ends))
    ]
    return heading, [*([Piece(text)] for text in others), pieces]
