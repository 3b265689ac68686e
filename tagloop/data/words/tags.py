"""Cells -> tags; names of integer tags; names of columns that number sentences."""

import re
from pathlib import Path
from typing import Any

from tagloop.data.lines import read_lines
from tagloop.data.row import NO_GOLD_TAG, Choices
from tagloop.errors import InputError

SENTENCES = {"sentence", "sentenceid", "sentenceno", "sentencenumber", "sentenceidx", "sentid"}
SENTENCES |= {"sentno", "sentidx", "sent"}


class TagReader:
    """Turns what a source holds as the tag of a word into a string, or None for no gold tag.

    Args:
        names: of integer tags, where the source has them; those of the user go before.
        tagged: every word must have a tag, or say that it has no gold tag.
        columns: what was taken for words and tags, for messages.
    """

    def __init__(self, choices: Choices, names: list[str] | None, tagged: bool, columns: str):
        self.kind, self.names = choices.kind, choices.names or names
        self.tagged, self.columns = tagged, columns
        self.known: dict[str, str | None] = {}

    def __call__(self, tag: Any, place: str) -> str | None:
        """The tag of a word.

        Raises:
            InputError: `tag` is no tag; the message begins with `place`.
        """
        if tag is None:
            return None
        if isinstance(tag, str):
            if tag not in self.known:
                is_integer = re.fullmatch(r"0|-?[1-9][0-9]*", tag)
                self.known[tag] = self._read(int(tag) if is_integer else tag, place)
            return self.known[tag]
        return self._read(tag, place)

    def _read(self, tag: Any, place: str) -> str | None:
        if isinstance(tag, str):
            if tag.strip(" "):
                return _without_space(tag, place)
            if not self.tagged:
                return None
            raise InputError(f"{place}: the tag is empty; write a tag for every word")
        if not isinstance(tag, int) or isinstance(tag, bool):
            raise InputError(f"{place}: the tag {tag!r} is neither a string nor an integer")
        if tag == NO_GOLD_TAG:
            return None
        return self._name_of(tag, place)

    def _name_of(self, tag: int, place: str) -> str:
        if self.names is not None:
            if 0 <= tag < len(self.names):
                return _without_space(self.names[tag], place)
            raise InputError(
                f"{place}: the tag {tag}, but there are only {len(self.names)} names "
                f"(0 to {len(self.names) - 1}); complete --labels_file, or write {NO_GOLD_TAG} for "
                "none"
            )
        if self.kind.has_spans:
            raise InputError(
                f"{place}: the integer tag {tag} has no name, and {self.kind.name} needs names to "
                "find spans; give --labels_file with one name a line, the first line naming 0, or "
                f"another --label_column_name (taken now: {self.columns})"
            )
        if tag < 0:
            raise InputError(
                f"{place}: the tag {tag}; only {NO_GOLD_TAG} may stand for no gold tag"
            )
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
    """The names of integer tags, from a file with a name a line; the first line names 0.

    Raises:
        InputError: the file has no names, an empty line, or a name twice.
    """
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
