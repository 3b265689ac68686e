"""What --check_data says: facts, problems with their places, examples. Knows no task.

    report = Report()
    report.fact("train", "14,041 sentences")
    report.problem("labels unseen in training", "dev.conll:7: B-CITY")
    print(report.text(colour=False, most=None))

A task subclasses `Survey`, which reads row by row; it remembers a digest and the labels of every
row, to find the same one again.
"""

import hashlib
import json
import random
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tagloop.data.labels import labels_alike
from tagloop.data.storage.selection import select_rows
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.streams import visible

COLOURS = ("36", "33", "35", "32", "34", "31")  # cyan, yellow, magenta, green, blue, red
MOST_PROBLEMS = 10  # of a kind on a terminal; a file or a pipe gets all
RARE = 0.01  # of the sentences; problems that are rarer are in every corpus made by hand
NO_LEAK = 0.025  # of the words of a split; short sentences are the same in every text
REAL_LEAK = 20  # words; nobody writes a sentence that is longer twice
LOST = "annotated, and left out"  # a kind of problem
MOST_LABELS = 60  # in a table; where there are more, they are most likely words
DEFAULT_EXAMPLES = 3
SAYS_NOTHING = "splits that say nothing"  # a kind of problem
NO_TEXT = "characters that are no text"  # a kind of problem
# Control characters, a byte order mark inside of a file, and what a wrong decoding leaves.
CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffd]")

Piece = tuple[str, str | None]  # a part of a sentence, and the label that colours it


@dataclass
class Report:
    """What was found.

    Attributes:
        facts: (name, text) lines, in order.
        problems: the lines about every kind of problem; a line begins with its place in the data.
        remarks: the same for what is too rare to be a problem.
        examples: the place and the pieces of every sentence that is shown.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    remarks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    examples: list[tuple[str, list[Piece]]] = field(default_factory=list)

    @property
    def num_problems(self) -> int:
        """The number of problems of all kinds."""
        return sum(map(len, self.problems.values()))

    def fact(self, name: str, text: str) -> None:
        """Note a line; with an empty name it belongs to the line before."""
        self.facts.append((name, visible(text)))

    def problem(self, kind: str, line: str) -> None:
        """Note a problem."""
        self.problems[kind].append(visible(line))

    def pass_over(self, kind: str, why: str) -> None:
        """Make remarks of the problems of a kind, as they are too rare to matter."""
        self.remarks[f"{kind} ({why})"] = self.problems.pop(kind)

    def example(self, place: str, pieces: Sequence[Piece]) -> None:
        """Note a sentence to show."""
        self.examples.append((place, [(visible(text), label) for text, label in pieces]))

    def text(self, *, colour: bool, most: int | None) -> str:
        """The whole report.

        Args:
            colour: with the codes of a terminal; the text is the same.
            most: problems shown of a kind; None: all.
        """
        lines = [f"{name:<11} {text}".rstrip() for name, text in self.facts]
        labels = sorted({label for _, pieces in self.examples for _, label in pieces if label})
        codes = {label: COLOURS[at % len(COLOURS)] for at, label in enumerate(labels)}
        lines += ["", "examples"] if self.examples else []
        for place, pieces in self.examples:
            shown = [
                f"\x1b[{codes[label]}m{text}\x1b[0m" if colour and label else text
                for text, label in pieces
            ]
            lines += [f"  {place}", "    " + " ".join(shown)]
        for kind, problems in (*self.remarks.items(), *self.problems.items()):
            lines += ["", f"{kind}: {len(problems):,}", *(f"  {line}" for line in problems[:most])]
            if most is not None and len(problems) > most:
                lines.append(f"  ... and {len(problems) - most:,} more; `| less` gets them all")
        return "\n".join(lines)


def split_of_rows(totals: dict[str, int], config: Config) -> dict[str, np.ndarray]:
    """The split of the run that every stored row goes to.

    Args:
        totals: the number of rows of every stored split.

    Returns:
        For every stored split an array of strings, [num_rows]; "" for a row that no split uses.
    """
    splits = {stored: np.full(total, "", dtype="U10") for stored, total in totals.items()}
    for split, (stored, rows) in select_rows(totals, config).items():
        splits[stored][rows] = split
    return splits


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a sentence, for a line about it."""
    return text if len(text) <= most else text[: most - 4].rpartition(" ")[0] + " ..."


def decoded_twice(text: str) -> str | None:
    """The text whose UTF-8 was read as cp1252 or latin1; None if it is none.

    >>> decoded_twice("JÃ¼rgen"), decoded_twice("Jürgen")
    ('Jürgen', None)
    """
    if text.isascii():
        return None
    for encoding in ("cp1252", "latin1"):
        try:
            return text.encode(encoding).decode()
        except UnicodeError:
            continue
    return None


class FirstSight(NamedTuple):
    """A row with a new text. Later rows with the same text are compared with it."""

    split: str
    place: str
    labels: tuple


class Repeats:
    """Finds a row whose text was there before.

    >>> repeats = Repeats()
    >>> repeats.first(["Ann"], FirstSight("train", "a:1", ("O",)))
    >>> repeats.first(["Ann"], FirstSight("test", "b:9", ("O",))).place
    'a:1'
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, FirstSight] = {}

    def first(self, text: Any, seen: FirstSight) -> FirstSight | None:
        """The first row with this text (anything that JSON can hold), None if it is this one."""
        digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=16).digest()
        first = self._seen.setdefault(digest, seen)
        return None if first is seen else first


class RandomSample:
    """Draws `number` of the rows that it is shown; every row has the same chance."""

    def __init__(self, number: int, seed: int):
        self.rows: list[Any] = []
        self._number, self._shown, self._random = number, 0, random.Random(seed)

    def show(self, row: Any) -> None:
        """Keep the row with the probability of a fair draw; it may replace an earlier one."""
        self._shown += 1
        if len(self.rows) < self._number:
            self.rows.append(row)
        elif (at := self._random.randrange(self._shown)) < self._number:
            self.rows[at] = row


class Labels:
    """How often each label is in every split, and where it stands for the first time."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.places: dict[tuple[str, str], str] = {}

    def add(self, split: str, label: str, place: str) -> None:
        """Count a label of a split; `place` is where it stands."""
        self.counts[split][label] += 1
        self.places.setdefault((split, label), place)

    def report_to(self, report: Report, splits: Sequence[str]) -> None:
        """Note a table with a column for every split, and the labels that training never shows."""
        labels = sorted(set().union(*(self.counts[split] for split in splits)))
        width = min(max((len(label) for label in labels), default=0), 30)
        report.fact("labels", f"{'':<{width}}" + "".join(f"{split:>12}" for split in splits))
        for label in labels[:MOST_LABELS]:
            cells = "".join(f"{self.counts[split][label]:>12,}" for split in splits)
            report.fact("", f"{label:<{width}}{cells}")
        if labels[MOST_LABELS:]:
            report.fact("", f"... and {len(labels) - MOST_LABELS:,} more")
        for split in splits:
            for label in sorted(set(self.counts[split]) - set(self.counts.get("train", labels))):
                times = self.counts[split][label]
                report.problem(
                    "labels unseen in training, which no model can learn",
                    f"{self.places[split, label]}: {label}, {times:,} times in {split}",
                )


@dataclass
class SplitCounts:
    """What was counted in one split.

    Attributes:
        rows: of the split.
        without_label: rows, or parts of rows, that have no label.
        repeated: rows with the same text and labels as a row before in this split.
        length: words of all rows.
        leaked: words of each row whose text is in a split before.
        sub_tokens: number of sub-tokens of every row, if there is a tokenizer.
    """

    rows: int = 0
    without_label: int = 0
    repeated: int = 0
    length: int = 0
    leaked: list[int] = field(default_factory=list)
    sub_tokens: array = field(default_factory=lambda: array("i"))


class Survey:
    """--check_data of a task: two passes over the rows, and the report on them.

    The first pass finds out how many rows can be read, the second looks at those that a run would
    use. A task writes a subclass with its wording and the methods that raise NotImplementedError.

    Attributes:
        no_rows, no_labels: what is wrong with a split that has none.
        in_two_splits, in_two_ways: problems with a text that is there twice.
        between: what stands between the texts of a row in a message.
        slips: kinds of problems that do not count where they are rare.
        counts_type: the class of what is counted in a split.
    """

    no_rows: str
    no_labels: str
    in_two_splits: str
    in_two_ways: str
    between: str
    slips: tuple[str, ...] = ()
    counts_type = SplitCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        self.config, self.sources, self.notes = config, sources, notes
        self.report = Report()
        self.totals: dict[str, int] = {}  # rows by split as stored
        self.counts: dict[str, SplitCounts] = {}  # by split of the run
        self.labels, self.repeats = Labels(), Repeats()
        number = DEFAULT_EXAMPLES if config.show_examples is None else config.show_examples
        self.sample = RandomSample(number, config.seed)

    def run(self) -> Report:
        """Both passes, and everything that can be said of the data without a model."""
        self.read_splits()
        self.prepare()
        self.look_at_rows()
        self.weigh_problems()
        for split, counts in self.counts.items():
            self.report_split(split, counts)
        self.report_labels()
        for row in self.sample.rows:
            self.report_example(row)
        for note in self.notes:
            self.report.fact("note", note)
        return self.report

    # --- what a task writes ---

    def rows(self, split: str) -> Iterator[Any]:
        """The rows of a split as stored, from the first one on; each has a `place`."""
        raise NotImplementedError

    def texts_of(self, row: Any) -> list[str]:
        """The texts of a row. Rows with equal texts count as the same row."""
        raise NotImplementedError

    def labels_of(self, row: Any) -> Sequence[str | None]:
        """The labels of a row, None where there is none; rows of equal text have equally many."""
        raise NotImplementedError

    def read_split(self, split: str) -> tuple[int, bool]:
        """The first pass over a split: the number of rows, and whether any has a label.

        Raises:
            InputError: the split cannot be read.
        """
        raise NotImplementedError

    def prepare(self) -> None:
        """Load what the second pass needs. This is called between the passes."""

    def look_at(self, stored: str, split: str, counts: Any, row: Any) -> None:
        """Look at a row in the second pass.

        Args:
            stored: the split that the row is stored in.
            split: the split of the run that the row goes to; `counts` are those of this split.
        """
        raise NotImplementedError

    def contradiction(self, row: Any, at: int, first: FirstSight) -> str:
        """The message about a row whose label number `at` differs from that of the first row."""
        raise NotImplementedError

    def report_split(self, split: str, counts: Any) -> None:
        """Note the facts of a split."""
        raise NotImplementedError

    def report_example(self, row: Any) -> None:
        """Note an example that was drawn from the rows that `look_at` has shown to the sample."""
        raise NotImplementedError

    # --- what all tasks have in common ---

    def read_splits(self) -> None:
        """Make the first pass. A split that cannot be read, or says nothing, is a problem."""
        for split in self.sources:
            try:
                total, has_labels = self.read_split(split)
            except InputError as error:
                self.report.problem(f"{split}: cannot be read", str(error))
                continue
            if total:
                self.totals[split] = total
            if not total or (not has_labels and split != "predict"):
                fault = self.no_labels if total else self.no_rows
                self.report.problem(SAYS_NOTHING, f"{self.name_of(split)}: {fault}"[:500])

    def name_of(self, split: str) -> str:
        """How messages name a split."""
        return split

    def look_at_rows(self) -> None:
        """Make the second pass, over the rows that a run would use."""
        split_of = split_of_rows(self.totals, self.config)
        for stored in self.totals:
            for split, row in zip(map(str, split_of[stored]), self.rows(stored), strict=True):
                if split:
                    counts = self.counts.setdefault(split, self.counts_type())
                    counts.rows += 1
                    self.look_at(stored, split, counts, row)
                    self._check_characters(row)

    def _check_characters(self, row: Any) -> None:
        """Name the first character of a row that no text has, or that was decoded twice."""
        for text in self.texts_of(row):
            if found := CONTROLS.search(text):
                shown = ascii(text[max(found.start() - 10, 0) : found.end() + 20])
                self.report.problem(NO_TEXT, f"{row.place}: {found[0]!a} in {shown}")
                return
            if decoded := decoded_twice(text):
                pairs = enumerate(zip(text, decoded, strict=False))
                first = next((at for at, (one, two) in pairs if one != two), 0)
                own, other = (each[max(first - 20, 0) : first + 40] for each in (text, decoded))
                line = f"{row.place}: {own!r} is most likely {other!r}"
                self.report.problem("UTF-8 that was read as another encoding", line)
                return

    def compare(self, split: str, counts: SplitCounts, row: Any) -> None:
        """Compare a row with the first row of the same text."""
        texts, labels = self.texts_of(row), tuple(self.labels_of(row))
        length = sum(len(text.split()) for text in texts)
        counts.length += length
        first = self.repeats.first(texts, FirstSight(split, row.place, labels))
        if first is None:
            return
        pairs = enumerate(zip(first.labels, labels, strict=True))
        others = [at for at, (old, new) in pairs if old != new and None not in (old, new)]
        text = shortened(self.between.join(texts))
        if first.split != split:
            places = f"{row.place} ({split}): as {first.place} ({first.split})"
            self.report.problem(self.in_two_splits, f"{places}: {text}")
            counts.leaked.append(length)
        if others:
            line = self.contradiction(row, others[0], first)
            self.report.problem(self.in_two_ways, f"{line}: {text}")
        elif first.split == split:
            counts.repeated += 1

    def weigh_problems(self) -> None:
        """Pass over what every corpus made by hand has: short texts twice, and rare slips."""
        rows = sum(counts.rows for counts in self.counts.values())
        for kind in (self.in_two_ways, NO_TEXT, *self.slips):
            if 0 < len(self.report.problems.get(kind, ())) <= RARE * rows:
                self.report.pass_over(kind, f"in less than {RARE:.0%} of {rows:,}")
        leaks = [counts for counts in self.counts.values() if counts.leaked]
        shares = [sum(counts.leaked) / max(counts.length, 1) for counts in leaks]
        if leaks and max(shares) <= NO_LEAK:
            longest = max(max(counts.leaked) for counts in leaks)
            if longest <= REAL_LEAK:
                self.report.pass_over(
                    self.in_two_splits,
                    f"no leak: at most {longest} words long, {max(shares):.1%} of a split's words",
                )

    def report_labels(self) -> None:
        """Note how often each label is there, and labels that look alike."""
        self.labels.report_to(self.report, [split for split in self.counts if split != "predict"])
        for line in labels_alike(self.labels.counts):
            self.report.problem("labels that look alike", line)
