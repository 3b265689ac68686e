"""Rows of doccano, Label Studio, Prodigy and spaCy -> a text and its spans of characters.

    read_row("a.jsonl:1", {"text": "Ann won", "label": [[0, 3, "PER"]]}).spans

Offsets are checked against the words that a tool writes beside them, where it does.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tagloop.data.row import Reading
from tagloop.errors import InputError
from tagloop.wording import count, require_whole, shown

SPANS = ("spans", "entities", "label", "labels")  # columns
SKIPPED = ("reject", "ignore")  # answers in Prodigy


class Span(NamedTuple):
    """Marks `text[start:end]`, in characters.

    place: where it is written. has_gap: it leaves out words between. shift: where the text begins
    in what its offsets were counted in.
    """

    start: int
    end: int
    label: str
    place: str
    has_gap: bool = False
    shift: int = 0


class Record(NamedTuple):
    """A text and what is marked in it; `document` counts the files it may come from."""

    text: str
    spans: list[Span]
    place: str
    document: int = 0


class Mark(NamedTuple):
    """A span as a tool wrote it; `words` are those it says to mark, None where it is silent."""

    start: Any
    end: Any
    label: Any
    words: str | None


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
    if isinstance(row.get("data"), dict):
        lists = ("annotations", "completions", "predictions")
        return "Label Studio" if any(isinstance(row.get(name), list) for name in lists) else None
    if not isinstance(row.get("text"), str):
        return None
    column = _span_column(row)
    if column is None or column == "spans":
        return column and "Prodigy or spaCy"
    return "Label Studio" if any(map(_is_region, row[column])) else "doccano"


def _span_column(row: dict) -> str | None:
    """The column with spans: by its name, the first that has some; else by what it holds."""
    lists = {name: cell for name, cell in row.items() if isinstance(cell, list)}
    usual = [name for name in SPANS if name in lists]
    usual = [n for n in usual if all(isinstance(item, list | dict) for item in lists[n])]
    others = [name for name, cell in lists.items() if cell and all(map(_is_region, cell))]
    return next((n for n in usual if lists[n]), next(iter([*others, *usual]), None))


def _is_region(item: Any) -> bool:
    """Whether it is a span as Label Studio writes it."""
    return isinstance(item, dict) and "start" in item and "labels" in item


def named(item: Any) -> Any:
    """A pair of spaCy's training data as a row of named columns; anything else as it is."""
    if isinstance(item, list) and tool_of(item):
        return {"text": item[0], "entities": item[1]["entities"]}
    return item


def text_of(place: str, row: dict, column: str | None) -> str:
    """The text that a row marks spans in: `column`, else "text", else the only text there is.

    Raises:
        InputError: none, or several.
    """
    cells = row["data"] if isinstance(row.get("data"), dict) else row
    texts = [name for name, cell in cells.items() if isinstance(cell, str)]
    name = column if column is not None else "text"
    if column is None and name not in cells and cells is not row and len(texts) == 1:
        name = texts[0]
    if name not in texts:
        held = f"{name!r} holds {shown(cells[name])}, no text" if name in cells else f"no {name!r}"
        raise InputError(
            f"{place}: {held}; the columns there: {', '.join(cells) or 'none'}; name the one with "
            "the plain text by --text_column_name"
        )
    require_whole(cells[name], place)
    return cells[name]


def read_records(
    rows: Iterable[tuple[str, dict]], reading: Reading, tagged: bool
) -> Iterator[Record]:
    """Yield the texts of (place, row) pairs with their spans; `tagged=False`: without.

    Left out and counted in reading.notes: what was rejected or skipped, or not annotated yet.

    Raises:
        InputError: a row that is not what its tool writes.
    """
    left_out = several = 0
    for place, row in rows:
        text = text_of(place, row, reading.text_column)
        if not tagged:
            yield Record(text, [], place)
            continue
        if row.get("answer") in SKIPPED:
            left_out += 1
            continue
        if isinstance(row.get("data"), dict):
            place += f" (task {row['id']})" if "id" in row else ""
            finished = _finished(row)
            if not finished:
                left_out += 1
                continue
            several += len(finished) > 1
            items = _regions(finished[0])
        else:
            column = reading.label_column or _span_column(row)
            items = row.get(column) or []
            if not isinstance(items, list):
                raise InputError(f"{place}: {column} holds {shown(items)}, not a list of spans")
        yield Record(text, spans_of(text, _marks(items, place), place), place)
    if left_out:
        reading.notes.append(
            f"{count(left_out, 'text')} left out: rejected, skipped or not annotated yet"
        )
    if several:
        reading.notes.append(
            f"{count(several, 'text')} annotated several times: the ground truth was read, or the "
            "first annotation where none is marked so"
        )


def _finished(task: dict) -> list[dict]:
    """The annotations of a Label Studio task, the one to read first; its predictions, if it has no
    place for annotations."""
    found = [task.get(name) for name in ("annotations", "completions")]
    given = [item for items in found if isinstance(items, list) for item in items]
    if all(items is None for items in found):
        given = task.get("predictions") or []
    valid = [item for item in given if isinstance(item, dict) and not item.get("was_cancelled")]
    return sorted(valid, key=lambda item: not item.get("ground_truth"))


def _regions(annotation: dict) -> list[dict]:
    """The labeled spans of an annotation of Label Studio; what else is said of them is not."""
    found = annotation.get("result")
    regions = [region for region in found or () if isinstance(region, dict)]
    labeled = [r for r in regions if str(r.get("type", "labels")).endswith("labels")]
    values = [region.get("value") for region in labeled]
    return [value for value in values if isinstance(value, dict) and "start" in value]


def _marks(items: list, place: str) -> list[Mark]:
    """What is marked, in whichever of its shapes: [0, 3, "PER"], {"start": 0, ...}, a region."""
    marks = []
    for item in items:
        if isinstance(item, list | tuple) and len(item) == 3:
            marks.append(Mark(*item, None))
        elif isinstance(item, dict):
            start, end = (item.get(key, item.get(f"{key}_offset")) for key in ("start", "end"))
            labels = next(
                (item[k] for k in ("label", "labels", "hypertextlabels") if k in item), []
            )
            labels = labels if isinstance(labels, list) else [labels]
            if not labels:
                raise InputError(f"{place}: {shown(item)} has no label; give it one, or delete it")
            marks += [Mark(start, end, label, item.get("text")) for label in labels]
        else:
            raise InputError(
                f"{place}: {shown(item)} marks no span; write [start, end, label], or "
                '{"start": 0, "end": 3, "label": "PER"}'
            )
    return marks


def spans_of(text: str, marks: list[Mark], place: str) -> list[Span]:
    """The marks as spans of the text, in characters.

    Some versions of the tools count like JavaScript, where a picture is two (UTF-16). Where the
    marks of a text fit that way and only that way, it is taken.

    Raises:
        InputError: a mark that lies outside of the text, or on other words than it says.
    """
    for start, end, label, _ in marks:
        if not (type(start) is type(end) is int):
            raise InputError(
                f"{place}: a span from {shown(start)} to {shown(end)}; only spans of characters in "
                "plain text can be read, no paths in HTML"
            )
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{place}: the span {start}-{end} has the label {label!r}; name it")
    counted = marks
    if not all(_fits(text, mark) for mark in marks):
        units = text.encode("utf-16-le")

        def before(number: int) -> int:
            return len(units[: 2 * max(number, 0)].decode("utf-16-le", errors="ignore"))

        counted = [m._replace(start=before(m.start), end=before(m.end)) for m in marks]
        in_units = all(0 <= m.start <= m.end <= len(units) // 2 for m in marks)
        if not in_units or not all(_fits(text, mark) for mark in counted):
            start, end, label, words = next(mark for mark in marks if not _fits(text, mark))
            found = (
                f"is {shown(text[start:end])}" if 0 <= start <= end <= len(text) else "is outside"
            )
            raise InputError(
                f"{place}: the span {start}-{end} ({label}) {found} of the text of "
                f"{count(len(text), 'character')}"
                + (f", but it marks {shown(words)}" if words is not None else "")
                + "; was the text changed afterwards?"
            )
    return [Span(mark.start, mark.end, mark.label, place) for mark in counted]


def _fits(text: str, mark: Mark) -> bool:
    if not 0 <= mark.start <= mark.end <= len(text):
        return False
    return mark.words is None or _bare(text[mark.start : mark.end]) == _bare(mark.words)


def _bare(words: str) -> str:
    """Without blanks: Label Studio writes a line break as \\n in two characters."""
    return "".join(str(words).replace("\\n", " ").split())
