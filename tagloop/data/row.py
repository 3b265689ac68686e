"""A sentence of words and tags; how the user wants it read; what a reader found in a split.

A word without a gold tag has the tag None here and null in prepared data. In a user's file it may
have NO_GOLD_TAG as its tag, and in the labels of a batch it has IGNORE_INDEX.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

NO_GOLD_TAG = -100
DOCUMENT_START = "-DOCSTART-"  # begins a document, in columns and as the only word of a row
DOCUMENT_MARK = "# newdoc"  # begins a document in CoNLL-U


class Row(NamedTuple):
    """A sentence.

    Attributes:
        tokens: its words.
        tags: of every word, as the source has it; None for a word without a gold tag.
        document: the number of the document that it is in.
        place: where it stands: "train.conll:17" (the line of its first word) or "train[3]".
        lines: the line of every word, where each word stands on a line of its own.
    """

    tokens: list[str]
    tags: list[str | None]
    document: int
    place: str
    lines: list[int] | None = None

    def place_of(self, index: int) -> str:
        """Where a word stands: "train.conll:18" or "train[3] (word 2)"."""
        if self.lines is None:
            return f"{self.place} (word {index + 1})"
        return f"{self.place.rpartition(':')[0]}:{self.lines[index]}"


@dataclass(frozen=True)
class TagKind:
    """A kind of tags. The folder of a task describes its own.

    Attributes:
        name: as the user gives it, and as columns are named by it ("NAME_tags").
        has_spans: tags mark spans, so they have a scheme; else every word has a tag of its own.
        column_names: usual names of a column with these tags, the likeliest first.
        conll_column: which column behind the words holds these tags in files laid out as
            CoNLL-2000 and CoNLL-2003, counted from 0. None: the last one, or, where several
            columns hold layers of nested spans, that of the outer layer.
        conllu_column: the column of CoNLL-U that holds these tags; None: none does.
    """

    name: str
    has_spans: bool
    column_names: tuple[str, ...]
    conll_column: int | None = None
    conllu_column: str | None = None


@dataclass(frozen=True)
class Choices:
    """What the user chose about reading words and tags.

    Attributes:
        kind: of the tags that are wanted.
        text_column, label_column: names or numbers; None: the reader finds them.
        document_column: of a table, names the document of a row; None: the reader finds it.
        names: of integer tags, from --labels_file.
        misaligned: what becomes of spans that cut a word: "error", "drop" or "widen".
    """

    kind: TagKind
    text_column: str | None = None
    label_column: str | None = None
    document_column: str | None = None
    names: list[str] | None = None
    misaligned: str = "error"


@dataclass
class Found:
    """What a reader found in a split; complete when all its rows have been read.

    Attributes:
        columns: which columns hold words and tags, for the user.
        label_column: the name of the column with tags, of a table.
        width: number of columns, of a column file with tags.
        scheme: of the tags, where the format says it.
        documents: what marks the documents, for the user; None: nothing marks them.
        notes: for the user.
        lost: what was annotated and cannot be learned; for the user, too.
    """

    columns: str = ""
    label_column: str | None = None
    width: int | None = None
    scheme: str | None = None
    documents: str | None = None
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Sentences(NamedTuple):
    """What was found in a split, and its rows, which are read as they are asked for."""

    found: Found
    rows: Iterator[Row]
