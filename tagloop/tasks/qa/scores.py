"""The scores of SQuAD 1.1 and 2.0, as its official scripts compute them, in percent.

Words are compared without case, ASCII punctuation and the English articles. Between texts without
spaces between words (Chinese, Japanese) F1 is therefore no better than the exact match.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """A text in the form in which answers are compared.

    >>> normalize("The  Norman's")
    'normans'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_of(gold: str, found: str) -> float:
    """1 if two answers are equal in the form in which they are compared, else 0."""
    return float(normalize(gold) == normalize(found))


def f1_of(gold: str, found: str, *, none_is_right: bool) -> float:
    """The harmonic mean of the shares of words that two answers have in common, 0 to 1.

    Args:
        none_is_right: the score of two answers without words is 1, as in the script of SQuAD 2.0;
            else it is 0, as in that of SQuAD 1.1.

    >>> f1_of("in 1066", "1066 AD", none_is_right=True)
    0.5
    """
    gold_words, words = normalize(gold).split(), normalize(found).split()
    if none_is_right and not (gold_words and words):
        return float(gold_words == words)
    same = sum((Counter(gold_words) & Counter(words)).values())
    if not same:
        return 0.0
    precision, recall = same / len(words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def scores_of_answers(
    golds: Sequence[Sequence[str]], found: Sequence[str], *, v2: bool
) -> dict[str, list[float]]:
    """`exact` and `f1` of every question, 0 to 1: the best over its gold answers, each by itself.

    Args:
        golds: the gold answers of every question; of a question without any the answer is "".
        found: the predicted answer of every question.
        v2: True scores as the script of SQuAD 2.0, which leaves out gold answers without words,
            False as that of SQuAD 1.1.
    """
    kept = [[text for text in gold if normalize(text) or not v2] or [""] for gold in golds]
    pairs = list(zip(kept, found, strict=True))
    return {
        "exact": [max(exact_of(one, text) for one in gold) for gold, text in pairs],
        "f1": [max(f1_of(one, text, none_is_right=v2) for one in gold) for gold, text in pairs],
    }


def scores_v1(golds: Sequence[Sequence[str]], found: Sequence[str]) -> dict[str, float]:
    """`exact_match` and `f1` of SQuAD 1.1, in percent.

    Args:
        golds: the gold answers of every question, at least one each.
        found: the predicted answer of every question.
    """
    values = scores_of_answers(golds, found, v2=False)
    return {"exact_match": _percent(values["exact"]), "f1": _percent(values["f1"])}


def scores_v2(
    golds: Sequence[Sequence[str]],
    found: Sequence[str],
    best: Sequence[str],
    null_odds: Sequence[float],
) -> dict[str, float]:
    """The scores of SQuAD 2.0, in percent, and the thresholds that would have been best.

    `HasAns_*` are of the questions that have gold answers, `NoAns_*` of the others; a group
    without questions has no scores. `best_exact` and `best_f1` are the scores with the best
    threshold on `null_odds`; a threshold is in the unit of the logits.

    Args:
        golds: the gold answers of every question, none for a question that has no answer.
        found: the predicted answer of every question, "" for none.
        best: the best text of every question, whatever speaks for none.
        null_odds: how much more speaks for no answer than for `best`.
    """
    values = scores_of_answers(golds, found, v2=True)
    groups = {"": list(range(len(golds)))}
    groups["HasAns_"] = [row for row, gold in enumerate(golds) if gold]
    groups["NoAns_"] = [row for row, gold in enumerate(golds) if not gold]
    result: dict[str, float] = {}
    for prefix, rows in groups.items():
        if len(rows):
            result[f"{prefix}exact"] = _percent([values["exact"][row] for row in rows])
            result[f"{prefix}f1"] = _percent([values["f1"][row] for row in rows])
            result[f"{prefix}total"] = len(rows)
    ungated = scores_of_answers(golds, best, v2=True)
    for name, each in ungated.items():
        score, threshold = find_best_threshold(golds, best, each, null_odds)
        result[f"best_{name}"] = 100.0 * score / len(golds)
        result[f"best_{name}_thresh"] = threshold
    return result


def find_best_threshold(
    golds: Sequence[Sequence[str]],
    best: Sequence[str],
    scores: Sequence[float],
    null_odds: Sequence[float],
) -> tuple[float, float]:
    """The best sum of scores, and the threshold on `null_odds` that gives it.

    A question is answered if its odds are not above the threshold. The search begins with no
    question answered, which the official script calls the threshold 0. Questions with equal odds
    are answered together, because no threshold parts them; the official script takes them one by
    one.

    Args:
        golds, best, null_odds: as in scores_v2.
        scores: the score of `best` of every question, 0 to 1.
    """
    current = top = float(sum(not gold for gold in golds))
    threshold = 0.0
    order = sorted(range(len(golds)), key=lambda row: null_odds[row])
    for position, row in enumerate(order):
        if golds[row]:
            current += scores[row]
        elif best[row]:
            current -= 1
        is_tied = position + 1 < len(order) and null_odds[order[position + 1]] == null_odds[row]
        if current > top and not is_tied:
            top, threshold = current, null_odds[row]
    return top, threshold


def _percent(values: Sequence[float]) -> float:
    return 100.0 * sum(values) / len(values)
