"""Renders sections of tables, pictures and marked sentences as one HTML file without links."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tagloop.pages.sentences import Sentence, Span

LONGEST = 150  # A page shows so many words of a sentence, at most.
NUM_COLOURS = 8  # the colours of types in page.html


@dataclass(frozen=True)
class Picture:
    """An SVG, a description for readers who cannot see it, and a line below it."""

    svg: str
    shows: str
    caption: str = ""
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; the first column has names."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Cards:
    """The few most important numbers: (name, value, text below the value)."""

    cards: Sequence[tuple[str, str, str]]
    kind: str = "cards"


@dataclass(frozen=True)
class Matrix:
    """A table of counts; the shade of a count is its share of the sum of its row."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str = ""
    kind: str = "matrix"


@dataclass(frozen=True)
class Piece:
    """The words of a span, or neighbouring words outside of any span, which have no type.

    Attributes:
        note: a few characters that stand behind the type.
    """

    text: str
    type: str = ""
    is_right: bool = True
    note: str = field(default="", repr=False)


@dataclass(frozen=True)
class MarkedSentences:
    """Sentences with marked spans; each one is (title, [(name of a line, pieces of the line)]).

    Attributes:
        places: where every sentence stands in the data, as "path/test.conll:17"; [] if no place is
            known.
    """

    sentences: Sequence[tuple[str, Sequence[tuple[str, Sequence[Piece]]]]]
    places: Sequence[str] = ()
    kind: str = "marked"


@dataclass(frozen=True)
class Colour:
    """A type that has a colour of its own on the page, and a text about it."""

    name: str
    text: str


@dataclass(frozen=True)
class ColouredTexts:
    """Texts with marked pieces; every type has a colour, which comes again after NUM_COLOURS types.

    Each text is (title, [pieces of a part]). The pieces of a part joined are the part, to the
    character.
    """

    colours: Sequence[Colour]
    texts: Sequence[tuple[str, Sequence[Sequence[Piece]]]]
    kind: str = "coloured"

    @property
    def places(self) -> dict[str, int]:
        """For every type the number of its colour, from 1."""
        return {one.name: at % NUM_COLOURS + 1 for at, one in enumerate(self.colours)}


@dataclass(frozen=True)
class Section:
    """A heading, a text that explains the blocks below it, and these blocks."""

    title: str
    text: str = ""
    blocks: Sequence[object] = field(default_factory=tuple)


def mark(sentence: Sentence, spans: Sequence[Span], others: Sequence[Span]) -> list[Piece]:
    """Cut a sentence into pieces: the given spans, and the words between them.

    Args:
        spans: the gold or the predicted spans of the sentence.
        others: the spans of the other side; a span that is not in them is marked as wrong.

    >>> mark(Sentence(["Ann", "left"], [], []), [(0, 1, "PER")], [])
    [Piece(text='Ann', type='PER', is_right=False), Piece(text='left', type='', is_right=True)]
    """
    pieces, position, shown = [], 0, sentence.words[:LONGEST]
    for start, end, type_ in sorted(spans):
        if start >= len(shown):
            break
        if position < start:
            pieces.append(Piece(" ".join(shown[position:start])))
        is_right = (start, end, type_) in others
        pieces.append(Piece(" ".join(shown[start:end]), type_, is_right))
        position = end
    if position < len(shown):
        pieces.append(Piece(" ".join(shown[position:])))
    if len(shown) < len(sentence.words):
        pieces.append(Piece(f"… and {len(sentence.words) - len(shown):,} more words"))
    return pieces


def link_of(place: str) -> tuple[str, str]:
    """The short name of a place in a file, and the address of the file.

    >>> link_of("/data/test.conll:17")
    ('test.conll:17', 'file:///data/test.conll#L17')
    """
    name, _, line = place.rpartition(":")
    path = Path(name).absolute()
    return f"{path.name}:{line}", f"{path.as_uri()}#L{line}"


def render(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """Render the page as HTML text.

    Args:
        notes: sentences about parts that the page leaves out.
        warnings: sentences that a reader must know first; they are at the top of the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["link"] = link_of
    template = environment.get_template("page.html")
    blocks = [block for section in sections for block in section.blocks]
    return template.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        notes=notes,
        warnings=warnings,
        has_tables=any(isinstance(block, Table | Matrix) for block in blocks),
    )
