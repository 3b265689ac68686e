"""Files to predict for -> documents, one at a time; writing.py writes them with the predictions.

for document in read_documents(file, "in.conll", "conll"):
    document.content
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from tagloop.data.annotations.tools import marked_text
from tagloop.data.csv_rows import parse_csv, parse_list, uses_quotes
from tagloop.data.encodings import SNIFFED_BYTES
from tagloop.data.formats import NAMED, is_conllu
from tagloop.data.json_rows import json_row, parse_json
from tagloop.data.lines import SNIFFED_LINES, Lines, decode_lines, is_blank, is_cr_only
from tagloop.data.row import DOCUMENT_MARK, DOCUMENT_START
from tagloop.data.words.column_layout import layout_of_words
from tagloop.data.words.ids import is_one_word
from tagloop.data.words.tags import numbers_sentences
from tagloop.errors import InputError
from tagloop.wording import require_whole, shown

TEXT_COLUMNS = ("tokens", "words", "text", "sentence", "tokenized_text")
_ONE_WORD_A_ROW = (
    "{}: one word a row (column {!r}, {}), where each row would be tagged by itself; write one "
    "word a line, a blank line after each sentence (.conll), or give the file to a run as "
    "--predict_file"
)
WORD = "\0"  # marks a line of a column file that is a word
# The part of a row that a model gets: a text, words, a text and its words, or a pair of texts.
Content = str | list[str] | tuple[str, list[str]] | tuple[str, str]
# Takes a row, the column that the user named (or None) and the place of the row for messages.
ContentReader = Callable[[dict[str, Any], str | None, str], Content]


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
        spans: the words of every entity: the first one, and the end, which is exclusive.
    """

    text: str
    tokens: list[str]
    tags: list[str]
    scores: list[float]
    entities: list[Entity]
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class NamedValues:
    """The prediction for one document if it is no tags of words.

    Attributes:
        values: what a row gains, by name. The first value alone is the line of a text file; it is
            None if its score is too low for the user. `score` is the probability of the answer.
        more: what a row gains with --scores.
        marks: characters (start, end) of the document's last text that a page marks.
    """

    values: dict[str, Any]
    more: dict[str, Any]
    marks: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """A line of text, a row, or a sentence of a column file.

    Attributes:
        kind: the format it comes from.
        content: the part that the model gets.
        source: a row's keys and values, or the lines with what each is (WORD or a fixed tag).
        document: the number of the document as -DOCSTART- or # newdoc mark it; None: nothing does.
        ending: of the line of a text.
        delimiter: of the cells of a CSV.
        quotes: as in `CsvTable`.
    """

    kind: str
    content: Content
    source: dict[str, Any] | list[tuple[str, str | None]]
    document: int | None = None
    ending: str = "\n"
    delimiter: str = ","
    quotes: bool = True

    @property
    def size(self) -> int:
        """About the number of its characters, by which the documents held in memory are limited."""
        if isinstance(self.content, str):
            return len(self.content)
        if isinstance(self.content, list):
            return 6 * len(self.content)
        return sum(map(len, self.content))


def read_documents(
    file: BinaryIO,
    name: str,
    kind: str,
    column: str | None = None,
    content_of: ContentReader | None = None,
) -> Iterator[Document]:
    """Yield the documents of a file in order, with one of them in memory at a time.

    A line or a row -DOCSTART-, or a line # newdoc of CoNLL-U, begins a document.

    Args:
        name: of the file, for messages.
        kind: one of formats.INPUT_FORMATS.
        column: of the words or the text: a name, or for conll its index; None: as --predict_file
            finds it, in rows the first of TEXT_COLUMNS that is there.
        content_of: reads the content of a row; None: `content_to_tag`.

    Raises:
        InputError: file:line of what cannot be read.
    """
    holds, quotes = NAMED[kind].holds, True
    if kind in ("csv", "tsv") and file.seekable():
        begin = file.tell()
        quotes = uses_quotes(_lines_of(file, name), tabs=kind == "tsv")
        file.seek(begin)
    lines = _lines_of(file, name)
    if holds == "texts":
        for _, line in lines:
            text = line.rstrip("\r\n")
            yield Document(kind, text, {"text": text}, ending=line[len(text) :])
    elif holds == "columns":
        yield from _read_columns(lines, name, column, kind)
    elif kind == "jsonl":
        rows = ((place, json_row(item, place)) for place, item in parse_json(lines, name))
        if content_of is None:
            rows = _refuse_single_words(rows, column, name)
        read = content_of or content_to_tag
        yield from _numbered(Document(kind, read(row, column, place), row) for place, row in rows)
    else:
        yield from _numbered(_read_csv(lines, name, column, kind, quotes, content_of))


def _numbered(documents: Iterator[Document]) -> Iterator[Document]:
    """Rows with the numbers of their documents, if rows with the word -DOCSTART- begin these."""
    number = None
    for document in documents:
        if document.content == [DOCUMENT_START]:
            number = (number or 0) + 1
        yield document if number is None else replace(document, document=number)


def _lines_of(file: BinaryIO, name: str) -> Lines:
    """The lines of a file, decoded; on old Macs a CR alone ends a line."""
    head = b""
    if file.seekable():
        begin = file.tell()
        head = file.read(SNIFFED_BYTES)
        file.seek(begin)
    elif hasattr(file, "peek"):
        head = file.peek(SNIFFED_BYTES)
    return decode_lines(file.read().splitlines(keepends=True) if is_cr_only(head) else file, name)


def _read_columns(
    lines: Iterator[tuple[int, str]], name: str, column: str | None, kind: str
) -> Iterator[Document]:
    head = list(itertools.islice(lines, SNIFFED_LINES))
    first = [line.rstrip("\r\n") for _, line in head]
    conllu = kind == "conllu" or is_conllu(first)
    layout = layout_of_words(first, Path(name), column, conllu=conllu)
    words: list[str] = []
    source: list[tuple[str, str | None]] = []
    mark = DOCUMENT_MARK if conllu else DOCUMENT_START
    document = 0 if any(line.startswith(mark) for line in first) else None
    for number, line in itertools.chain(head, lines):
        bare = line.rstrip("\r\n")
        is_start = bare.startswith(mark)
        if is_blank(bare) or (is_start and not conllu):
            source.append((line, "O" if is_start else None))
            if words:
                yield Document(kind, words, source, document)
                words, source = [], []
            document = (document or 0) + 1 if is_start else document
            continue
        document = (document or 0) + 1 if is_start else document
        columns = layout and layout.columns_of(bare, f"{name}:{number}", in_sentence=bool(words))
        if columns:
            words.append(columns[layout.text])
        source.append((line, WORD if columns else None))
    if source:
        yield Document(kind, words, source, document)


def _read_csv(
    lines: Lines,
    name: str,
    column: str | None,
    kind: str,
    quotes: bool,
    content_of: ContentReader | None,
) -> Iterator[Document]:
    table = parse_csv(lines, name, tabs=kind == "tsv", quotes=quotes)
    if table.header.count("") > 1:  # a row that is written again must keep all its columns
        raise InputError(f"{table.place}: two columns are named {''!r}; rename one")
    rows = iter(table.rows)
    if content_of is None:
        _refuse_one_word_a_row(table.header, column, name)
        rows = _refuse_single_words(rows, column, name)
    for place, cells in rows:
        if cells is None:
            continue
        row: dict[str, Any] = dict(cells)
        for words in ("tokens", "words") if content_of is None else ():
            if words in row:
                row[words] = parse_list(row[words], place, words, is_text=True)
        content = (content_of or content_to_tag)(row, column, place)
        yield Document(kind, content, row, delimiter=table.delimiter, quotes=table.quotes)


def _refuse_one_word_a_row(header: list[str], column: str | None, name: str) -> None:
    words = next((key for key in header if key.casefold() in ("word", "token")), None)
    number = next(filter(numbers_sentences, header), None)
    if words and number and column in (None, words) and not {"tokens", "words", "text"} & {*header}:
        raise InputError(_ONE_WORD_A_ROW.format(name, words, f"sentences told by {number!r}"))


def _refuse_single_words(
    rows: Iterable[tuple[str, dict | None]], column: str | None, name: str
) -> Iterator[tuple[str, dict]]:
    """Yield the rows that are not blank, unless each row is a word of a sentence.

    Each row would be tagged by itself there. Several rows of one sentence show it, and blank rows
    between rows of one word each.

    Args:
        rows: place and cells; None in place of the cells for a blank line.

    Raises:
        InputError: the first rows hold a word each.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, SNIFFED_LINES))
    found = [row for _, row in first if row is not None]
    names = [_content_name(row, column) for row in found]
    cells = [row.get(key) for row, key in zip(found, names, strict=True)]
    are_words = [isinstance(c, str) and is_one_word(c) and c[:1] != "[" for c in cells]
    if len(found) > 1 and all(are_words):
        others = [key for key in found[0] if key != names[0]]
        number = next(filter(numbers_sentences, others), None)
        numbers = [row.get(number) for row in found] if number is not None else []
        inside = [row is None for _, row in first]
        has_blanks = any(inside[: len(inside) - inside[::-1].index(False)])
        if has_blanks or len({*map(str, numbers)}) < len(numbers):
            told = f"sentences told by {number!r}" if numbers else "sentences told by blank lines"
            raise InputError(_ONE_WORD_A_ROW.format(name, names[0], told))
    return ((place, row) for place, row in itertools.chain(first, rows) if row is not None)


def _content_name(row: dict, column: str | None) -> str | None:
    return next((key for key in ((column,) if column else TEXT_COLUMNS) if key in row), None)


def content_to_tag(row: dict[str, Any], column: str | None, place: str) -> Content:
    """The words of a row if it has them, else its text; with both, the text and its words.

    Args:
        column: of the words or the text; None: the first of TEXT_COLUMNS that is there.
        place: where the row stands, for messages.

    Raises:
        InputError: the row has no such column, or the column holds something else.
    """
    names = [key for key in ((column,) if column else TEXT_COLUMNS) if key in row]
    if not names and isinstance(row.get("data"), dict):  # a task of Label Studio
        return marked_text(place, row, column)
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


def reader_of_columns(known: Sequence[Sequence[str]]) -> ContentReader:
    """A reader of the text, or of the pair of texts, of a row.

    Args:
        known: names of columns with texts, one or two each; the first of them that a row has are
            read. The names of the training data stand first.
    """

    def content_of(row: dict[str, Any], column: str | None, place: str) -> Content:
        choices = [[column]] if column else known
        names = next((names for names in choices if names and {*names} <= row.keys()), None)
        if names is None:
            # The columns of which the row has most are most likely those that were meant.
            meant = max(filter(None, choices), key=lambda names: len({*names} & row.keys()))
            missing = next(name for name in meant if name not in row)
            raise InputError(
                f"{place}: no column {missing!r}; its columns are {', '.join(row) or 'none'}; name "
                "one with --text_column_name"
            )
        for name in names:
            if not isinstance(row[name], str):
                raise InputError(f"{place}: {name} holds {shown(row[name])}, which is no text")
            require_whole(row[name], place)
        return row[names[0]] if len(names) == 1 else (row[names[0]], row[names[1]])

    return content_of


def listed(inputs: str | Sequence[Content]) -> list[Content]:
    """The inputs of a predictor as a list; one text is one input.

    Raises:
        InputError: an input holds something else than text, such as a row (whose keys would be read
            as words) or the empty cell of a table; or the text has half a character.
    """
    if isinstance(inputs, str):
        inputs = [inputs]
    if isinstance(inputs, bytes | Mapping) or not isinstance(inputs, Iterable):
        raise InputError(f"the inputs are {shown(inputs)}; give a text, or a list with texts")
    # Words that NumPy holds, as in the tables of pandas, are words, too.
    items = [item.tolist() if hasattr(item, "tolist") else item for item in inputs]
    for number, item in enumerate(items):
        parts = [item] if isinstance(item, str | bytes) else item
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], list | tuple):
            parts = [item[0], *item[1]]
        if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
            raise InputError(
                f"inputs[{number}] holds {shown(item)}; give a text, or a list or pair of texts"
            )
        require_whole("".join(parts), f"inputs[{number}]")
    return items


def listed_texts(inputs: str | Sequence[str]) -> list[str]:
    """The same for a predictor that reads one text at a time.

    Raises:
        InputError: an input is no text, or has half a character.
    """
    items = listed(inputs)
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise InputError(f"inputs[{number}] holds {shown(item)}; give one text for each input")
    return items


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
