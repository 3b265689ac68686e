"""Texts with spans of characters -> words with tags (IOB2), split as running text is.

A word belongs to a span wholly or not at all, and to one span only; what does not fit is named.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tagloop.data.annotations.spans import Record, Span
from tagloop.data.row import Choices, Found, Row
from tagloop.data.splitting import WordsWay, split_text
from tagloop.errors import InputError
from tagloop.wording import count, shown

WAY: WordsWay = "punctuation"
SHOWN = 3  # faults in a message
REMEDY = (
    "correct them, or give --misaligned widen (takes the whole words) or --misaligned drop "
    "(leaves the span out, its words without a gold tag)"
)


class MarkedWords(NamedTuple):
    """Words [first, end) and the span they are marked by."""

    first: int
    end: int
    span: Span


class FirstFew:
    """How many faults there are, and the first few of them."""

    def __init__(self) -> None:
        self.total, self.first = 0, []

    def add(self, text: str) -> None:
        """Count a fault."""
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(text)

    def __str__(self) -> str:
        more = f"; and {self.total - SHOWN} more" if self.total > SHOWN else ""
        return "; ".join(self.first) + more


def read_annotated(
    records: Iterable[Record], choices: Choices, found: Found, *, tagged: bool
) -> Iterator[Row]:
    """Yield a row for every record, with tags in IOB2; `tagged=False`: without tags.

    What did not fit is told in found.notes, after the last record.

    Raises:
        InputError: the tags that are wanted mark no spans; after the last record, all spans that
            cut a word, unless choices.misaligned says what becomes of them.
    """
    cut, overlapping, renamed = FirstFew(), FirstFew(), {}
    types, kept_types = Counter(), set()
    for record in records:
        if tagged and not choices.kind.has_spans:
            raise InputError(
                f"{record.place}: spans of characters, but --task_name {choices.kind.name} needs a "
                "tag for every word; give the --task_name of a task whose tags mark spans"
            )
        offsets = split_text(record.text, WAY)
        tokens = [record.text[start:end] for start, end in offsets]
        tags: list[str | None] = ["O" if tagged else None] * len(tokens)
        marked = []
        types.update(span.label for span in record.spans)
        for span in record.spans:
            words = find_marked(offsets, span)
            if fault := _fault(record.text, offsets, words):
                cut.add(fault)
                if choices.misaligned != "widen":
                    tags[words.first : words.end] = [None] * (words.end - words.first)
                    continue
            if words.first < words.end:
                marked.append(words)
        kept, others = keep_longest(marked)
        for words, longer in others:
            overlapping.add(
                f"{_shown(record.text, words.span)} and the longer "
                f"{_shown(record.text, longer.span, with_place=False)}"
            )
        for first, end, span in kept:
            kept_types.add(span.label)
            tags[first:end] = tags_of(span.label, end - first, renamed)
        yield Row(tokens, tags, record.document, record.place)
    _report(choices, found, cut)
    report_lost(found, overlapping, renamed, types, kept_types)


def tags_of(label: str, length: int, renamed: dict[str, str]) -> list[str]:
    """The tags of a span of so many words; `renamed` gains a label that holds a blank."""
    name = "_".join(label.split())
    if name != label:
        renamed[label] = name
    return [f"B-{name}", *[f"I-{name}"] * (length - 1)]


def _report(choices: Choices, found: Found, cut: FirstFew) -> None:
    """Raise, or note for the user, which spans mark no whole words."""
    spans = f"{count(cut.total, 'span')} of characters"
    fault = f"{spans} {'does' if cut.total == 1 else 'do'} not mark whole words"
    if cut.total and choices.misaligned == "error":
        raise InputError(f"{cut}. {fault}: {REMEDY}")
    if cut.total and choices.misaligned == "widen":
        found.notes.append(f"{fault}, widened to them (--misaligned): {cut}")
    elif cut.total:
        found.lost.append(f"{fault}, left out, without gold tags (--misaligned): {cut}")


def report_lost(
    found: Found,
    overlapping: FirstFew,
    renamed: dict[str, str],
    types: Counter[str],
    kept_types: set[str],
) -> None:
    """Note for the user what was annotated and is not in the tags.

    Args:
        renamed: labels that were written without blanks, and how.
        types: how many spans of each label the source has.
        kept_types: labels of which a span was kept.
    """
    if overlapping.total:
        found.lost.append(
            f"{count(overlapping.total, 'span')} left out, overlapping a longer one: {overlapping}"
        )
    for label in sorted(types.keys() - kept_types):
        found.lost.append(
            f"no span of the type {label!r} is left, of {types[label]:,}: it cannot be learned"
        )
    if renamed:
        pairs = ", ".join(f"{label!r} is {name}" for label, name in sorted(renamed.items()))
        found.notes.append(f"labels are written without blanks: {pairs}")


def find_marked(offsets: list[tuple[int, int]], span: Span) -> MarkedWords:
    """The words that a span touches.

    >>> find_marked([(0, 3), (4, 7)], Span(1, 4, "PER", "a.jsonl:1"))[:2]
    (0, 1)
    """
    first = bisect_right(offsets, span.start, key=lambda word: word[1])
    return MarkedWords(first, max(first, bisect_left(offsets, (span.end, -1))), span)


def _fault(text: str, offsets: list[tuple[int, int]], words: MarkedWords) -> str | None:
    """Why a span does not mark whole words; blanks at its ends are no reason."""
    first, end, span = words
    if first == end or span.start == span.end:
        return f"{_shown(text, span)} marks no word"
    if span.has_gap:
        return f"{_shown(text, span)} leaves out words between"
    for start, stop in (offsets[first], offsets[end - 1]):
        if start < span.start or span.end < stop:
            return f"{_shown(text, span)} cuts the word {shown(text[start:stop])}"
    return None


def _shown(text: str, span: Span, with_place: bool = True) -> str:
    place = f"{span.place}: " if with_place else ""
    where = f"{span.shift + span.start}-{span.shift + span.end}"
    return f"{place}{shown(text[span.start : span.end])} ({span.label}, {where})"


def keep_longest(
    marked: list[MarkedWords],
) -> tuple[list[MarkedWords], list[tuple[MarkedWords, MarkedWords]]]:
    """Keep the longest of the spans that share a word; of equally long ones, the first.

    The length is that in characters.

    Returns:
        The kept spans, in order; and every other span with the kept one that it overlaps, except
        spans that equal the kept one.
    """
    owners: dict[int, MarkedWords] = {}
    kept, others = [], []

    for words in sorted(marked, key=lambda words: words.span.start - words.span.end):
        longer = next((owners[at] for at in range(*words[:2]) if at in owners), None)
        if longer is None:
            kept.append(words)
            owners |= dict.fromkeys(range(*words[:2]), words)
        elif (*words[:2], words.span.label) != (*longer[:2], longer.span.label):
            others.append((words, longer))
    return sorted(kept), others
