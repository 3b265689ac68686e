"""Gold and predicted spans of sentences: counted, paired, sorted into kinds of errors. Pure.

A span is (first word, end exclusive, type). A word with a tag of its own is a span of one word, the
class of a text is a span over all its words, so every kind of task is counted in the same way.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[int, int, str]
NOTHING = "–"  # in the place of a type: nothing was there, or nothing was found
OTHER_WORDS = "other words"  # in the place of a predicted type: the right one, of other words
# Kinds of errors, and what is wrong about them.
KINDS = {
    "type": "right words, wrong type",
    "boundary": "right type, other words",
    "both": "an overlap, but wrong type",
    "missed": "nothing was found there",
    "spurious": "nothing is there",
}


@dataclass(frozen=True)
class Sentence:
    """What stands in the data and what the model said."""

    words: list[str]
    gold: list[Span]
    predicted: list[Span]


def surface(sentence: Sentence, span: Span) -> str:
    """The words of a span."""
    return " ".join(sentence.words[span[0] : span[1]])


def count_by(
    sentences: Sequence[Sentence], key: Callable[[Sentence, Span], str], groups: Sequence[str]
) -> np.ndarray:
    """Right, predicted and gold spans of every sentence in every group.

    Args:
        key: (sentence, span) -> its group; the same for a gold span and an equal predicted one.

    Returns:
        int32 [num_sentences, num_groups, 3].
    """
    place = {group: index for index, group in enumerate(groups)}
    counts = np.zeros((len(sentences), len(groups), 3), dtype=np.int32)
    for row, sentence in enumerate(sentences):
        right = {*sentence.gold}.intersection(sentence.predicted)
        for column, spans in enumerate((right, sentence.predicted, sentence.gold)):
            for span in spans:
                counts[row, place[key(sentence, span)], column] += 1
    return counts


def types_of(sentences: Iterable[Sentence]) -> list[str]:
    """All types on either side, those with most gold spans first."""
    number: Counter[str] = Counter()
    for sentence in sentences:
        number.update(span[2] for span in sentence.gold)
        number.update({span[2]: 0 for span in sentence.predicted})
    return sorted(number, key=lambda name: (-number[name], name))


def pair_up(sentence: Sentence) -> list[tuple[Span | None, Span | None]]:
    """Each gold span with the predicted span that was meant for it, each at most once.

    An overlap of the same type comes first, then any overlap (spans of one side share no word, so
    equal ones always meet); what is left stands alone, beside None. So every span counts once.

    >>> pair_up(Sentence(list("abc"), [(0, 2, "PER")], [(1, 2, "PER"), (2, 3, "ORG")]))
    [((0, 2, 'PER'), (1, 2, 'PER')), (None, (2, 3, 'ORG'))]
    """
    gold, predicted = dict.fromkeys(sentence.gold), dict.fromkeys(sentence.predicted)
    pairs: list[tuple[Span | None, Span | None]] = []
    if sentence.gold == sentence.predicted:
        return [(span, span) for span in sentence.gold]

    def take(fit: Callable[[Span, Span], bool]) -> None:
        for one in list(gold):
            other = next((span for span in predicted if fit(one, span)), None)
            if other is not None:
                pairs.append((one, other))
                del gold[one], predicted[other]

    take(lambda one, other: one[2] == other[2] and _overlap(one, other))
    take(_overlap)
    pairs += [(span, None) for span in gold] + [(None, span) for span in predicted]
    return pairs


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def kind_of(gold: Span | None, predicted: Span | None) -> str | None:
    """Which kind of error a pair is; None if it is right."""
    if gold == predicted:
        return None
    if gold is None:
        return "spurious"
    if predicted is None:
        return "missed"
    if gold[:2] == predicted[:2]:
        return "type"
    return "boundary" if gold[2] == predicted[2] else "both"


def confusion(sentences: Iterable[Sentence]) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """How often a (gold type, predicted type) was paired, and how often every kind of error was.

    A pair of one type is (type, type) if its words are the same, else (type, OTHER_WORDS): so the
    pairs of equal types are the right spans, and no others.
    """
    types: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for sentence in sentences:
        for gold, predicted in pair_up(sentence):
            kind = kind_of(gold, predicted)
            found = OTHER_WORDS if kind == "boundary" else predicted[2] if predicted else NOTHING
            types[gold[2] if gold else NOTHING, found] += 1
            if kind:
                kinds[kind] += 1
    return types, kinds


def errors_of(sentence: Sentence) -> int:
    """How many spans of a sentence are wrong, each pair counted once."""
    if sentence.gold == sentence.predicted:
        return 0
    return sum(kind_of(*pair) is not None for pair in pair_up(sentence))


SEEN = ("seen, this type", "seen, other types", "not seen")


def seen_key(training: Mapping[str, set[str]]) -> Callable[[Sentence, Span], str]:
    """Group a span by whether the training data has its words as a span, and of which types.

    Args:
        training: the words of a span -> its types there.
    """

    def key(sentence: Sentence, span: Span) -> str:
        types = training.get(surface(sentence, span))
        return SEEN[2] if types is None else SEEN[0] if span[2] in types else SEEN[1]

    return key


def bucket(length: int, edges: Sequence[int]) -> str:
    """The range between edges that a length lies in.

    >>> bucket(7, (1, 6, 11)), bucket(1, (1, 2, 3)), bucket(30, (1, 6, 11))
    ('6–10', '1', '11+')
    """
    for low, above in itertools.pairwise(edges):
        if length < above:
            return str(low) if above == low + 1 else f"{low}–{above - 1}"
    return f"{edges[-1]}+"


def buckets(edges: Sequence[int]) -> list[str]:
    """All ranges that `bucket` answers."""
    return [bucket(edge, edges) for edge in edges]
