"""Files to tag -> documents, one at a time; documents and their tags -> the same file with tags.

    for document in read_documents(file, "in.conll", "conll"):
        write(format_document(document, tagged, "conll"))

What was in the input stays: lines, columns and comments of column files, other keys of rows.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from tagloop.data.columns import layout_of
from tagloop.data.lines import SNIFFED_LINES, count, is_blank, not_utf8, shown
from tagloop.data.tags import DOCUMENT_START, Reading
from tagloop.errors import InputError

SUFFIXES = {
    ".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".conll": "conll",
    ".iob": "conll", ".iob2": "conll", ".bio": "conll", ".conllu": "conllu", ".csv": "csv",
    ".tsv": "tsv",
}  # fmt: skip
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
# Any input can become these; the others keep what only an input of the same format has.
FROM_ANY = ("jsonl", "conll", "txt")
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
        source: a row's keys and values, or the lines with what each is (_WORD or a fixed tag).
    """

    kind: str
    content: str | list[str] | tuple[str, list[str]]
    source: dict[str, Any] | list[tuple[str, str | None]]

    @property
    def size(self) -> int:
        """Roughly its characters, to bound how many are held at once."""
        if isinstance(self.content, str):
            return len(self.content)
        return 6 * len(self.content) if isinstance(self.content, list) else len(self.content[0])


_WORD = "\0"


def guess_format(name: str) -> str:
    """The format of a file, by the ending of its name.

    Raises:
        InputError: an ending that is not known.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{name}: unknown format {suffix!r}; known are {' '.join(SUFFIXES)}, or say which it "
            f"is: --input_format or --output_format {'|'.join(FORMATS)}"
        )
    return SUFFIXES[suffix]


def check_formats(source: str, target: str) -> None:
    """Refuse an output that only an input of the same format can give."""
    if target != source and target not in FROM_ANY:
        raise InputError(
            f"--output_format {target}: only for input of the same format, this is {source}; "
            f"{source} becomes {', '.join(dict.fromkeys((source, *FROM_ANY)))}"
        )


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
            yield Document(kind, text, {"text": text})
    elif kind in ("conll", "conllu"):
        yield from _read_columns(lines, name, column, kind)
    else:
        rows = _json_rows(lines, name) if kind == "jsonl" else _csv_rows(lines, name, kind)
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
        source.append((line, _WORD if columns else None))
    if source:
        yield Document(kind, words, source)


def _json_rows(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[str, dict]]:
    for number, line in lines:
        if is_blank(line.rstrip("\r\n")):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", type(error).__name__)
            raise InputError(
                f"{name}:{number}: not valid JSON ({reason}); write one object a line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(
                f'{name}:{number}: holds {shown(row)}, not a row; write {{"text": "..."}} or '
                '{"tokens": ["...", "..."]}'
            )
        yield f"{name}:{number}", row


def _csv_rows(lines: Iterable[tuple[int, str]], name: str, kind: str) -> Iterator[tuple[str, dict]]:
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


def _listed(cell: str) -> list:
    try:
        items = json.loads(cell) if cell.startswith("[") else None
    except ValueError:
        items = None
    return items if isinstance(items, list) else [word for word in cell.split(" ") if word]


def _content(row: dict, column: str | None, place: str) -> str | list[str] | tuple[str, list[str]]:
    """What is tagged of a row: its words if it has them, else its text."""
    name = next((key for key in ((column,) if column else TEXT_COLUMNS) if key in row), None)
    if name is None:
        raise InputError(
            f"{place}: no {column or ' or '.join(TEXT_COLUMNS)}; its columns are "
            f"{', '.join(row) or 'none'}; name one with --text_column_name"
        )
    value, text = row[name], row.get("text")
    is_words = isinstance(value, list) and all(isinstance(word, str) for word in value)
    if not is_words and (not isinstance(value, str) or name == "tokens"):
        raise InputError(
            f"{place}: {name} holds {shown(value)}, neither a text nor a list of words"
        )
    try:
        "".join([*value, text if isinstance(text, str) else ""]).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: half a character ({error}); repair the \\u escape") from None
    return (text, value) if is_words and isinstance(text, str) else value


def format_header(
    document: Document, target: str, *, task: str = "ner", with_scores: bool = False
) -> str:
    """What comes before the first document: the names of a CSV's columns."""
    del task
    if target not in ("csv", "tsv"):
        return ""
    nothing = Tagged("", [], [], [], [])
    return _csv_line(_tagged_row(document, nothing, with_scores).keys(), target)


def format_document(
    document: Document, tagged: Tagged, target: str, *, task: str = "ner", with_scores: bool = False
) -> str:
    """A document with its tags, as text of one of FORMATS.

    conll gets a column more, conllu `NER=tag` (the task's name) in MISC. Rows gain tags and, if
    they have a text, tokens and entities; those of an earlier tagging are replaced. txt is the
    tags of a document on a line.
    """
    if target == document.kind == "conllu":
        return _with_misc(document.source, tagged.tags, f"{task.upper()}=")
    if target == document.kind == "conll":
        return _with_column(document.source, tagged.tags)
    if isinstance(document.source, list) and not tagged.tags:
        return ""  # comments and blank lines alone
    if target == "txt":
        return " ".join(tagged.tags) + "\n"
    if target == "conll":
        pairs = zip(tagged.tokens, tagged.tags, strict=True)
        return "".join(f"{_unspaced(word)} {tag}\n" for word, tag in pairs) + "\n"
    row = _tagged_row(document, tagged, with_scores)
    if target in ("csv", "tsv"):
        cells = [
            json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in row.values()
        ]
        return _csv_line(cells, target)
    return json.dumps(row, ensure_ascii=False) + "\n"


def _tagged_row(document: Document, tagged: Tagged, with_scores: bool) -> dict[str, Any]:
    has_text = not isinstance(document.content, list)
    row = dict(document.source) if isinstance(document.source, dict) else {"tokens": tagged.tokens}
    if isinstance(document.content, str):
        row["tokens"] = tagged.tokens
    row["tags"] = tagged.tags
    if with_scores:
        row["scores"] = tagged.scores
    if has_text:  # words that are not in their text have no place there
        text = document.content if isinstance(document.content, str) else document.content[0]
        row["entities"] = tagged.entities if tagged.text == text else []
    return row


def _with_column(lines: list[tuple[str, str | None]], tags: list[str]) -> str:
    result, left = [], iter(tags)
    for line, role in lines:
        tag = next(left) if role == _WORD else role
        if tag is not None:
            bare = line.rstrip("\r\n")
            line = f"{bare}{chr(9) if chr(9) in bare else ' '}{tag}{line[len(bare) :]}"
        result.append(line)
    return "".join(result)


def _with_misc(lines: list[tuple[str, str | None]], tags: list[str], key: str) -> str:
    result, left = [], iter(tags)
    for line, role in lines:
        if role == _WORD:
            bare = line.rstrip("\r\n")
            before, _, misc = bare.rpartition("\t")
            kept = [part for part in misc.split("|") if part != "_" and not part.startswith(key)]
            misc = "|".join([*kept, key + next(left)])
            line = f"{before}\t{misc}{line[len(bare) :]}"
        result.append(line)
    return "".join(result)


def _unspaced(word: str) -> str:
    return "".join("_" if letter.isspace() else letter for letter in word) or "_"


def _csv_line(cells: Iterable[Any], target: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if target == "tsv" else ",", lineterminator="\n").writerow(
        cells
    )
    return text.getvalue()
