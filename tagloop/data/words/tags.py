"""Cells -> tags; names of integer tags; names of columns that number sentences."""

import json
import re
from pathlib import Path
from typing import Any

from tagloop.data.lines import read_lines, read_text
from tagloop.data.row import NO_GOLD_TAG, Choices, Found
from tagloop.errors import InputError
from tagloop.wording import first_line, shown

SENTENCES = {"sentence", "sentenceid", "sentenceno", "sentencenumber", "sentenceidx", "sentid"}
SENTENCES |= {"sentno", "sentidx", "sent"}
EMPTY = "_"  # in a cell for a tag: the word has none
BARE = "BIESLUMW"  # prefixes of spans, here without a type
ONE_TYPE = "ENTITY"  # of spans whose tags name no type


class TagReader:
    """Turns what a source holds as the tag of a word into a string, or None for no gold tag.

    Args:
        names: of integer tags, where the source has them; those of the user go before.
        tagged: every word must have a tag, or say that it has no gold tag.
        columns: what was taken for words and tags, for messages.
        empty_is_value: EMPTY is a value like any other, and not a word without a gold tag.
    """

    def __init__(
        self,
        choices: Choices,
        names: list[str] | None,
        tagged: bool,
        columns: str,
        *,
        empty_is_value: bool = False,
    ):
        self.kind, self.names = choices.kind, choices.names or names
        self.tagged, self.columns = tagged, columns
        self.empty_is_value = empty_is_value
        self.known: dict[str, str | None] = {}
        self.first_empty: str | None = None  # the place of the first EMPTY
        self.seen: set[str] = set()  # tags of the source

    def __call__(self, tag: Any, place: str) -> str | None:
        """The tag of a word.

        Raises:
            InputError: `tag` is no tag; the message begins with `place`.
        """
        if tag is None:
            return None
        if isinstance(tag, str):
            if tag not in self.known:
                is_integer = re.fullmatch(r"0|-?[1-9][0-9]{0,17}", tag)
                self.known[tag] = self._meaning(int(tag) if is_integer else tag, place)
            return self.known[tag]
        return self._meaning(tag, place)

    def finish(self, found: Found) -> None:
        """Note what the tags of a whole split show; to be called behind its last row.

        Raises:
            InputError: EMPTY seems to stand for O.
        """
        prefixes = sorted(self.seen & {*BARE})
        if self.kind.has_spans and prefixes:
            found.notes.append(
                f"the tags {', '.join(prefixes)} name no type; the spans are read as {ONE_TYPE} "
                f"({prefixes[0]} is {prefixes[0]}-{ONE_TYPE})"
            )
        if self.tagged and self.kind.has_spans and self.first_empty and "O" not in self.seen:
            raise InputError(
                f"{self.first_empty}: the tag {EMPTY!r} says that a word has no gold tag, but no "
                f"word is O, so {EMPTY!r} seems to stand for O (as in WebAnno TSV): write O there; "
                f"{self.columns}"
            )

    def _meaning(self, tag: Any, place: str) -> str | None:
        """The tag, with a type where spans have none; None for no gold tag."""
        meaning = self._read(tag, place)
        if meaning == EMPTY and not self.empty_is_value:
            self.first_empty = self.first_empty or place
            return None
        if meaning is not None:
            self.seen.add(meaning)
        if self.kind.has_spans and meaning in {*BARE}:
            return f"{meaning}-{ONE_TYPE}"
        return meaning

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
                + "; if 0 means that the word is in no span, write the letter O"
                * (tag == 0)
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

    A file of JSON is read, too: a list of names, or an object of names and their integers, either
    way round; in a model's config.json it is id2label.

    Raises:
        InputError: the file has no names, an empty line, or a name twice.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("[", "{"):
        names = enumerate(_listed(text, path))
        places = [(f"{path}: the name of {at}", name) for at, name in names]
    else:
        places = [(f"{path}:{number}", line.strip(" \t")) for number, line in read_lines(path)]
    while places and not places[-1][1]:
        places.pop()
    first: dict[str, str] = {}
    for place, name in places:
        if not name:
            raise InputError(f"{place}: an empty line; write one name a line")
        if name in first:
            raise InputError(f"{place}: {name!r} again, see {first[name]}")
        first[name] = f"line {place.rpartition(':')[2]}" if place[-1].isdecimal() else place
    if not places:
        raise InputError(f"{path}: no names; write one a line, the first naming 0")
    return list(first)


def _listed(text: str, path: Path) -> list[str]:
    """The names in a text of JSON, in the order of their integers."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: begins like JSON and is none ({first_line(error)}); write one name a line"
        ) from error
    if isinstance(names, dict):
        for key in ("id2label", "label2id"):
            names = names[key] if isinstance(names.get(key), dict) else names
        if all(type(value) is int for value in names.values()):
            names = {str(value): name for name, value in names.items()}
        if set(names) == {str(at) for at in range(len(names))}:
            names = [names[str(at)] for at in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: this JSON ({shown(names)}) gives no name to each integer from 0 on; write "
            '["O", "B-PER"], {"0": "O", "1": "B-PER"} or {"O": 0, "B-PER": 1}'
        )
    return names


def numbers_sentences(column: str) -> bool:
    """Whether a column, by its name, says which sentence a row belongs to.

    >>> numbers_sentences("Sentence #"), numbers_sentences("text")
    (True, False)
    """
    return re.sub(r"[^a-z]", "", column.casefold()) in SENTENCES
