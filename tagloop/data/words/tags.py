"""What a cell means as a tag, and how to read: the user's choices and what was found."""

import re
from pathlib import Path
from typing import Any

from tagloop.data.lines import read_lines
from tagloop.data.row import IGNORED, Reading
from tagloop.errors import InputError

SENTENCES = {"sentence", "sentenceid", "sentenceno", "sentencenumber", "sentenceidx", "sentid"}
SENTENCES |= {"sentno", "sentidx", "sent"}


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
