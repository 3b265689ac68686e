"""Counts and pairs gold and predicted spans of sentences, and sorts errors into kinds.

A span is (first word, end exclusive, type). For parts of speech every word is a span, and for
texts the class is a span over all words. So the spans of all tasks are counted in the same way.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[int, int, str]
NOTHING = "–"  # It stands in place of a type if one side of a pair has no span.
OTHER_WORDS = "other words"  # It stands for a predicted span with the right type, but other words.
# The kinds of errors, each with an explanation.
KINDS = {
    "type": "right words, wrong type",
    "boundary": "right type, other words",
    "both": "an overlap, but wrong type",
    "missed": "nothing was found there",
    "spurious": "nothing is there",
}


@dataclass(frozen=True)
class Sentence:
    """The words of a sentence, with its gold spans and its predicted spans."""

    words: list[str]
    gold: list[Span]
    predicted: list[Span]


def surface(sentence: Sentence, span: Span) -> str:
    """The words of a span, joined by spaces."""
    return " ".join(sentence.words[span[0] : span[1]])


def count_by(
    sentences: Sequence[Sentence], key: Callable[[Sentence, Span], str], groups: Sequence[str]
) -> np.ndarray:
    """Count right, predicted and gold spans of every sentence in every group.

    Args:
        key: returns the group of a span of a sentence. A gold span and an equal predicted span
            must have the same group.
        groups: the names of all groups.

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
    """All types of gold and predicted spans; a type with more gold spans comes earlier."""
    number: Counter[str] = Counter()
    for sentence in sentences:
        number.update(span[2] for span in sentence.gold)
        number.update({span[2]: 0 for span in sentence.predicted})
    return sorted(number, key=lambda name: (-number[name], name))


def pair_up(sentence: Sentence) -> list[tuple[Span | None, Span | None]]:
    """Pair each gold span with a predicted span that overlaps it; every span is in one pair.

    Spans of the same type are paired first, then spans of different types. Equal spans always meet,
    because spans of one side share no words. A span without a partner is paired with None.

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
    """The kind of error of a pair, a key of KINDS; None if the predicted span is right."""
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
    """Count the pairs of (gold type, predicted type), and the kinds of errors.

    A pair of spans with the same type counts as (type, type) only if the words are the same, too.
    If the words differ, it counts as (type, OTHER_WORDS).

    Returns:
        The counts of pairs of types, and the counts of kinds of errors.
    """
    types: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for sentence in sentences:
        for gold, predicted in pair_up(sentence):
            kind = kind_of(gold, predicted)
            predicted_type = (
                OTHER_WORDS if kind == "boundary" else predicted[2] if predicted else NOTHING
            )
            types[gold[2] if gold else NOTHING, predicted_type] += 1
            if kind:
                kinds[kind] += 1
    return types, kinds


def errors_of(sentence: Sentence) -> int:
    """The number of errors in a sentence; a pair of spans is at most one error."""
    if sentence.gold == sentence.predicted:
        return 0
    return sum(kind_of(*pair) is not None for pair in pair_up(sentence))


SEEN = ("seen, this type", "seen, other types", "not seen")


def seen_key(training: Mapping[str, set[str]]) -> Callable[[Sentence, Span], str]:
    """A key for `count_by`: groups spans by the types that their words have in the training data.

    Args:
        training: for the words of every span in the training data, its types there.

    Returns:
        A function that returns one of SEEN for a span of a sentence.
    """

    def key(sentence: Sentence, span: Span) -> str:
        types = training.get(surface(sentence, span))
        return SEEN[2] if types is None else SEEN[0] if span[2] in types else SEEN[1]

    return key


def bucket(length: int, edges: Sequence[int]) -> str:
    """The name of the range between two edges in which a length lies.

    >>> bucket(7, (1, 6, 11)), bucket(1, (1, 2, 3)), bucket(30, (1, 6, 11))
    ('6–10', '1', '11+')
    """
    for low, above in itertools.pairwise(edges):
        if length < above:
            return str(low) if above == low + 1 else f"{low}–{above - 1}"
    return f"{edges[-1]}+"


def buckets(edges: Sequence[int]) -> list[str]:
    """The names of all ranges that `bucket` returns."""
    return [bucket(edge, edges) for edge in edges]
