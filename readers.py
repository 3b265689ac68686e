"""Files and datasets -> rows of words and tags, one at a time, with the place of every error.

`read_file` and `read_dataset` yield a `Row` per sentence: tags as the source has them (strings, in
the source's own scheme), None where a word has no gold tag. Text is only ever split at the bytes
that the format names: U+0085, U+2028 and a no-break space are parts of real tokens.
"""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from errors import InputError

IGNORED = -100
DOCUMENT_START = "-DOCSTART-"
CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos"]
CONLLU_COLUMNS += ["feats", "head", "deprel", "deps", "misc"]
SUFFIXES = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "csv"}
SUFFIXES |= {".parquet": "parquet", ".conllu": "conllu"}
# Only for these is a file with ragged lines still a column file; any other name must look like one.
COLUMN_SUFFIXES = {".conll", ".txt", ".iob", ".iob2", ".bio", ".train", ".testa", ".testb", ".dev"}
KNOWN = ".json .jsonl .ndjson .csv .tsv .parquet .conllu, or CoNLL columns (.conll .txt .iob .bio)"
SNIFFED_LINES = 1000
BATCH = 1000  # rows
CHUNK = 1 << 20  # bytes


class Row(NamedTuple):
    tokens: list[str]
    tags: list[str | None]
    document: int
    place: str  # "train.conll:17" (the first word's line) or "train[3]"


@dataclass
class Reading:
    """How to read: the user's choices, and what was found in earlier splits."""

    task: str  # ner, pos or chunk
    text_column: str | None = None
    label_column: str | None = None
    names: list[str] | None = None  # of integer tags, from --labels_file
    found_label: str | None = field(default=None, init=False)
    found_width: int | None = field(default=None, init=False)


class Tagger:
    """Turns what a source holds as a tag into a string or None."""

    def __init__(self, reading: Reading, names: list[str] | None, tagged: bool):
        self.task, self.names, self.tagged = reading.task, reading.names or names, tagged
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
                return tag
            if not self.tagged:
                return None
            raise InputError(f"{place}: the tag is empty; write a tag for every word")
        if not isinstance(tag, int) or isinstance(tag, bool):
            raise InputError(f"{place}: the tag {tag!r} is neither a string nor an integer")
        if tag == IGNORED:
            return None
        if self.names is not None:
            if 0 <= tag < len(self.names):
                return self.names[tag]
            raise InputError(
                f"{place}: the tag {tag}, but there are only {len(self.names)} names "
                f"(0 to {len(self.names) - 1}); complete --labels_file, or write {IGNORED} for none"
            )
        if self.task != "pos":
            raise InputError(
                f"{place}: the integer tag {tag} has no name, and {self.task} needs names to find "
                "spans; give --labels_file with one name a line, the first line naming 0"
            )
        if tag < 0:
            raise InputError(f"{place}: the tag {tag}; only {IGNORED} may stand for no gold tag")
        return str(tag)


def read_file(path: Path, reading: Reading, tagged: bool) -> Iterator[Row]:
    """Yield the rows of a file. `tagged=False` (predict): the tag column may be missing."""
    kind = detect_format(path)
    if kind == "json":
        yield from _tabulate(None, _json_rows(path), reading, None, tagged, str(path))
    elif kind == "csv":
        columns, rows = _csv_rows(path)
        yield from _tabulate(columns, rows, reading, None, tagged, str(path))
    elif kind == "parquet":
        yield from _read_parquet(path, reading, tagged)
    else:
        yield from _read_columns(path, reading, tagged, conllu=kind == "conllu")


def detect_format(path: Path) -> str:
    """Return json, csv, parquet, conllu or columns, from the extension and the first lines."""
    suffix = path.suffix.lower()
    kind = SUFFIXES.get(suffix)
    if kind and suffix != ".tsv":
        return kind
    unknown = InputError(f"{path}: unknown format {suffix!r}; known are {KNOWN}")
    try:
        lines = [line for _, line in islice(_lines(path), SNIFFED_LINES)]
    except InputError:
        if kind or suffix in COLUMN_SUFFIXES:
            raise
        raise unknown from None
    words = [line for line in lines if not _is_blank(line) and not line.startswith("#")]
    if suffix == ".tsv":  # sentences of columns are separated by blank lines, rows of lists are not
        return "columns" if any(map(_is_blank, lines[:-1])) else "csv"
    if words and re.match(r"(1|1-[0-9]+|0\.1)\t", words[0]) and words[0].count("\t") == 9:
        return "conllu"
    if suffix not in COLUMN_SUFFIXES:
        words = [line for line in words if not line.startswith(DOCUMENT_START)]
        tab = _separator(words)
        widths = Counter(len(_split(line, tab)) for line in words)
        width, lines_of_width = max(widths.items(), key=itemgetter(1), default=(1, 0))
        if width == 1 or lines_of_width < 0.9 * len(words):
            raise unknown
    return "columns"


def read_names(path: Path) -> list[str]:
    """Return the names of integer tags: the first line names 0."""
    lines = [(number, line.strip(" \t")) for number, line in _lines(path)]
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


# --- bytes -> lines ---


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a UTF-8 file, ends of line (LF or CRLF) and BOM removed."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):  # bytes split at b"\n" only
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, offset + error.start, raw[error.start]) from error
            offset += len(raw)
            line = line.removeprefix("\ufeff") if number == 1 else line
            yield number, line.removesuffix("\n").removesuffix("\r")


def _not_utf8(path: Path, line: int, offset: int, byte: int) -> InputError:
    return InputError(
        f"{path}:{line}: not UTF-8: byte 0x{byte:02x} at offset {offset}; "
        "convert the file, for example: iconv -f latin1 -t utf-8"
    )


def _is_blank(line: str) -> bool:
    return not line.strip(" \t")


# --- CoNLL columns and CoNLL-U ---


def _separator(words: list[str]) -> bool:
    """Return whether tabs separate the columns: at least half of the lines have one."""
    return 2 * sum("\t" in line for line in words) >= len(words)


def _split(line: str, tab: bool) -> list[str]:
    return line.split("\t") if tab else [part for part in line.split(" ") if part]


def _is_comment(line: str, columns: list[str], width: int, in_sentence: bool) -> bool:
    """Tell a comment from a token that starts with "#": a token has as many columns as the rest."""
    if columns[0] == "#" and columns[2:3] == ["="]:  # "# sent_id = 7", in a file split at spaces
        return True
    return len(columns) != width and (line.startswith("# ") or not in_sentence)


def _read_columns(path: Path, reading: Reading, tagged: bool, conllu: bool) -> Iterator[Row]:
    head = [line for _, line in islice(_lines(path), SNIFFED_LINES) if not _is_blank(line)]
    head = [line for line in head if not line.startswith(DOCUMENT_START)]
    sure = [line for line in head if not line.startswith("#")] or head
    tab = conllu or _separator(sure)
    width = 10 if conllu else len(_split(sure[0], tab)) if sure else 0
    if not width:
        return
    chosen = reading.text_column
    if not tagged and chosen and not _is_index(chosen):
        chosen = None  # the name of a column in the tagged splits, which have another format
    text = _column(path, chosen, 1 if conllu else 0, width, conllu, "text")
    label = _label_column(path, reading, width, tagged, conllu)
    tagger = Tagger(reading, None, tagged)
    tokens, tags, start, document = [], [], 0, -1

    for number, line in _lines(path):
        place = f"{path}:{number}"
        boundary = line.startswith("# newdoc") if conllu else line.startswith(DOCUMENT_START)
        if boundary or _is_blank(line):
            if tokens:
                document = max(document, 0)
                yield Row(tokens, tags, document, f"{path}:{start}")
                tokens, tags = [], []
            document += boundary
            continue
        columns = _split(line, tab)
        if line.startswith("#") and (
            conllu or _is_comment(line, columns, width, in_sentence=bool(tokens))
        ):
            continue
        if len(columns) != width:
            remedy = "separate columns by one tab or by spaces"
            if not tagged and width == 1:
                remedy = "write one word a line, a blank line after each sentence"
            expected = "CoNLL-U has 10" if conllu else f"the lines before have {width}"
            raise InputError(f"{place}: {_count(len(columns), 'column')}, but {expected}; {remedy}")
        if conllu and not columns[0].isdecimal():
            if re.fullmatch(r"[0-9]+[-.][0-9]+", columns[0]):
                continue  # a range stands for the words that follow it; an empty node is not text
            raise InputError(f"{place}: {columns[0]!r} is no word number; count words 1, 2, 3")
        tag = None if label is None else columns[label].strip(" ")
        tokens.append(columns[text])
        tags.append(None if conllu and tag == "_" else tagger(tag, place))
        start = start if len(tokens) > 1 else number
    if tokens:
        yield Row(tokens, tags, max(document, 0), f"{path}:{start}")


def _column(
    path: Path, chosen: str | None, default: int, width: int, conllu: bool, what: str
) -> int:
    """Return the index of the chosen column: a number, or in CoNLL-U also a name."""
    if chosen is None:
        return default
    if conllu and chosen.lower() in CONLLU_COLUMNS:
        return CONLLU_COLUMNS.index(chosen.lower())
    there = f"its columns are 0 to {width - 1}"
    if conllu:
        there += f" ({', '.join(CONLLU_COLUMNS)})"
    if not _is_index(chosen) or not -width <= int(chosen) < width:
        raise InputError(f"{path}: no column {chosen!r}; {there}; give --{what}_column_name as one")
    return int(chosen) % width


def _is_index(chosen: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", chosen) is not None


def _label_column(
    path: Path, reading: Reading, width: int, tagged: bool, conllu: bool
) -> int | None:
    """Return the index of the tag column, None if there is none and none is needed."""
    task, chosen, remedy = reading.task, reading.label_column, "give --label_column_name"
    if not tagged and (width == 1 or width != (reading.found_width or width)):
        return None  # not the columns that the tagged splits have
    if not tagged and chosen and not conllu and not _is_index(chosen):
        return None
    if tagged:
        reading.found_width = width
    if conllu and chosen is None and task != "pos":
        if not tagged:
            return None
        names = ", ".join(CONLLU_COLUMNS)
        raise InputError(f"{path}: CoNLL-U has no column for the task {task}; {remedy} ({names})")
    default = CONLLU_COLUMNS.index("upos") if conllu else width - 1
    if not conllu and chosen is None:
        if width == 1:
            raise InputError(
                f"{path}: one column only, no tags for the task {task}; "
                "write word and tag, or pass untagged text as --predict_file"
            )
        if task != "ner" and width in (3, 4):  # CoNLL-2000 and CoNLL-2003
            default = 1 if task == "pos" else 2
        elif task != "ner" and width > 4:
            last = width - 1
            raise InputError(
                f"{path}: {width} columns, which holds {task}? {remedy} as a number, 0 to {last}"
            )
    return _column(path, chosen, default, width, conllu, "label")


# --- rows with named columns: JSON, CSV, parquet, datasets ---


def read_dataset(
    dataset: datasets.Dataset, split: str, reading: Reading, tagged: bool
) -> Iterator[Row]:
    """Yield the rows of a dataset; places are `split[row]`."""

    def batches(chosen: list[str]) -> Iterator[list[dict]]:
        arrow = dataset.select_columns(chosen).with_format("arrow")
        return (table.to_pylist() for table in arrow.iter(BATCH))

    yield from _read_batches(dataset.features, batches, split, reading, tagged)


def _read_parquet(path: Path, reading: Reading, tagged: bool) -> Iterator[Row]:
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
    text, label = _find_columns(list(features), reading, tagged, where)
    chosen = [text] if label is None else [text, label]
    numbered = enumerate(row for batch in batches(chosen) for row in batch)
    rows = ((f"{where}[{number}]", row) for number, row in numbered)
    names = _class_names(features[label]) if label else None
    yield from _tabulate(list(features), rows, reading, names, tagged, where)


def read_dicts(rows: Iterable[dict], split: str, reading: Reading) -> Iterator[Row]:
    """Yield the rows of a list of dicts (the sample corpus)."""
    placed = ((f"{split}[{number}]", row) for number, row in enumerate(rows))
    yield from _tabulate(None, placed, reading, None, True, split)


def _class_names(feature: Any) -> list[str] | None:
    """Return the names of integers in a list of ClassLabel, however the list is written."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return inner.names if isinstance(inner, datasets.ClassLabel) else None


def _find_columns(
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


def _tabulate(
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
            text, label = _find_columns(columns or list(row), reading, tagged, where)
        for name in (text, label if tagged else text):
            if name not in row:
                there = ", ".join(row) or "none"
                raise InputError(f"{place}: no column {name!r}; the columns there: {there}")
        tokens = _listed(row[text], place, text, is_text=True)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise InputError(
                f"{place}: column {text!r} holds {_shown(row[text])}, not a list of strings; "
                f"split the text into words, or give --text_column_name ({', '.join(row)})"
            )
        if tokens == [DOCUMENT_START]:
            document += 1
            continue
        tags = _listed(row.get(label), place, label, is_text=False)
        tags = [None] * len(tokens) if tags is None else tags
        if not isinstance(tags, list):
            raise InputError(
                f"{place}: column {label!r} holds {_shown(tags)}, not a list of tags; "
                f"give --label_column_name ({', '.join(row)})"
            )
        if len(tokens) != len(tags):
            raise InputError(
                f"{place}: {_count(len(tokens), 'token')} but {_count(len(tags), 'tag')}; "
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


def _csv_rows(path: Path) -> tuple[list[str], Iterator[tuple[str, dict]]]:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader((line + "\n" for _, line in _lines(path)), delimiter=delimiter, strict=True)

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
                    f"{place}: {_count(len(row), 'cell')}, but the header has {len(header)} "
                    f"({', '.join(header)}); quote cells that hold the delimiter {delimiter!r}"
                )
            yield place, dict(zip(header, map(_Cell, row), strict=True))

    return header, rows()


def _json_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield the rows of JSON lines, of one array, or of the array under "data"."""
    with path.open("rb") as file:
        head = file.read(4096).decode("utf-8-sig", errors="replace")
    array = re.match(r'\s*(\{(\s*"version"\s*:[^,\[\]{}]*,)?\s*"data"\s*:\s*)?\[', head, re.ASCII)
    for number, row in _json_array(path, array.end()) if array else _json_lines(path):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}:{number}: holds {_shown(row)}, not a row; write each row as an object, "
                'for example {"tokens": ["a", "b"], "ner_tags": ["O", "O"]}'
            )
        yield f"{path}:{number}", row


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(path):
        if not _is_blank(line):
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
                raise _not_utf8(path, line, offset, error.object[error.start]) from error
            yield text, not chunk
            if not chunk:
                return
            line += text.count("\n")


def _bad_json(path: Path, line: int, error: json.JSONDecodeError) -> InputError:
    return InputError(
        f"{path}:{line}: not valid JSON ({error.msg}, column {error.colno}); "
        "write one object a line, or one array of objects"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
