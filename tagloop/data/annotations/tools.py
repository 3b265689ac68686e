"""Rows of doccano, Label Studio, Prodigy and spaCy -> texts with spans of characters.

    doccano            {"text": "Ann won", "label": [[0, 3, "PER"]]}
    Label Studio       {"data": {"text": "Ann won"}, "annotations": [...]}, see label_studio.py
    Prodigy or spaCy   {"text": "Ann won", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    spaCy              ["Ann won", {"entities": [[0, 3, "PER"]]}]

brat writes no rows; see brat.py.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tagloop.data.annotations import label_studio
from tagloop.data.annotations.spans import Record, marks_of, spans_of
from tagloop.data.row import Choices, Found
from tagloop.data.words.documents import DocumentCounter
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

SPANS = ("spans", "entities", "ents", "label", "labels", "annotations")  # columns
SKIPPED = ("reject", "ignore")  # answers in Prodigy


def tool_of(row: Any) -> str | None:
    """Whose export a JSON row looks like; None for any other row.

    >>> tool_of({"text": "Ann won", "label": [[0, 3, "PER"]]})
    'doccano'
    """
    if isinstance(row, list):
        is_pair = len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict)
        return "spaCy" if is_pair and "entities" in row[1] else None
    if not isinstance(row, dict):
        return None
    if isinstance(row.get("paragraphs"), list):
        return "spaCy 2"
    if label_studio.has_data(row):
        return "Label Studio" if label_studio.is_task(row) else None
    if not isinstance(row.get("text"), str):
        return None
    column = _span_column(row)
    if column is None or column == "spans":
        return column and "Prodigy or spaCy"
    return "Label Studio" if any(map(label_studio.is_region, row[column])) else "doccano"


def _span_column(row: dict) -> str | None:
    """The column with spans: by its name, the first that has some; else by what it holds."""
    lists = {name: cell for name, cell in row.items() if isinstance(cell, list)}
    usual = [name for name in SPANS if name in lists]
    usual = [n for n in usual if all(isinstance(item, list | tuple | dict) for item in lists[n])]
    others = [name for name, cell in lists.items() if cell and all(map(_is_span, cell))]
    return next((n for n in usual if lists[n]), next(iter([*others, *usual]), None))


def _only_span_column(row: dict, place: str) -> str | None:
    """The column with spans; see _span_column.

    Raises:
        InputError: two columns have the usual names, and different spans.
    """
    column = _span_column(row)
    for name in SPANS:
        cell = row.get(name)
        has_spans = isinstance(cell, list) and all(isinstance(i, list | tuple | dict) for i in cell)
        if has_spans and cell and name != column and cell != row[column]:
            raise InputError(
                f"{place}: which column holds the spans, {column!r} or {name!r}? give "
                "--label_column_name"
            )
    return column


def _is_span(item: Any) -> bool:
    """Whether an item of a list is a span, whatever its column is called."""
    is_triple = isinstance(item, list | tuple) and list(map(type, item)) == [int, int, str]
    return is_triple or label_studio.is_region(item)


def as_row(item: Any) -> Any:
    """A pair of spaCy's training data as a row of named columns; anything else as it is."""
    if isinstance(item, list) and tool_of(item):
        return {"text": item[0], "entities": item[1]["entities"]}
    return item


def marked_text(place: str, row: dict, column: str | None) -> str:
    """The text that a row marks spans in: `column`, else "text", else the only text there is.

    Raises:
        InputError: none, or several.
    """
    cells = row["data"] if label_studio.has_data(row) else row
    texts = [name for name, cell in cells.items() if isinstance(cell, str)]
    name = column if column is not None else "text"
    if column is None and name not in cells and cells is not row and len(texts) == 1:
        name = texts[0]
    if name not in texts:
        cell = f"{name!r} holds {shown(cells[name])}, no text" if name in cells else f"no {name!r}"
        raise InputError(
            f"{place}: {cell}; the columns there: {', '.join(cells) or 'none'}; name the one with "
            "the plain text by --text_column_name"
        )
    require_whole(cells[name], place)
    return cells[name]


def read_records(
    rows: Iterable[tuple[str, dict]], choices: Choices, found: Found, *, tagged: bool
) -> Iterator[Record]:
    """Yield the texts of (place, row) pairs with their spans; `tagged=False`: without.

    Left out and counted in found.notes: what was rejected or skipped, or not annotated yet.

    Raises:
        InputError: a row that is not what its tool writes.
    """
    left_out = several = bare = 0
    documents = DocumentCounter(choices.document_column, found)
    for place, row in rows:
        text = marked_text(place, row, choices.text_column)
        cells = row["data"] if label_studio.has_data(row) else row
        number = documents.number_of(cells, text)
        if not tagged:
            yield Record(text, [], place, number)
            continue
        if row.get("answer") in SKIPPED:
            left_out += 1
            continue
        if label_studio.has_data(row):
            place += f" (task {row['id']})" if "id" in row else ""
            finished = label_studio.finished_annotations(row)
            if not finished:
                left_out += 1
                continue
            several += len(finished) > 1
            items = label_studio.regions_of(finished[0])
        else:
            column = choices.label_column or _only_span_column(row, place)
            items = row.get(column)
            bare += items is None and row.get("answer") != "accept"
            items = [] if items is None else items
            if not isinstance(items, list):
                raise InputError(f"{place}: {column} holds {shown(items)}, not a list of spans")
        spans = spans_of(text, marks_of(items, place, choices.names), place)
        yield Record(text, spans, place, number)
    if left_out:
        found.notes.append(
            f"{count(left_out, 'text')} left out: rejected, skipped or not annotated yet"
        )
    if bare:
        found.notes.append(
            f"{count(bare, 'text')} without a list of spans, read as texts in which nothing is "
            "marked: delete them if nobody has annotated them, else write []"
        )
    if several:
        found.notes.append(
            f"{count(several, 'text')} annotated several times: the ground truth was read, or the "
            "first annotation where none is marked so"
        )
