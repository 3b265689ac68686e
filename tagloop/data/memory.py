"""Rows that a Python program holds in memory -> a file, which a run reads like any other file.

The name of the file follows from its content. So a later call with the same rows finds the file,
a resumed run reads the same data, and `report` and `export` can read the data of a run again.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets

from tagloop.data.storage.store import build_once, content_digest
from tagloop.errors import InputError
from tagloop.wording import shown

RowsInMemory = datasets.Dataset | Sequence[Mapping[str, Any]]


def file_of_rows(rows: RowsInMemory, split: str) -> Path:
    """The file of rows in the cache of prepared data; the first call writes it.

    A datasets.Dataset becomes a parquet file, which keeps the names of its ClassLabels. A sequence
    of dicts becomes JSON lines, so its rows may be in every shape that a JSON file may have.

    Args:
        split: the name of the split, for messages and for the name of the file.

    Raises:
        InputError: the rows are neither, no row is there, a value has no form in JSON, or the
            cache cannot be written.
    """
    name = f"{split}_data"
    if isinstance(rows, datasets.Dataset):
        digest, write = content_digest(rows), rows.to_parquet
        file_name = f"{split}.parquet"
    elif isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        content = "".join(_line(row, f"{name}[{number}]") for number, row in enumerate(rows))
        digest = hashlib.sha256(content.encode()).hexdigest()
        file_name = f"{split}.jsonl"

        def write(path: Path) -> None:
            path.write_text(content, encoding="utf-8")
    else:
        remedy = "give a datasets.Dataset or a list of dicts"
        if isinstance(rows, Mapping):
            remedy = f"give one split: {name}=data[{next(iter(rows), split)!r}]"
        raise InputError(f"{name}: a {type(rows).__name__} is no list of rows; {remedy}")
    if not len(rows):
        raise InputError(f"{name}: holds no rows; give some, or leave it out")
    key = {"file": file_name, "rows": digest}
    return build_once("rows", key, lambda folder: write(folder / file_name)) / file_name


def name_rows(message: str, files: Mapping[str, Path]) -> str:
    """A message about the files of rows, with the places that the caller knows.

    Args:
        files: what file_of_rows returned, by split.

    >>> name_rows("/cache/train.jsonl:2: no tags", {"train": Path("/cache/train.jsonl")})
    'train_data[1]: no tags'
    """
    for split, file in files.items():
        name = f"{split}_data"
        row = partial(_row_of_line, name=name)
        message = re.sub(rf"{re.escape(str(file))}:(\d+)", row, message).replace(str(file), name)
    return message


def _row_of_line(match: re.Match[str], name: str) -> str:
    """The row that the first group of a match names as a line of a file."""
    return f"{name}[{int(match[1]) - 1}]"


def _line(row: Any, place: str) -> str:
    """A row as a line of JSON. Raises InputError."""
    if not isinstance(row, Mapping):
        raise InputError(f"{place}: {shown(row)} is no row; a row is a dict of its columns")
    try:
        return json.dumps(dict(row), default=_plain) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {error}; give texts, numbers and lists of them") from None


def _plain(value: Any) -> Any:
    """An array, or a number of an array, as Python has it. Raises TypeError for another value."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{shown(value)} has no form in JSON")
