"""JSON -> rows with their places, for training and for tagging alike.

    for place, item in parse_json(lines, "a.jsonl"):   # "a.jsonl:1", {"text": "Ann won"}

`lines` are those of a file or of a stream that can be read only once.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tagloop.data.annotations.tools import as_row
from tagloop.data.encodings import SNIFFED_BYTES
from tagloop.data.lines import Lines, is_blank, is_cr_only, without_end
from tagloop.errors import InputError
from tagloop.wording import first_line, require_whole, shown

_ARRAY = re.compile(r'\s*(\{(\s*"version"\s*:[^,\[\]{}]*,)?\s*"data"\s*:\s*)?\[', re.A)
# The annotator of tecoholic writes one object: {"classes": [...], "annotations": [[text, {...}]]}.
_CLASSES = re.compile(r'\s*\{\s*("classes"\s*:\s*\[|"annotations"\s*:\s*\[\s*\[\s*")', re.A)


def parse_json(lines: Lines, name: str) -> Iterator[tuple[str, Any]]:
    """Yield place and item: of a line each, or of one array, which is read whole.

    Raises:
        InputError: what is no JSON.
    """
    before, size, lines = [], 0, iter(lines)
    for number, line in lines:
        before.append((number, line))
        size += len(line)
        if size >= SNIFFED_BYTES:
            break
    if is_json_array("".join(line for _, line in before)):
        yield from parse_json_array("".join(line for _, line in chain(before, lines)), name)
    else:
        yield from parse_json_lines(chain(before, lines), name)


def is_json_array(head: str) -> bool:
    """True if a file with this beginning is one array, or one object with an array in it."""
    return (_ARRAY.match(head) or _CLASSES.match(head)) is not None


def parse_json_lines(lines: Lines, name: str) -> Iterator[tuple[str, Any]]:
    """Yield place and item of every line that is not blank.

    Raises:
        InputError: a line that is no JSON.
    """
    for number, line in lines:
        bare = without_end(line)
        if not is_blank(bare):
            try:
                item = json.loads(bare)
            except (ValueError, RecursionError) as error:
                raise _bad_json(name, number, error) from error
            if _may_hold_halves(bare):
                require_whole(json.dumps(item, ensure_ascii=False), f"{name}:{number}")
            yield f"{name}:{number}", item


def parse_json_array(text: str, name: str) -> list[tuple[str, Any]]:
    """Place and item of every entry of an array, or of the array under "data" or "annotations".

    A text may also hold an array in each line; then an item is such an array.

    Raises:
        InputError: the text is no JSON.
    """
    if is_cr_only(text[:4096].encode()):
        text = text.replace("\r", "\n")  # Then the parser counts lines.
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("[") and error.msg == "Extra data":  # Each line is an array.
            return list(parse_json_lines(enumerate(text.split("\n"), start=1), name))
        raise _bad_json(name, error.lineno, error) from error
    except (ValueError, RecursionError) as error:
        raise _bad_json(name, 1, error) from error
    if isinstance(items, dict):
        inner = items.get("data", items.get("annotations"))
        if not isinstance(inner, list):
            raise InputError(f"{name}: holds {shown(inner)} where an array of rows should be")
        _refuse_more_rows(items, inner, name)
        rows = [row for row in numbered(inner, name) if row[1] is not None]
    elif isinstance(as_row(items), dict):
        rows = [(f"{name}:1", items)]
    else:
        lines = _item_lines(text)
        rows = [(f"{name}:{line}", item) for line, item in zip(lines, items, strict=True)]
        if len(set(lines)) < len(items):  # A line has several, so their numbers say more.
            rows = list(numbered(items, name))
    if _may_hold_halves(text):
        for place, item in rows:
            require_whole(json.dumps(item, ensure_ascii=False), place)
    return rows


def _refuse_more_rows(items: dict, rows: list, name: str) -> None:
    """Raise InputError if another array of the object has rows like those of the first one."""
    columns = {*rows[0]} if rows and isinstance(rows[0], dict) else None
    for key, other in items.items():
        has_rows = isinstance(other, list) and other and isinstance(other[0], dict)
        if has_rows and other is not rows and {*other[0]} == columns:
            raise InputError(
                f"{name}: one object with several arrays of rows, one of them under {key!r}; "
                "write each array into a file of its own"
            )


def numbered(items: Iterable[Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield a place ("train[3]") and the item."""
    return ((f"{name}[{number}]", item) for number, item in enumerate(items))


def _may_hold_halves(text: str) -> bool:
    """True if a text of JSON escapes halves of characters, which may lack their other halves."""
    return "\\ud" in text or "\\uD" in text


def json_row(item: Any, place: str) -> dict:
    """An item as a row of named columns.

    Raises:
        InputError: it is none.
    """
    row = as_row(item)
    if not isinstance(row, dict):
        raise InputError(
            f'{place}: holds {shown(row)}, not a row; write each row as an object: {{"text": '
            '"a b"} or {"tokens": ["a", "b"], "tags": ["O", "O"]}'
        )
    return row


def _item_lines(text: str) -> list[int]:
    """The line that each item of an array begins on."""
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*", re.A)
    lines, line, counted, at = [], 1, 0, text.index("[") + 1
    while text[at := blank.match(text, at).end()] != "]":
        line, counted = line + text.count("\n", counted, at), at
        lines.append(line)
        at = decoder.raw_decode(text, at)[1]
    return lines


def _bad_json(name: str, line: int, error: Exception) -> InputError:
    reason = "too deep" if isinstance(error, RecursionError) else first_line(error)
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg}, column {error.colno}"
    return InputError(
        f"{name}:{line}: not valid JSON ({reason}); "
        "write one object a line, or one array of objects"
    )
