"""Tag schemes of spans: detect, convert, read. Pure functions on lists of strings.

Everything inside works in IOB2; tags of other schemes are converted when they are read.
A tag is "O" or a prefix, a dash and a type ("B-PER"). The schemes write the spans "Ann Lee" and
"Bob", both PER and side by side, as

    IOB1   I-PER I-PER B-PER     B- only where a span follows one of its own type
    IOB2   B-PER I-PER B-PER     every span begins with B-
    IOBES  B-PER E-PER S-PER     the last word is E-, a lone word S-
    BILOU  B-PER L-PER U-PER     the same with L- and U-
    BMES   B-PER E-PER S-PER     as IOBES, words in the middle are M-; BMEWO writes W- for S-
    IO     PER   PER   PER       spans side by side cannot be told apart
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from tagloop.errors import InputError
from tagloop.tasks import PLAIN_TAGS
from tagloop.wording import shown

SCHEMES = ("IOB1", "IOB2", "IOBES", "BILOU", "BMES", "IO")
_PREFIXES = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMESW"}
_PREFIXES["IO"] = ""
_ALL_PREFIXES = "BIESLUMW"
# Of a sentence ("train[3]"), or a function from a word's index to the place of the word.
Place = str | Callable[[int], str]


def is_span_tag(tag: str) -> bool:
    """True for "B-PER" and the like in any scheme but IO; "O" is none."""
    return len(tag) > 2 and tag[0] in _ALL_PREFIXES and tag[1] == "-"


def _foreign(
    tag: str,
    prefixes: str,
    place: str,
    others: Counter[str] | None = None,
    *,
    may_be_io: bool = False,
) -> InputError:
    """The error about a tag that a scheme with these prefixes does not have, with the remedy.

    Args:
        others: how often each tag without a prefix is in the data, O among them; None: not known.
        may_be_io: no tag has a prefix.
    """
    known = "of the prefixes " + ", ".join(f"{letter}-" for letter in prefixes)
    wanted = f"none {known} with a type behind it" if prefixes else "a prefix, and IO has none"
    return InputError(
        f"{place + ': ' if place else ''}tag {shown(tag)} is not O and has {wanted}. "
        f"{_remedy(tag, others or Counter(), may_be_io=may_be_io)}"
    )


def _remedy(tag: str, others: Counter[str], *, may_be_io: bool) -> str:
    """What to do about a tag of no scheme; see `_foreign`."""
    commonest = max(others, key=lambda other: others[other], default="")
    if is_bracket(tag) or is_bracket(commonest):
        return (
            "These are the brackets of CoNLL-2012: (PERSON* opens a span, * goes on or is outside, "
            "*) closes it. Rewrite them as B-PERSON, I-PERSON and O, or name a column with such "
            "tags by --label_column_name."
        )
    if is_span_tag(tag):
        return "Leave --label_scheme out, and the scheme is found."
    if turned := _turned(tag):
        return f"Write {turned!r}: prefix, dash, type; plain tags of words need {PLAIN_TAGS}."
    if others and not others["O"] and commonest and 2 * others[commonest] >= others.total():
        return (
            f"No word is O, and {commonest!r} is the commonest tag without a prefix: if it says "
            "that a word is in no span, write the letter O instead; for plain tags of words use "
            f"{PLAIN_TAGS}."
        )
    remedy = f"Tags of spans need them (B-PER, I-PER); for plain tags of words use {PLAIN_TAGS}"
    if may_be_io and fits_io(others):
        return f"{remedy}, for types without prefixes (PER, O) --label_scheme IO."
    return f"{remedy}; another column may hold the tags (--label_column_name)."


def is_bracket(tag: str) -> bool:
    """True for a tag as CoNLL-2012 writes spans: (PERSON*, (GPE), *, *)."""
    return re.fullmatch(r"\(*[^()*]*\*?\)*", tag) is not None and bool({*tag} & {*"(*)"})


def _turned(tag: str) -> str | None:
    """The tag as the schemes write it, if only its mark, its order or its case differs.

    >>> _turned("B_PER"), _turned("PER-B"), _turned("b-per"), _turned("PER")
    ('B-PER', 'B-PER', 'B-per', None)
    """
    if match := re.fullmatch(r"([BIESLUMWbi])[-_:/|]([^-_:/|].*)", tag):
        return f"{match[1].upper()}-{match[2]}"
    if match := re.fullmatch(r"(..*)[-_:/|]([BIESLUMW])", tag):
        return f"{match[2]}-{match[1]}"
    return None


def fits_io(tags: Counter[str]) -> bool:
    """Whether tags without a prefix can be types of spans: some words are O, no tag is a mark."""
    types = tags.keys() - {"O"}
    are_named = not any(is_span_tag(t) or is_bracket(t) or not re.search(r"\w", t) for t in types)
    has_prefixes = any((_turned(tag) or "").startswith("B-") for tag in types)
    return tags["O"] > 0 and are_named and not has_prefixes


def _place_of(place: Place, index: int) -> str:
    if callable(place):
        return place(index)
    return f"{place} (word {index + 1})" if place else ""


class SchemeDetector:
    """Tells the scheme of a corpus from its tags, sentence by sentence, in constant memory.

    S- or E- means IOBES, L- or U- means BILOU. With only B-, I- and O, a span that opens with I-
    cannot be IOB2, and a B- that does not follow a span of its own type cannot be IOB1. (IOBES
    tags without one S- or E- hold no complete span, so B-, I- and O alone are never IOBES.)

    Real corpora have slips: the IOB1 training file of CoNLL-2003 opens 2 of its 23,499 spans with
    a B- after O. Up to 1 in `SLIPS` is taken for a slip, and `remark` tells the user of it.

    Tags without a prefix (PER) are of the scheme IO if no tag has one and at least half are O:
    where most words have a tag, the tags are likelier parts of speech.

    A word without a gold tag (None) is no O: what stands beside it proves no scheme.

    >>> detector = SchemeDetector()
    >>> detector.add(["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], place="train[0]")
    >>> detector.result()
    'IOB1'
    """

    SLIPS = 100

    def __init__(self, given: str | None = None) -> None:
        """`given`: the scheme of the user's choice; only IO is checked against the tags."""
        self._given = given
        self._counts: Counter[str] = Counter()  # scheme -> tags that only it explains
        self._first: dict[str, str] = {}  # scheme -> the first of them, and where it is
        self._plain: Counter[str] = Counter()  # O and tags without a prefix
        self._first_plain: tuple[str, str] | None = None  # the first but O, and where it is
        self._prefixed = False

    def add(self, tags: Sequence[str | None], place: Place) -> None:
        """Look at one sentence; `place` is for messages. None: a word without a gold tag."""
        previous: str | None = ""  # type of the span of the word before, None: unknown
        for index, tag in enumerate(tags):
            if tag is None:
                previous = None
            elif not is_span_tag(tag):
                self._plain[tag] += 1
                if tag != "O" and self._first_plain is None:
                    self._first_plain = tag, _place_of(place, index)
                previous = ""
            else:
                self._prefixed = True
                scheme = self._proven(tag, previous)
                previous = tag[2:]
                if scheme is not None:
                    self._counts[scheme] += 1
                    if scheme not in self._first:
                        self._first[scheme] = f"{tag} at {_place_of(place, index)}"

    @staticmethod
    def _proven(tag: str, previous: str | None) -> str | None:
        """The scheme that alone explains a tag behind a word of the type `previous`."""
        prefix, span_type = tag[0], tag[2:]
        if prefix in "MW":
            return "BMES"
        if prefix in "ES":
            return "IOBES"
        if prefix in "LU":
            return "BILOU"
        if previous is None or span_type == previous:
            return None  # a continuing I-, or a B- that both IOB1 and IOB2 would write
        return "IOB2" if prefix == "B" else "IOB1"

    def result(self) -> str:
        """The scheme of all sentences so far; "IOB2" when there are no spans at all.

        Raises:
            InputError: no scheme explains the tags.
        """
        if self._given not in (None, "IO"):
            return self._given
        if self._given == "IO":
            if self._first_plain is not None and not self._prefixed and not fits_io(self._plain):
                tag, place = self._first_plain
                remedy = _remedy(tag, self._plain, may_be_io=False)
                raise InputError(f"{place}: tag {tag!r} is no type of a span. {remedy}")
            return "IO"
        if self._first_plain is not None:
            return self._plain_scheme(*self._first_plain)
        counts, first = self._counts, self._first
        ended = "BMES" if counts["BMES"] else "IOBES"  # both have E- and S-
        if (counts["IOBES"] or counts["BMES"]) and counts["BILOU"]:
            raise InputError(
                f"the tags mix two schemes: {first[ended]} is {ended}, {first['BILOU']} is BILOU. "
                "Write all tags in one scheme."
            )
        if counts["IOBES"] or counts["BMES"]:
            return ended
        if counts["BILOU"]:
            return "BILOU"
        scheme, slip = self._iob_scheme_and_slip()
        if counts[slip] * self.SLIPS > counts[scheme]:
            raise InputError(
                f"the tags mix two schemes: {first['IOB2']} opens a span the IOB2 way (as do "
                f"{counts['IOB2']} tags), {first['IOB1']} the IOB1 way ({counts['IOB1']} tags). If "
                "they are meant as IOB2, give --label_scheme IOB2: an I- that continues nothing "
                "is then read as B-."
            )
        return scheme

    def _plain_scheme(self, tag: str, place: str) -> str:
        """IO, or an error about the first tag without a prefix."""
        types = Counter({tag: times for tag, times in self._plain.items() if tag != "O"})
        named = all(len(type_) > 1 and type_[1] != "-" for type_ in types)
        rare = types.total() <= self._plain["O"] > max(types.values())
        if self._prefixed or not named or not rare or not fits_io(self._plain):
            raise _foreign(tag, _ALL_PREFIXES, place, self._plain, may_be_io=not self._prefixed)
        return "IO"

    def remark(self) -> str | None:
        """A sentence about the tags that `result` took for slips; None if every tag fits."""
        result = self.result()
        if self._given is not None:
            return None
        if result == "IO":
            return "tags have no prefixes; read as IO, where spans side by side become one"
        scheme, slip = self._iob_scheme_and_slip()
        if result != scheme or not self._counts[slip]:
            return None
        return (
            f"tags are {scheme}, but {self._counts[slip]} do not fit, the first is "
            f"{self._first[slip]}; read as the start of a span"
        )

    def _iob_scheme_and_slip(self) -> tuple[str, str]:
        """The likelier of IOB2 and IOB1, and the other."""
        is_iob1 = self._counts["IOB1"] > self._counts["IOB2"]
        return ("IOB1", "IOB2") if is_iob1 else ("IOB2", "IOB1")


def to_iob2(tags: Sequence[str | None], scheme: str, *, place: Place = "") -> list[str | None]:
    """Rewrite the tags of a sentence in IOB2: exact for valid tags, lenient with others.

    An I-, E-, L- or M- that does not continue a span of its type begins one. None (a word without
    a gold tag) stays None. An I- behind None stays I- if the scheme opens every span with another
    prefix, because the span may have begun at the word without a gold tag.

    Args:
        place: of the sentence, for messages.

    Raises:
        InputError: a tag has a prefix that `scheme` does not have.

    >>> to_iob2(["I-PER", "I-PER", "B-PER", None, "I-PER"], "IOB1")
    ['B-PER', 'I-PER', 'B-PER', None, 'B-PER']
    >>> to_iob2(["B-PER", None, "I-PER"], "IOB2")
    ['B-PER', None, 'I-PER']
    """
    result: list[str | None] = []
    open_type: str | None = ""  # type of the span that the next word may continue, None: unknown
    for index, tag in enumerate(tags):
        if tag is None or tag == "O":
            open_type = None if tag is None else ""
            result.append(tag)
            continue
        if scheme == "IO" and not is_span_tag(tag):
            prefix, span_type = "I", tag
        else:
            prefix, span_type = tag[0], tag[2:]
            if not is_span_tag(tag) or prefix not in _PREFIXES[scheme]:
                raise _foreign(tag, _PREFIXES[scheme], _place_of(place, index))
        may_continue = (span_type,) if scheme in ("IOB1", "IO") else (span_type, None)
        continues = prefix in "IELM" and open_type in may_continue
        result.append(f"{'I' if continues else 'B'}-{span_type}")
        open_type = "" if prefix in "ESLUW" else span_type
    return result


def scheme_of_labels(labels: Sequence[str]) -> str | None:
    """The scheme of a model's labels, if its spans have ends of their own; None: IOB1 or IOB2.

    >>> scheme_of_labels(["O", "B-PER", "L-PER", "U-PER"]), scheme_of_labels(["O", "I-PER"])
    ('BILOU', None)
    """
    prefixes = {label[0] for label in labels if is_span_tag(label)}
    ends = {"BMES": "MW", "BILOU": "LU", "IOBES": "ES"}
    return next((scheme for scheme, letters in ends.items() if prefixes & {*letters}), None)


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first word, end exclusive, type) of every span in IOB2 or IOB1 tags, as conlleval reads.

    A span begins at a B-, and at an I- that does not continue a span of its type.

    >>> spans(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'ORG')]
    """
    result = []
    start, open_type = 0, None
    for index, tag in enumerate(tags):
        if tag != "O" and not (is_span_tag(tag) and tag[0] in "BI"):
            raise _foreign(tag, "BI", "")
        prefix, span_type = ("O", None) if tag == "O" else (tag[0], tag[2:])
        if prefix == "I" and span_type == open_type:
            continue
        if open_type is not None:
            result.append((start, index, open_type))
        start, open_type = index, span_type
    if open_type is not None:
        result.append((start, len(tags), open_type))
    return result


def illegal_transitions(tags: Sequence[str | None], scheme: str) -> list[tuple[int, str]]:
    """(word, what is wrong) wherever the tags of a sentence break the rules of their scheme.

    What stands beside a word without a gold tag (None) may be right. IO has no rules.

    >>> illegal_transitions(["O", "I-PER", "I-LOC"], "IOB2")
    [(1, 'I-PER after O continues nothing'), (2, 'I-LOC after I-PER continues nothing')]
    """
    faults: list[tuple[int, str]] = []
    previous: str | None = "O"
    for index, tag in enumerate([*tags, "O"] if scheme != "IO" else []):
        if tag not in (None, "O") and not (is_span_tag(tag) and tag[0] in _PREFIXES[scheme]):
            faults.append((index, f"{tag} is no tag of {scheme}"))
            tag = None
        if tag is not None and previous is not None and (rule := _broken(previous, tag, scheme)):
            before = previous if index else "the beginning"
            if rule == "has no end":
                after = tag if index < len(tags) else "the end"
                faults.append((min(index, len(tags) - 1), f"{previous} before {after} {rule}"))
            else:
                faults.append((index, f"{tag} after {before} {rule}"))
        previous = tag
    return faults


def _broken(previous: str, tag: str, scheme: str) -> str | None:
    """The rule that a tag breaks behind another; None: none. Beyond a sentence all tags are O."""
    closes = scheme in ("IOBES", "BILOU", "BMES")  # the last word of a span has a prefix of its own
    is_open = closes and previous[0] in "BIM"
    continues = previous != "O" and previous[2:] == tag[2:] and (is_open or not closes)
    if scheme == "IOB1":
        return "parts no spans" if tag[0] == "B" and not continues else None
    if tag[0] in "IMEL" and not continues:
        return "continues nothing"
    return "has no end" if is_open and tag[0] not in "IMEL" else None


def legal_transitions(labels: Sequence[str]) -> list[list[bool]]:
    """Which label of a model may stand behind which, by the rules of the labels' scheme.

    The scheme is that of `scheme_of_labels`; without one it is IOB2 or, if a type has an I- and no
    B-, IOB1. A label that marks no span is like O.

    Returns:
        For every label, and then for the beginning of a sentence, whether each label and then the
        end of the sentence may follow.

    >>> legal_transitions(["O", "B-PER", "I-PER"])[0], legal_transitions(["O", "I-PER"])[-1]
    ([True, True, False, True], [True, True, True])
    """
    types = {letter: {tag[2:] for tag in labels if tag[:2] == f"{letter}-"} for letter in "BI"}
    scheme = scheme_of_labels(labels) or ("IOB2" if types["I"] <= types["B"] else "IOB1")
    tags = [tag if is_span_tag(tag) else "O" for tag in [*labels, "O"]]
    return [[_broken(before, tag, scheme) is None for tag in tags] for before in tags]


def continuation(tag: str) -> str:
    """The IOB2 tag of a word's later sub-tokens, given the tag of its first.

    >>> continuation("B-PER"), continuation("I-PER"), continuation("O")
    ('I-PER', 'I-PER', 'O')
    """
    return f"I-{tag[2:]}" if tag.startswith("B-") else tag
