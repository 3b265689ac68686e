"""Spans of characters as annotation tools write them, checked against the text that they mark.

Offsets are checked against the words that a tool writes beside them, where it does.
"""

from typing import Any, NamedTuple

from tagloop.errors import InputError
from tagloop.wording import count, shown

LABELS = ("label", "labels", "hypertextlabels", "entity_type", "entity_group", "entity", "type")
LABELS += ("tag", "tag_name", "class", "category")  # how tools call it, the likeliest first


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


def marks_of(items: list, place: str, names: list[str] | None = None) -> list[Mark]:
    """What the items of a column with spans mark: [0, 3, "PER"], {"start": 0, ...} or a region.

    Args:
        names: of labels that are integers.

    Raises:
        InputError: an item that marks nothing, or has no label, or an integer without a name.
    """
    marks = []
    for item in items:
        if _is_reversed(item):
            raise InputError(
                f"{place}: {shown(item)} has its label before its ends; write [start, end, label]"
            )
        if isinstance(item, list | tuple) and len(item) == 3:
            marks.append(Mark(*item, None))
        elif isinstance(item, dict):
            start, end = (item.get(key, item.get(f"{key}_offset")) for key in ("start", "end"))
            if start is None or end is None:
                raise InputError(
                    f"{place}: a span from {shown(start)} to {shown(end)}: {shown(item)} has no "
                    'start or no end; write both, {"start": 0, "end": 3, "label": "PER"}'
                )
            labels = next((item[key] for key in LABELS if key in item), [])
            labels = labels if isinstance(labels, list) else [labels]
            if not labels:
                raise InputError(f"{place}: {shown(item)} has no label; give it one, or delete it")
            marks += [Mark(start, end, label, item.get("text")) for label in labels]
        else:
            raise InputError(
                f"{place}: {shown(item)} marks no span; write [start, end, label], or "
                '{"start": 0, "end": 3, "label": "PER"}'
            )
    return [
        mark._replace(label=_name_of(mark.label, names, place)) if type(mark.label) is int else mark
        for mark in marks
    ]


def _is_reversed(item: Any) -> bool:
    return isinstance(item, list | tuple) and [type(part) for part in item] == [str, int, int]


def _name_of(label: int, names: list[str] | None, place: str) -> str:
    if names is None or not 0 <= label < len(names):
        known = "no names are given" if names is None else f"there are only {len(names)} names"
        raise InputError(
            f"{place}: a span has the integer {shown(label)} as its label, and {known}; give "
            "--labels_file with a name a line, the first naming 0, or export labels as texts"
        )
    return names[label]


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
            marked = (
                f"is {shown(text[start:end])}" if 0 <= start <= end <= len(text) else "is outside"
            )
            raise InputError(
                f"{place}: the span {start}-{end} ({label}) {marked} of the text of "
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
