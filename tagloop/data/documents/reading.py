"""Files to tag -> documents, one at a time; formatting.py writes them with their tags.

for document in read_documents(file, "in.conll", "conll"):
    document.content
"""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from tagloop.data.annotations.tools import named, text_of
from tagloop.data.lines import SNIFFED_LINES, is_blank, not_utf8
from tagloop.data.row import DOCUMENT_START, Reading
from tagloop.data.words.columns import layout_of
from tagloop.data.words.tags import numbers_sentences
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

SUFFIXES = {
    ".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".conll": "conll",
    ".iob": "conll", ".iob2": "conll", ".bio": "conll", ".conllu": "conllu", ".csv": "csv",
    ".tsv": "tsv",
}  # fmt: skip
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
TEXT_COLUMNS = ("tokens", "words", "text", "sentence")


class Entity(TypedDict):
    """A span of the text: `text[start:end]`, in characters.

    Its score is the mean probability of the tags of its words, as transformers.pipeline has it.
    """

    start: int
    end: int
    label: str
    text: str
    score: float


@dataclass(frozen=True)
class Tagged:
    """One text with its tags.

    Attributes:
        text: as it was given; of words without text: the words, joined by blanks.
        tokens, tags, scores: of every word; a score is the probability of the tag, 0 to 1.
        entities: in order; none for tags that mark no spans (parts of speech).
    """

    text: str
    tokens: list[str]
    tags: list[str]
    scores: list[float]
    entities: list[Entity]


@dataclass(frozen=True)
class Document:
    """A line of text, a row, or a sentence of a column file.

    Attributes:
        kind: the format it comes from.
        content: what is tagged: a text, words, or a text and its words.
        source: a row's keys and values, or the lines with what each is (WORD or a fixed tag).
        ending: of the line of a text.
    """

    kind: str
    content: str | list[str] | tuple[str, list[str]]
    source: dict[str, Any] | list[tuple[str, str | None]]
    ending: str = "\n"

    @property
    def size(self) -> int:
        """Roughly its characters, to bound how many are held at once."""
        if isinstance(self.content, str):
            return len(self.content)
        return 6 * len(self.content) if isinstance(self.content, list) else len(self.content[0])


WORD = "\0"


def guess_format(name: str, suffixes: Mapping[str, str] = SUFFIXES) -> str:
    """The format of a file, by the ending of its name.

    Raises:
        InputError: an ending that is not known.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in suffixes:
        raise InputError(
            f"{name}: unknown format {suffix!r}; known are {' '.join(suffixes)}, or say which it "
            "is: --input_format or --output_format; --help lists them"
        )
    return suffixes[suffix]


def read_documents(
    file: BinaryIO, name: str, kind: str, column: str | None = None
) -> Iterator[Document]:
    """Yield what a file holds, in order; never more of it in memory than one document.

    Args:
        name: of the file, for messages.
        kind: one of FORMATS.
        column: of the words or the text: a name, or for conll its index; None: as --predict_file
            finds it, in rows the first of TEXT_COLUMNS that is there.

    Raises:
        InputError: file:line of what cannot be read.
    """
    lines = _lines(file, name)
    if kind == "txt":
        for _, line in lines:
            text = line.rstrip("\r\n")
            yield Document(kind, text, {"text": text}, ending=line[len(text) :])
    elif kind in ("conll", "conllu"):
        yield from _read_columns(lines, name, column, kind)
    else:
        json_rows = kind == "jsonl"
        rows = _json_rows(lines, name) if json_rows else _csv_rows(lines, name, kind, column)
        for place, row in rows:
            yield Document(kind, _content(row, column, place), row)


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """(number, line with its end); split at LF alone, since U+2028 and the like are text."""
    offset = 0
    for number, raw in enumerate(file, start=1):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise not_utf8(Path(name), number, offset + error.start, byte) from error
        offset += len(raw)
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _read_columns(
    lines: Iterator[tuple[int, str]], name: str, column: str | None, kind: str
) -> Iterator[Document]:
    head = list(itertools.islice(lines, SNIFFED_LINES))
    reading = Reading(task="ner", text_column=column)
    sniffed = [line.rstrip("\r\n") for _, line in head]
    layout = layout_of(sniffed, Path(name), reading, tagged=False, conllu=kind == "conllu")
    words: list[str] = []
    source: list[tuple[str, str | None]] = []
    for number, line in itertools.chain(head, lines):
        bare = line.rstrip("\r\n")
        is_start = kind == "conll" and bare.startswith(DOCUMENT_START)
        if is_blank(bare) or is_start:
            source.append((line, "O" if is_start else None))
            if words:
                yield Document(kind, words, source)
                words, source = [], []
            continue
        columns = layout and layout.columns_of(bare, f"{name}:{number}", in_sentence=bool(words))
        if columns:
            words.append(columns[layout.text])
        source.append((line, WORD if columns else None))
    if source:
        yield Document(kind, words, source)


def _json_rows(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[str, dict]]:
    for place, item in _json_items(lines, name):
        row = named(item)
        if not isinstance(row, dict):
            raise InputError(
                f'{place}: holds {shown(row)}, not a row; write {{"text": "..."}} or '
                '{"tokens": ["...", "..."]}'
            )
        yield place, row


def _json_items(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[str, Any]]:
    """What stands on each line, or in one array; that is read whole."""
    written = ((number, line) for number, line in lines if not is_blank(line.rstrip("\r\n")))
    is_first = True
    for number, line in written:
        place = f"{name}:{number}"
        if is_first and line.lstrip().startswith("[") and not _is_pair(line):
            items = _parsed(line + "".join(line for _, line in written), place)
            yield from ((f"{name}[{number}]", item) for number, item in enumerate(items))
        else:
            yield place, _parsed(line, place)
        is_first = False


def _is_pair(line: str) -> bool:
    """Whether a line is a list by itself, as of spaCy's training data."""
    try:
        return isinstance(named(json.loads(line)), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise InputError(
            f"{place}: not valid JSON ({reason}); write one object a line, or one array of objects"
        ) from None


def _csv_rows(
    lines: Iterable[tuple[int, str]], name: str, kind: str, column: str | None
) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if kind == "tsv" else ","
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        place = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{place}: not readable as CSV ({error}); check quotes") from None
        if cells is None:
            return
        if header is None:
            header = cells
            if twice := [key for key, times in Counter(header).items() if times > 1]:
                raise InputError(f"{place}: two columns are named {twice[0]!r}; rename one")
            _refuse_one_word_a_row(header, column, name)
        elif cells:
            if len(cells) != len(header):
                raise InputError(
                    f"{place}: {count(len(cells), 'cell')}, but the header has {len(header)} "
                    f"({', '.join(header)}); quote cells that hold the delimiter {delimiter!r}"
                )
            row: dict[str, Any] = dict(zip(header, cells, strict=True))
            for words in ("tokens", "words"):
                if words in row:
                    row[words] = _listed(row[words])
            yield place, row


def _refuse_one_word_a_row(header: list[str], column: str | None, name: str) -> None:
    words = next((key for key in header if key.casefold() in ("word", "token")), None)
    number = next(filter(numbers_sentences, header), None)
    if words and number and column in (None, words) and not {"tokens", "words", "text"} & {*header}:
        raise InputError(
            f"{name}: one word a row (column {words!r}, sentences told by {number!r}), where each "
            "row would be tagged by itself; write one word a line, a blank line after each "
            "sentence (.conll), or give the file to train_loop.py as --predict_file"
        )


def _listed(cell: str) -> list:
    try:
        items = json.loads(cell) if cell.startswith("[") else None
    except ValueError:
        items = None
    return items if isinstance(items, list) else [word for word in cell.split(" ") if word]


def _content(row: dict, column: str | None, place: str) -> str | list[str] | tuple[str, list[str]]:
    """What is tagged of a row: its words if it has them, else its text."""
    names = [key for key in ((column,) if column else TEXT_COLUMNS) if key in row]
    if not names and isinstance(row.get("data"), dict):  # a task of Label Studio
        return text_of(place, row, column)
    name = next((key for key in names if _is_words(row[key])), None)
    name = name or next((key for key in names if key != "tokens"), next(iter(names), None))
    if name is None:
        raise InputError(
            f"{place}: no {column or ' or '.join(TEXT_COLUMNS)}; its columns are "
            f"{', '.join(row) or 'none'}; name one with --text_column_name"
        )
    value, text = row[name], row.get("text")
    is_words = _is_words(value)
    if not is_words and (not isinstance(value, str) or name == "tokens"):
        raise InputError(
            f"{place}: {name} holds {shown(value)}, neither a text nor a list of words"
        )
    require_whole("".join([*value, text if isinstance(text, str) else ""]), place)
    return (text, value) if is_words and isinstance(text, str) else value


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
