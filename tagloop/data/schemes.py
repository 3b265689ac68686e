"""Tag schemes of spans: detect, convert, read. Pure functions on lists of strings.

Everything inside works in IOB2; other schemes are converted on the way in and on the way out.
A tag is "O" or a prefix, a dash and a type ("B-PER"). The schemes write the spans "Ann Lee" and
"Bob", both PER and side by side, as

    IOB1   I-PER I-PER B-PER     B- only where a span follows one of its own type
    IOB2   B-PER I-PER B-PER     every span begins with B-
    IOBES  B-PER E-PER S-PER     the last word is E-, a lone word S-
    BILOU  B-PER L-PER U-PER     the same with L- and U-
"""

from collections import Counter
from collections.abc import Sequence

from tagloop.errors import InputError

SCHEMES = ("IOB1", "IOB2", "IOBES", "BILOU")
_PREFIXES = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES", "BILOU": "BILU"}


def _split_tag(tag: str, prefixes: str, place: str) -> tuple[str, str]:
    """("B", "PER") of "B-PER"; an error for anything that is not a span tag."""
    prefix, _, span_type = tag.partition("-")
    if len(prefix) == 1 and prefix in prefixes and span_type:
        return prefix, span_type
    known = ", ".join(f"{letter}-" for letter in prefixes)
    raise InputError(
        f"{place + ': ' if place else ''}tag {tag!r} is not O and has none of the prefixes {known} "
        "with a type behind it. Tags of spans need them (B-PER, I-PER); for plain tags of words "
        "use --task_name pos."
    )


class SchemeDetector:
    """Tells the scheme of a corpus from its tags, sentence by sentence, in constant memory.

    S- or E- means IOBES, L- or U- means BILOU. With only B-, I- and O, a span that opens with I-
    cannot be IOB2, and a B- that does not follow a span of its own type cannot be IOB1. (IOBES
    tags without one S- or E- hold no complete span, so B-, I- and O alone are never IOBES.)

    Real corpora have slips: the IOB1 training file of CoNLL-2003 opens 2 of its 23,499 spans with
    a B- after O. Up to 1 in `SLIPS` is taken for that, and told by `remark`.

    >>> detector = SchemeDetector()
    >>> detector.add(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], place="train[0]")
    >>> detector.result()
    'IOB1'
    """

    SLIPS = 100

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()  # scheme -> tags that only it explains
        self._first: dict[str, str] = {}  # scheme -> the first of them, and where it is

    def add(self, tags: Sequence[str | None], place: str) -> None:
        """Look at one sentence; `place` ("train.conll:12") is for messages. None counts as O."""
        previous = None  # type of the span that the word before belongs to
        for number, tag in enumerate(tags, start=1):
            if tag is None or tag == "O":
                previous = None
                continue
            prefix, span_type = _split_tag(tag, "BIESLU", place)
            if prefix in "ES":
                scheme = "IOBES"
            elif prefix in "LU":
                scheme = "BILOU"
            elif span_type == previous:
                scheme = None  # a continuing I-, or a B- that both IOB1 and IOB2 would write
            else:
                scheme = "IOB2" if prefix == "B" else "IOB1"
            previous = span_type
            if scheme is not None:
                self._counts[scheme] += 1
                self._first.setdefault(scheme, f"{tag} at {place} (word {number})")

    def result(self) -> str:
        """The scheme of all sentences so far; "IOB2" when there are no spans at all."""
        counts, first = self._counts, self._first
        if counts["IOBES"] and counts["BILOU"]:
            raise InputError(
                f"the tags mix two schemes: {first['IOBES']} is IOBES, {first['BILOU']} is BILOU. "
                "Write all tags in one scheme."
            )
        if counts["IOBES"] or counts["BILOU"]:
            return "IOBES" if counts["IOBES"] else "BILOU"
        scheme, slip = self._iob_scheme_and_slip()
        if counts[slip] * self.SLIPS > counts[scheme]:
            raise InputError(
                f"the tags mix two schemes: {first['IOB2']} opens a span the IOB2 way (as do "
                f"{counts['IOB2']} tags), {first['IOB1']} the IOB1 way ({counts['IOB1']} tags). If "
                "they are meant as IOB2, give --label_scheme IOB2: an I- that continues nothing "
                "is then read as B-."
            )
        return scheme

    def remark(self) -> str | None:
        """What `result` passed over as slips, for the log; None when every tag fits."""
        scheme, slip = self._iob_scheme_and_slip()
        if self.result() != scheme or not self._counts[slip]:
            return None
        return (
            f"tags are {scheme}, but {self._counts[slip]} do not fit, the first is "
            f"{self._first[slip]}; read as the start of a span"
        )

    def _iob_scheme_and_slip(self) -> tuple[str, str]:
        """The likelier of IOB2 and IOB1, and the other."""
        is_iob1 = self._counts["IOB1"] > self._counts["IOB2"]
        return ("IOB1", "IOB2") if is_iob1 else ("IOB2", "IOB1")


def to_iob2(tags: Sequence[str | None], scheme: str, *, place: str = "") -> list[str | None]:
    """Rewrite the tags of a sentence in IOB2: exact for valid tags, lenient with others.

    An I-, E- or L- that does not continue a span of its type begins one. None (a word without a
    tag) stays None and ends a span. A prefix that `scheme` does not have is an InputError, which
    `place` helps to find.

    >>> to_iob2(["I-PER", "I-PER", "B-PER", None, "I-PER"], "IOB1")
    ['B-PER', 'I-PER', 'B-PER', None, 'B-PER']
    """
    prefixes = _PREFIXES[scheme]
    result: list[str | None] = []
    open_type = None  # type of the span that the next word may continue
    for tag in tags:
        if tag is None or tag == "O":
            open_type = None
            result.append(tag)
            continue
        prefix, span_type = _split_tag(tag, prefixes, place)
        continues = prefix in "IEL" and span_type == open_type
        result.append(f"{'I' if continues else 'B'}-{span_type}")
        open_type = None if prefix in "ESLU" else span_type
    return result


def from_iob2(tags: Sequence[str], scheme: str) -> list[str]:
    """Rewrite the IOB2 tags of a sentence in another scheme. Reads like `spans`.

    >>> from_iob2(["B-PER", "I-PER", "B-PER", "O"], "BILOU")
    ['B-PER', 'L-PER', 'U-PER', 'O']
    """
    first, last, lone = {
        "IOB1": ("I", "I", "I"),
        "IOB2": ("B", "I", "B"),
        "IOBES": ("B", "E", "S"),
        "BILOU": ("B", "L", "U"),
    }[scheme]
    result = ["O"] * len(tags)
    span_before = (0, 0, "")
    for span in spans(tags):
        start, end, span_type = span
        marks = [lone] if end - start == 1 else [first, *"I" * (end - start - 2), last]
        if scheme == "IOB1" and span_before[1:] == (start, span_type):
            marks[0] = "B"
        result[start:end] = [f"{mark}-{span_type}" for mark in marks]
        span_before = span
    return result


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first word, end exclusive, type) of every span in IOB2 or IOB1 tags, as conlleval reads.

    A span begins at a B-, and at an I- that does not continue a span of its type.

    >>> spans(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'ORG')]
    """
    result = []
    start, open_type = 0, None
    for index, tag in enumerate(tags):
        prefix, span_type = ("O", None) if tag == "O" else _split_tag(tag, "BI", "")
        if prefix == "I" and span_type == open_type:
            continue
        if open_type is not None:
            result.append((start, index, open_type))
        start, open_type = index, span_type
    if open_type is not None:
        result.append((start, len(tags), open_type))
    return result


def continuation(tag: str) -> str:
    """The IOB2 tag of a word's later sub-tokens, given the tag of its first.

    >>> continuation("B-PER"), continuation("I-PER"), continuation("O")
    ('I-PER', 'I-PER', 'O')
    """
    return f"I-{tag[2:]}" if tag.startswith("B-") else tag
