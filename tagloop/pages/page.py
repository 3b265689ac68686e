"""Sections of tables, pictures and marked sentences -> one HTML file that needs no other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tagloop.pages.sentences import Sentence, Span

LONGEST = 150  # words of a sentence that are shown


@dataclass(frozen=True)
class Picture:
    """An SVG, what it shows (for who cannot see it), and a line below it."""

    svg: str
    shows: str
    caption: str = ""
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; the first column is a name."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Cards:
    """A few numbers that matter most: (name, value, what is below it)."""

    cards: Sequence[tuple[str, str, str]]
    kind: str = "cards"


@dataclass(frozen=True)
class Matrix:
    """Counts of (row, column); a cell's shade is its share of the row."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str = ""
    kind: str = "matrix"


@dataclass(frozen=True)
class Piece:
    """Words that stand together: outside of any span (no type), or a span."""

    text: str
    type: str = ""
    is_right: bool = True


@dataclass(frozen=True)
class Marked:
    """Sentences, each as lines of pieces: (title, [(name of the line, pieces)])."""

    sentences: Sequence[tuple[str, Sequence[tuple[str, Sequence[Piece]]]]]
    kind: str = "marked"


@dataclass(frozen=True)
class Section:
    """A heading, what to make of what is below it, and what is below it."""

    title: str
    text: str = ""
    blocks: Sequence[object] = field(default_factory=tuple)


def mark(sentence: Sentence, spans: Sequence[Span], others: Sequence[Span]) -> list[Piece]:
    """One side of a sentence; a span that the other side does not have is wrong.

    >>> mark(Sentence(["Ann", "left"], [], []), [(0, 1, "PER")], [])
    [Piece(text='Ann', type='PER', is_right=False), Piece(text='left', type='', is_right=True)]
    """
    pieces, done, shown = [], 0, sentence.words[:LONGEST]
    for start, end, type_ in sorted(spans):
        if start >= len(shown):
            break
        if done < start:
            pieces.append(Piece(" ".join(shown[done:start])))
        is_right = (start, end, type_) in others
        pieces.append(Piece(" ".join(shown[start:end]), type_, is_right))
        done = end
    if done < len(shown):
        pieces.append(Piece(" ".join(shown[done:])))
    if len(shown) < len(sentence.words):
        pieces.append(Piece(f"… and {len(sentence.words) - len(shown):,} more words"))
    return pieces


def render(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The page as text.

    Args:
        notes: what is left out of the page.
        warnings: what every reader must know first; they stand above all else.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(
        title=title, subtitle=subtitle, sections=sections, notes=notes, warnings=warnings
    )
