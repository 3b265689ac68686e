"""Rows with named columns: JSON, CSV, parquet, datasets."""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tagloop.data.lines import count, is_blank, not_utf8, read_lines, shown
from tagloop.data.tags import DOCUMENT_START, Reading, Row, Tagger
from tagloop.errors import InputError

BATCH = 1000  # rows
CHUNK = 1 << 20  # bytes


def read_dataset(
    dataset: datasets.Dataset, split: str, reading: Reading, tagged: bool
) -> Iterator[Row]:
    """Yield the rows of a dataset; places are `split[row]`."""

    def batches(chosen: list[str]) -> Iterator[list[dict]]:
        arrow = dataset.select_columns(chosen).with_format("arrow")
        return (table.to_pylist() for table in arrow.iter(BATCH))

    yield from _read_batches(dataset.features, batches, split, reading, tagged)


def read_parquet(path: Path, reading: Reading, tagged: bool) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            features = datasets.Features.from_arrow_schema(file.schema_arrow)

            def batches(chosen: list[str]) -> Iterator[list[dict]]:
                return (b.to_pylist() for b in file.iter_batches(BATCH, columns=chosen))

            yield from _read_batches(features, batches, str(path), reading, tagged)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error})") from error


def _read_batches(
    features: datasets.Features,
    batches: Callable[[list[str]], Iterator[list[dict]]],
    where: str,
    reading: Reading,
    tagged: bool,
) -> Iterator[Row]:
    text, label = find_columns(list(features), reading, tagged, where)
    chosen = [text] if label is None else [text, label]
    numbered = enumerate(row for batch in batches(chosen) for row in batch)
    rows = ((f"{where}[{number}]", row) for number, row in numbered)
    names = _class_names(features[label]) if label else None
    yield from tabulate(list(features), rows, reading, names, tagged, where)


def read_dicts(rows: Iterable[dict], split: str, reading: Reading) -> Iterator[Row]:
    """Yield the rows of a list of dicts (the sample corpus)."""
    placed = ((f"{split}[{number}]", row) for number, row in enumerate(rows))
    yield from tabulate(None, placed, reading, None, True, split)


def _class_names(feature: Any) -> list[str] | None:
    """Return the names of integers in a list of ClassLabel, however the list is written."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return inner.names if isinstance(inner, datasets.ClassLabel) else None


def find_columns(
    columns: list[str], reading: Reading, tagged: bool, where: str
) -> tuple[str, str | None]:
    """Return the text and the tag column: as given, else by the usual names, else first and second.

    Names and order as in transformers' run_ner_no_trainer.py, and a few more names before the
    order decides. Untagged data never takes a column by its position: it might be anything.
    """
    task, there = reading.task, f"the columns there: {', '.join(columns) or 'none'}"
    if not columns:
        raise InputError(f"{where}: no columns; name them, for example tokens and {task}_tags")
    for option, chosen in (
        ("--text_column_name", reading.text_column),
        ("--label_column_name", reading.label_column if tagged else None),
    ):
        if chosen is not None and chosen not in columns:
            raise InputError(f"{where}: no column {chosen!r} ({option}); {there}")
    text = reading.text_column or next((n for n in ("tokens", "words") if n in columns), columns[0])
    usual = [f"{task}_tags", task] + ["upos"] * (task == "pos")
    if reading.label_column:
        usual = [reading.label_column]
    elif reading.found_label and not tagged:
        usual = [reading.found_label]
    label = next((name for name in usual if name in columns and name != text), None)
    if label is None and tagged:
        label = columns[1] if len(columns) > 1 else text
        if label == text:
            raise InputError(
                f"{where}: no column with tags for the task {task}; {there}; "
                "give --label_column_name, or pass untagged text as --predict_file"
            )
    if tagged:
        reading.found_label = label
    return text, label


def tabulate(
    columns: list[str] | None,
    rows: Iterable[tuple[str, dict]],
    reading: Reading,
    names: list[str] | None,
    tagged: bool,
    where: str,
) -> Iterator[Row]:
    """Check rows of named columns. `columns=None`: take them from the first row."""
    tagger, document = Tagger(reading, names, tagged), -1
    text = label = None
    for place, row in rows:
        if text is None:
            where = where if columns else place
            text, label = find_columns(columns or list(row), reading, tagged, where)
        for name in (text, label if tagged else text):
            if name not in row:
                there = ", ".join(row) or "none"
                raise InputError(f"{place}: no column {name!r}; the columns there: {there}")
        tokens = _listed(row[text], place, text, is_text=True)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise InputError(
                f"{place}: column {text!r} holds {shown(row[text])}, not a list of strings; "
                f"split the text into words, or give --text_column_name ({', '.join(row)})"
            )
        if tokens == [DOCUMENT_START]:
            document += 1
            continue
        tags = _listed(row.get(label), place, label, is_text=False)
        tags = [None] * len(tokens) if tags is None else tags
        if not isinstance(tags, list):
            raise InputError(
                f"{place}: column {label!r} holds {shown(tags)}, not a list of tags; "
                f"give --label_column_name ({', '.join(row)})"
            )
        if len(tokens) != len(tags):
            raise InputError(
                f"{place}: {count(len(tokens), 'token')} but {count(len(tags), 'tag')}; "
                "write one tag for every token"
            )
        _check_unicode(tokens, tags, place)
        document = max(document, 0)
        yield Row(tokens, [tagger(tag, place) for tag in tags], document, place)


def _check_unicode(tokens: list[str], tags: list, place: str) -> None:
    try:
        "".join([*tokens, *map(str, tags)]).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: half a character ({error}); repair the \\u escape") from error


def _listed(cell: Any, place: str, column: str | None, is_text: bool) -> Any:
    """Return the list that a CSV cell holds; leave anything else as it is."""
    if not isinstance(cell, _Cell):
        return cell
    if cell.startswith("["):
        try:
            items = json.loads(cell)
        except ValueError as error:
            if cell[1:2] in ('"', "'"):
                raise InputError(
                    f"{place}: column {column!r} is not a JSON list ({error}); write lists by "
                    "json.dumps, or words separated by single spaces"
                ) from error
        else:
            if isinstance(items, list) and (
                not is_text or not items or any(isinstance(item, str) for item in items)
            ):
                return items
    return [item for item in cell.split(" ") if item]


class _Cell(str):
    """The text of a CSV cell, which may stand for a list."""


def csv_rows(path: Path) -> tuple[list[str], Iterator[tuple[str, dict]]]:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(
        (line + "\n" for _, line in read_lines(path)), delimiter=delimiter, strict=True
    )

    def cells() -> Iterator[tuple[str, list[str]]]:
        while True:
            place = f"{path}:{reader.line_num + 1}"
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{place}: not readable as CSV ({error}); check quotes") from error
            if row:
                yield place, row

    places = cells()
    _, header = next(places, ("", []))

    def rows() -> Iterator[tuple[str, dict]]:
        for place, row in places:
            if len(row) != len(header):
                raise InputError(
                    f"{place}: {count(len(row), 'cell')}, but the header has {len(header)} "
                    f"({', '.join(header)}); quote cells that hold the delimiter {delimiter!r}"
                )
            yield place, dict(zip(header, map(_Cell, row), strict=True))

    return header, rows()


def json_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield the rows of JSON lines, of one array, or of the array under "data"."""
    with path.open("rb") as file:
        head = file.read(4096).decode("utf-8-sig", errors="replace")
    array = re.match(r'\s*(\{(\s*"version"\s*:[^,\[\]{}]*,)?\s*"data"\s*:\s*)?\[', head, re.ASCII)
    for number, row in _json_array(path, array.end()) if array else _json_lines(path):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}:{number}: holds {shown(row)}, not a row; write each row as an object, "
                'for example {"tokens": ["a", "b"], "ner_tags": ["O", "O"]}'
            )
        yield f"{path}:{number}", row


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in read_lines(path):
        if not is_blank(line):
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise _bad_json(path, number, error) from error


def _json_array(path: Path, start: int) -> Iterator[tuple[int, Any]]:
    """Decode the items of an array whose "[" ends at character `start`, a megabyte at a time."""
    decode = json.JSONDecoder().raw_decode
    text, line, wanted, position = "", 1, start, start
    for chunk, is_last in _chunks(path):
        text += chunk
        if len(text) < wanted and not is_last:
            continue
        line += text.count("\n", 0, position)
        while True:
            begin = re.compile(r"[ \t\r\n,]*").match(text, position).end()
            line += text.count("\n", position, begin)
            position = begin
            if text.startswith("]", position):
                return
            try:
                item, end = decode(text, position)
            except json.JSONDecodeError as error:
                if is_last:
                    line += text.count("\n", position, error.pos)
                    raise _bad_json(path, line, error) from error
                break
            yield line, item
            line, position = line + text.count("\n", position, end), end
        text = text[position:]
        wanted, position = 2 * len(text), 0  # a huge row: try again with twice as much


def _chunks(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (text, whether it is the last) of a UTF-8 file, BOM removed."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        offset = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        file.seek(offset)
        while True:
            chunk = file.read(CHUNK)
            offset += len(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                offset += error.start - len(error.object)
                raise not_utf8(path, line, offset, error.object[error.start]) from error
            yield text, not chunk
            if not chunk:
                return
            line += text.count("\n")


def _bad_json(path: Path, line: int, error: json.JSONDecodeError) -> InputError:
    return InputError(
        f"{path}:{line}: not valid JSON ({error.msg}, column {error.colno}); "
        "write one object a line, or one array of objects"
    )


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read on demand."""

    columns: list[str]
    features: dict
    rows: Callable[[], Iterator[tuple[str, dict]]]

    def class_names(self, column: str) -> list[str] | None:
        """Names of the integers of a ClassLabel column."""
        feature = self.features.get(column)
        return feature.names if isinstance(feature, datasets.ClassLabel) else None


def open_table(source: Path | datasets.Dataset | list[dict], where: str) -> Table:
    """The rows of a file, a dataset or a list of dicts, each with its place."""
    if isinstance(source, list):
        return Table(
            list(source[0]), {}, lambda: ((f"{where}[{n}]", r) for n, r in enumerate(source))
        )
    if isinstance(source, datasets.Dataset):
        return Table(
            source.column_names,
            source.features,
            lambda: ((f"{where}[{n}]", r) for n, r in enumerate(source)),
        )
    if source.suffix in (".csv", ".tsv"):
        columns, _ = csv_rows(source)
        return Table(columns, {}, lambda: csv_rows(source)[1])
    if source.suffix == ".parquet":
        return open_table(datasets.Dataset.from_parquet(str(source)), str(source))
    _, first = next(json_rows(source))
    return Table(list(first), {}, lambda: json_rows(source))
