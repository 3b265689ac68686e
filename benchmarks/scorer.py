"""The one scorer of scores.py, for the predictions of every system; it shares no code with tagloop.

Spans are those that seqeval finds in the tags, which are the spans of the conlleval script. A
predicted span is right if a gold span has the same first word, last word and type.
"""

from collections import Counter

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities


def count_spans(gold: list[list[str]], predicted: list[list[str | None]]) -> np.ndarray:
    """Count right, predicted and gold spans of every sentence.

    Args:
        gold: IOB2 tags.
        predicted: tags of the same words; None for a word without a prediction, which counts as O.

    Returns:
        int64 [num_sentences, 3].

    >>> gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O"]]
    >>> count_spans(gold, [["B-PER", "I-PER", "O", None], ["I-LOC"]]).tolist()
    [[1, 1, 2], [0, 1, 0]]
    """
    counts = []
    for one, other in zip(gold, predicted, strict=True):
        require_same_length(one, other)
        right, found = set(get_entities(one)), set(get_entities([tag or "O" for tag in other]))
        counts.append((len(right & found), len(found), len(right)))
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def count_words(gold: list[list[str]], predicted: list[list[str | None]]) -> np.ndarray:
    """The same for tags of words: each word is a span, so that F1 is the accuracy.

    >>> count_words([["NOUN", "VERB"]], [["NOUN", None]]).tolist()
    [[1, 2, 2]]
    """
    counts = []
    for one, other in zip(gold, predicted, strict=True):
        require_same_length(one, other)
        right = sum(tag == wanted for tag, wanted in zip(other, one, strict=True))
        counts.append((right, len(one), len(one)))
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def recall_by_type(gold: list[list[str]], predicted: list[list[str | None]]) -> dict[str, float]:
    """The share of the gold spans of every type that were found, the most frequent type first.

    >>> recall_by_type([["B-PER", "B-LOC", "B-PER"]], [["B-PER", "O", "B-LOC"]])
    {'PER': 0.5, 'LOC': 0.0}
    """
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for one, other in zip(gold, predicted, strict=True):
        require_same_length(one, other)
        right = set(get_entities(one))
        wanted.update(kind for kind, *_ in right)
        found.update(kind for kind, *_ in right & set(get_entities([tag or "O" for tag in other])))
    return {kind: found[kind] / number for kind, number in wanted.most_common()}


def require_same_length(gold: list, predicted: list) -> None:
    """A prediction must stand for each word."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(predicted)} predictions for a sentence of {len(gold)} words")


def f1_of(counts: np.ndarray) -> float:
    """F1 of all sentences, from their counts [num_sentences, 3].

    >>> f1_of(np.array([[1, 1, 2], [0, 1, 0]]))
    0.5
    """
    right, predicted, gold = counts.sum(0).tolist()
    return 2 * right / (predicted + gold) if predicted + gold else 0.0
