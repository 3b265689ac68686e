"""A sentence of words and tags as it was read, and how to read one."""

from dataclasses import dataclass, field
from typing import NamedTuple

IGNORED = -100
DOCUMENT_START = "-DOCSTART-"


class Row(NamedTuple):
    tokens: list[str]
    tags: list[str | None]
    document: int
    place: str  # "train.conll:17" (the first word's line) or "train[3]"
    lines: list[int] | None = None  # of the words, where each stands on a line of its own

    def place_of(self, index: int) -> str:
        """Where a word stands: "train.conll:18" or "train[3] (word 2)"."""
        if self.lines is None:
            return f"{self.place} (word {index + 1})"
        return f"{self.place.rpartition(':')[0]}:{self.lines[index]}"


@dataclass
class Reading:
    """How to read: the user's choices, and what was found in earlier splits."""

    task: str  # ner, pos or chunk
    text_column: str | None = None
    label_column: str | None = None
    names: list[str] | None = None  # of integer tags, from --labels_file
    misaligned: str = "error"  # what becomes of spans that cut a word: error, drop or widen
    found_label: str | None = field(default=None, init=False)
    found_width: int | None = field(default=None, init=False)
    scheme: str | None = field(default=None, init=False)  # of this split, where the format says it
    taken: str = field(default="", init=False)  # the columns of the split that is being read
    notes: list[str] = field(default_factory=list, init=False)  # on this split, for the user
