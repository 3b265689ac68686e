"""What a cell means as a tag, and how to read: the user's choices and what was found."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tagloop.data.lines import read_lines
from tagloop.errors import InputError

IGNORED = -100
DOCUMENT_START = "-DOCSTART-"
SENTENCES = {"sentence", "sentenceid", "sentenceno", "sentencenumber", "sentenceidx", "sentid"}
SENTENCES |= {"sentno", "sentidx", "sent"}


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


class Tagger:
    """Turns what a source holds as a tag into a string or None."""

    def __init__(self, reading: Reading, names: list[str] | None, tagged: bool):
        self.task, self.names, self.tagged = reading.task, reading.names or names, tagged
        self.reading = reading
        self.known: dict[str, str | None] = {}

    def __call__(self, tag: Any, place: str) -> str | None:
        if tag is None:
            return None
        if isinstance(tag, str):
            if tag not in self.known:
                is_integer = re.fullmatch(r"0|-?[1-9][0-9]*", tag)
                self.known[tag] = self._name(int(tag) if is_integer else tag, place)
            return self.known[tag]
        return self._name(tag, place)

    def _name(self, tag: Any, place: str) -> str | None:
        if isinstance(tag, str):
            if tag.strip(" "):
                return _without_space(tag, place)
            if not self.tagged:
                return None
            raise InputError(f"{place}: the tag is empty; write a tag for every word")
        if not isinstance(tag, int) or isinstance(tag, bool):
            raise InputError(f"{place}: the tag {tag!r} is neither a string nor an integer")
        if tag == IGNORED:
            return None
        if self.names is not None:
            if 0 <= tag < len(self.names):
                return _without_space(self.names[tag], place)
            raise InputError(
                f"{place}: the tag {tag}, but there are only {len(self.names)} names "
                f"(0 to {len(self.names) - 1}); complete --labels_file, or write {IGNORED} for none"
            )
        if self.task != "pos":
            raise InputError(
                f"{place}: the integer tag {tag} has no name, and {self.task} needs names to find "
                "spans; give --labels_file with one name a line, the first line naming 0, or "
                f"another --label_column_name (taken now: {self.reading.taken})"
            )
        if tag < 0:
            raise InputError(f"{place}: the tag {tag}; only {IGNORED} may stand for no gold tag")
        return str(tag)


def _without_space(tag: str, place: str) -> str:
    """Tags stand between spaces in predictions.*, so none may hold one."""
    if any(character.isspace() for character in tag):
        raise InputError(
            f"{place}: the tag {tag!r} has a space or a line break in it; write another character, "
            f"for example {'_'.join(tag.split())!r}"
        )
    return tag


def read_names(path: Path) -> list[str]:
    """Return the names of integer tags: the first line names 0."""
    lines = [(number, line.strip(" \t")) for number, line in read_lines(path)]
    while lines and not lines[-1][1]:
        lines.pop()
    first_line: dict[str, int] = {}
    for number, name in lines:
        if not name:
            raise InputError(f"{path}:{number}: an empty line; write one name a line")
        if name in first_line:
            raise InputError(f"{path}:{number}: {name!r} again, see line {first_line[name]}")
        first_line[name] = number
    if not lines:
        raise InputError(f"{path}: no names; write one a line, the first naming 0")
    return list(first_line)


def numbers_sentences(column: str) -> bool:
    """Whether a column, by its name, says which sentence a row belongs to.

    >>> numbers_sentences("Sentence #"), numbers_sentences("text")
    (True, False)
    """
    return re.sub(r"[^a-z]", "", column.casefold()) in SENTENCES
