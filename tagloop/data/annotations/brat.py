"""brat's standoff: a text in name.txt, what is marked in it in name.ann; or a folder of such pairs.

    T1	PER 0 3	Ann

A line of the text is a sentence, unless a span goes on behind the line: then the lines are one.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tagloop.data.annotations.spans import Mark, Record, Span, spans_of
from tagloop.data.lines import read_lines, read_text
from tagloop.data.row import Found
from tagloop.errors import InputError
from tagloop.wording import count

TEXT, MARKS = ".txt", ".ann"
_BOUND = re.compile(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)")


def is_brat(path: Path) -> bool:
    """Whether this is an .ann file, a text with one beside it, or a folder that holds some."""
    if path.is_dir():
        return next(path.rglob(f"*{MARKS}"), None) is not None
    if path.suffix != TEXT:
        return path.suffix == MARKS
    try:
        return path.with_suffix(MARKS).is_file()
    except OSError:  # the ending makes the name too long
        return False


def brat_files(path: Path) -> list[Path]:
    """Every file that `path` (see is_brat) stands for, in order: a text, its marks, the next.

    Raises:
        InputError: marks without a text beside them.
    """
    marks = sorted(path.rglob(f"*{MARKS}")) if path.is_dir() else [path.with_suffix(MARKS)]
    for name in marks:
        if not name.with_suffix(TEXT).is_file():
            raise InputError(
                f"{name}: no {name.with_suffix(TEXT).name} beside it, the text it marks"
            )
    return [name.with_suffix(suffix) for name in marks for suffix in (TEXT, MARKS)]


def read_brat(path: Path, found: Found, *, tagged: bool) -> Iterator[Record]:
    """Yield the sentences of all documents with their spans; lines without a word are none.

    Texts that are left out are counted in found.notes.

    Raises:
        InputError: file:line of a mark that cannot be read or does not fit its text.
    """
    files = brat_files(path)
    pairs = zip(files[::2], files[1::2], strict=True)
    found.documents = "files"
    if path.is_dir():
        without = sum(1 for name in path.rglob(f"*{TEXT}") if name not in files)
        if without:
            found.notes.append(f"{count(without, 'text')} left out: no .ann beside it")
    for number, (text_file, marks_file) in enumerate(pairs):
        text = read_text(text_file)
        spans = _read_marks(marks_file, text, _has_bom(text_file)) if tagged else []
        yield from _sentences(text, spans, str(text_file), number)


def _has_bom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == BOM_UTF8


def _read_marks(path: Path, text: str, has_bom: bool) -> list[Span]:
    """The text-bound annotations ("T..."); relations, events and notes mark no words.

    brat counts a BOM as a character, other tools do not: the way that fits all marks is used.
    """
    try:
        return _bound_spans(path, text)
    except InputError:
        if not has_bom:
            raise
    spans = _bound_spans(path, f"\ufeff{text}")
    return [s._replace(start=max(s.start - 1, 0), end=max(s.end - 1, 0)) for s in spans]


def _bound_spans(path: Path, text: str) -> list[Span]:
    spans = []
    for number, line in read_lines(path):
        place = f"{path}:{number}"
        if not line.startswith("T"):
            if line.strip()[:1] in ("T", "t"):
                raise InputError(f"{place}: {line!r:.60}, but a mark of brat begins with T1")
            continue
        columns = line.split("\t", 2)
        bound = _BOUND.fullmatch(columns[1]) if len(columns) > 1 else None
        if not bound:
            raise InputError(f"{place}: {line!r:.60}, but brat writes: T1, tab, PER 0 3, tab, Ann")
        label, pieces = bound[1], [[int(n) for n in p.split()] for p in bound[2].split(";")]
        start, end = pieces[0][0], pieces[-1][1]
        words = columns[2] if len(columns) > 2 and len(pieces) == 1 else None
        span = spans_of(text, [Mark(start, end, label, words)], place)[0]
        has_gap = any(text[left[1] : right[0]].strip() for left, right in pairwise(pieces))
        spans.append(span._replace(has_gap=has_gap))
    return spans


def _sentences(text: str, spans: list[Span], name: str, document: int) -> Iterator[Record]:
    left = sorted(spans, key=lambda span: span.start)[::-1]  # equal ones in the order of the file
    start, line = 0, 1
    while start < len(text):
        end = _end_of_line(text, start)
        inside = []
        while left and left[-1].start < end:
            inside.append(left.pop())
            end = max(end, _end_of_line(text, max(inside[-1].end - 1, 0)))
        if inside or text[start:end].strip():
            spans = [
                s._replace(start=s.start - start, end=s.end - start, shift=start) for s in inside
            ]
            yield Record(text[start:end], spans, f"{name}:{line}", document)
        line += text.count("\n", start, end)
        start = end


def _end_of_line(text: str, start: int) -> int:
    """Behind the line break; the last line has none."""
    return text.find("\n", start) + 1 or len(text)
