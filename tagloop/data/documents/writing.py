"""Documents and their predictions -> files, in the format they came in or another one.

    writer = Writer(file, "conll")
    writer.write(document, tagged, kind=kind)
    writer.close()

What was in the input stays: lines, columns and comments of column files, other keys of rows.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence, Set
from typing import Any, TextIO

from tagloop.data.annotations.word_spans import without_word_spans
from tagloop.data.documents import annotations
from tagloop.data.documents.reading import WORD, Document, NamedValues, Tagged
from tagloop.data.formats import TOOLS
from tagloop.data.row import TagKind
from tagloop.data.words.columns import shown_word
from tagloop.errors import InputError

# Any input can become these; the others keep what only an input of the same format has.
FROM_ANY = ("jsonl", "conll", "txt", *TOOLS)


class Writer:
    """One file of documents, written one after the other.

    Args:
        output: to write to; for brat the text.
        target: one of formats.OUTPUT_FORMATS.
        marks: the other file of brat.
        length: characters that stand in brat's text before what is written.
    """

    def __init__(self, output: TextIO, target: str, marks: TextIO | None = None, length: int = 0):
        self.output, self.target, self.marks = output, target, marks
        self.is_empty, self.columns = True, list[str]()  # columns of a CSV
        self.length, self.number = length, 0  # characters and entities in brat's files

    def write(
        self,
        document: Document,
        predicted: Tagged | NamedValues,
        *,
        kind: TagKind | None,
        with_scores: bool = False,
    ) -> None:
        """Write a document with its prediction.

        Args:
            kind: the kind of the tags; None if the prediction is no tags.
            with_scores: rows gain probabilities of words, or of all classes.

        Raises:
            InputError: the tags mark no spans, and the format is one of spans.
        """
        if isinstance(predicted, NamedValues):
            self._write_values(document, predicted, with_scores)
        else:
            self._write_tags(document, predicted, kind, with_scores)

    def _write_values(self, document: Document, predicted: NamedValues, with_scores: bool) -> None:
        gained = predicted.values | (predicted.more if with_scores else {})
        if self.target != "txt":
            _refuse_taken(document.source.keys() & gained.keys(), predicted)
        row = document.source | gained
        if self.target in ("csv", "tsv"):
            self._write_cells(document, row)
        elif self.target == "txt":
            first = next(iter(predicted.values.values()))
            text = "" if first is None else str(first)
            self.output.write(" ".join(text.splitlines()) + "\n")  # A document stays one line.
        else:
            self.output.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.is_empty = False

    def _write_cells(self, document: Document, row: dict[str, Any]) -> None:
        """Write a row as a line of a CSV, whose columns are those of the first row."""
        if self.is_empty:
            self.columns = [*row]
            self.output.write(_csv_line(self.columns, document, self.target))
        if more := row.keys() - {*self.columns}:
            raise InputError(
                f"--output_format {self.target}: a later row has the key {min(more)!r}, which the "
                "first row does not have, so it has no column; take jsonl"
            )
        cells = _cells({name: row.get(name) for name in self.columns})
        self.output.write(_csv_line(cells, document, self.target))

    def _write_tags(
        self, document: Document, tagged: Tagged, kind: TagKind, with_scores: bool
    ) -> None:
        if self.target in TOOLS and not kind.has_spans:
            raise InputError(
                f"--output_format {self.target}: for spans, but this model gives every word a tag "
                f"of its own; take {', '.join(n for n in FROM_ANY if n not in TOOLS)}"
            )
        if self.target == "brat":
            text, marks = annotations.to_brat(tagged, document.ending, self.length, self.number)
            self.marks.write(marks)
            self.length, self.number = self.length + len(text), self.number + len(tagged.entities)
        else:
            text = format_document(
                document, tagged, self.target, kind=kind, with_scores=with_scores
            )
        if not text:
            return
        if self.is_empty:
            self.output.write(format_header(document, self.target, with_scores=with_scores))
        elif self.target == "label_studio":
            self.output.write(",\n")
        self.output.write(text)
        self.is_empty = False

    def close(self) -> None:
        """Write what comes after the last document."""
        if self.target == "label_studio":
            self.output.write("[]\n" if self.is_empty else "\n]\n")


def check_formats(source: str, target: str, formats: Sequence[str] | None = None) -> None:
    """Refuse an output that only an input of the same format can give.

    Args:
        formats: the formats that the task writes, each from any input; None: those of taggers.

    Raises:
        InputError: input of the format `source` cannot become the format `target`.
    """
    if target != source and target not in (formats or FROM_ANY):
        raise InputError(
            f"--output_format {target}: only for input of the same format, this is {source}; "
            f"{source} becomes {', '.join(dict.fromkeys((source, *FROM_ANY)))}"
        )


def format_header(document: Document, target: str, *, with_scores: bool = False) -> str:
    """What comes before the first document: the names of a CSV's columns, ..."""
    if target == "label_studio":
        return "[\n"
    if target not in ("csv", "tsv"):
        return ""
    nothing = Tagged("", [], [], [], [])
    names = _tagged_row(document, nothing, with_scores).keys()
    return _csv_line(names, document, target)


def format_document(
    document: Document, tagged: Tagged, target: str, *, kind: TagKind, with_scores: bool = False
) -> str:
    """A document with its tags, as text of one of formats.OUTPUT_FORMATS but brat.

    conll gets a column more, conllu `KIND=tag` (the name of the kind of tags) in MISC. Rows gain
    tags and, if they have a text, tokens and entities; those of an earlier tagging are replaced.
    txt is the tags of a document on a line.
    """
    if target == document.kind == "conllu":
        return _with_misc(document.source, tagged.tags, f"{kind.name.upper()}=")
    if target == document.kind == "conll":
        return _with_column(document.source, tagged.tags)
    if isinstance(document.source, list) and not tagged.tags:
        return ""  # comments and blank lines alone
    if target == "txt":
        return " ".join(tagged.tags) + "\n"
    if target == "conll":
        pairs = zip(tagged.tokens, tagged.tags, strict=True)
        return "".join(f"{shown_word(word)} {tag}\n" for word, tag in pairs) + "\n"
    if target in TOOLS:
        row = annotations.to_row(target, document.source, tagged, kind)
        return json.dumps(row, ensure_ascii=False) + "\n" * (target != "label_studio")
    row = _tagged_row(document, tagged, with_scores, kind.column_names)
    if target in ("csv", "tsv"):
        return _csv_line(_cells(row), document, target)
    return json.dumps(row, ensure_ascii=False) + "\n"


def _tagged_row(
    document: Document, tagged: Tagged, with_scores: bool, names: Sequence[str] = ()
) -> dict[str, Any]:
    has_text = not isinstance(document.content, list)
    row = {"tokens": tagged.tokens}
    if isinstance(document.source, dict):
        row = without_word_spans(document.source, names)
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
        tag = next(left) if role == WORD else role
        if tag is not None:
            bare = line.rstrip("\r\n")
            line = f"{bare}{chr(9) if chr(9) in bare else ' '}{tag}{line[len(bare) :]}"
        result.append(line)
    return "".join(result)


def _with_misc(lines: list[tuple[str, str | None]], tags: list[str], key: str) -> str:
    result, left = [], iter(tags)
    for line, role in lines:
        if role == WORD:
            bare = line.rstrip("\r\n")
            before, _, misc = bare.rpartition("\t")
            kept = [part for part in misc.split("|") if part != "_" and not part.startswith(key)]
            misc = "|".join([*kept, key + next(left)])
            line = f"{before}\t{misc}{line[len(bare) :]}"
        result.append(line)
    return "".join(result)


def _cells(row: dict[str, Any]) -> list[Any]:
    """The values of a row for a CSV, lists and objects as JSON."""
    return [
        json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
        for value in row.values()
    ]


def _csv_line(cells: Iterable[Any], document: Document, target: str) -> str:
    """A line of a CSV. A table of the same format as the input keeps its delimiter and its quoting.

    In a table of tabs without quotes a prediction loses its line ends and tabs.
    """
    delimiter, quotes = "\t" if target == "tsv" else ",", True
    if target == document.kind:
        delimiter, quotes = document.delimiter, document.quotes or document.delimiter != "\t"
    if not quotes:
        return "\t".join(re.sub(r"[\t\r\n]+", " ", _as_text(cell)) for cell in cells) + "\n"
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _as_text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _refuse_taken(taken: Set[str], predicted: NamedValues) -> None:
    """Refuse an input whose own columns the prediction would replace.

    The columns of an earlier prediction may be replaced: all of them are there, and several.

    Args:
        taken: names of columns that the input and the prediction share.

    Raises:
        InputError: a column of the input has a name that the prediction uses.
    """
    if taken and not (len(predicted.values) > 1 and predicted.values.keys() <= taken):
        raise InputError(
            f"the input has a column {min(taken)!r}, which the prediction would replace; rename "
            "the column, or write to a .txt"
        )
