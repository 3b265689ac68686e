"""The section of a comparison that tests groups of runs against the first one, type by type."""

from collections.abc import Sequence

import numpy as np

from tagloop.pages.answers import Answers
from tagloop.pages.page import Section, Table
from tagloop.pages.seed_tests import holm, least_p, permutation_p
from tagloop.pages.sentences import count_by, types_of
from tagloop.pages.statistics import compare, scores_of

MOST_TESTED = 20  # types; the test of one takes up to a second


def group_tests(names: Sequence[str], groups: Sequence[Sequence[Answers]]) -> Section:
    """The section with a table for every group after the first: all spans, then every type.

    Args:
        names: the name of every group.
        groups: the answers of the runs of every group, on the same sentences.

    Returns:
        A section without blocks if there is one group, or if the task has no spans.
    """
    first = groups[0][0]
    if len(groups) < 2 or first.score is None:
        return Section("By type, tested")
    types = types_of(one for group in groups for run in group for one in run.sentences)
    shown = types[:MOST_TESTED]
    counts = [_counts(group, types) for group in groups]
    tables = [
        _table(names, shown, [counts[0], counts[number]], number)
        for number in range(1, len(groups))
    ]
    text = (
        f"{first.score} and its difference to {names[0]}, tested as in the section Scores, for "
        "every type alone. The p of the types are raised as Holm says, as they are read together."
    )
    if any(len(group) > 1 for group in groups):
        text += " ± is the standard deviation over the seeds of a group."
    if sum(len(group) > 1 for group in groups) > 1:
        text += (
            " The p of the sentences speaks of other sentences. The p of the seeds speaks of other "
            "seeds: it is the share of all divisions of the seeds into two such groups that differ "
            "as much (a permutation test)."
        )
    if len(shown) < len(types):
        text += f" The {len(shown)} most frequent of {len(types)} types."
    return Section("By type, tested", text, tables)


def _counts(group: Sequence[Answers], types: Sequence[str]) -> np.ndarray:
    """Numbers of right, predicted and gold spans, [num_sentences, num_runs, 1 + num_types, 3].

    The first entry of the third dimension counts the spans of all types.
    """
    by_type = [count_by(run.sentences, lambda _, span: span[2], types) for run in group]
    whole = np.stack(by_type, axis=1)
    return np.concatenate([whole.sum(2, keepdims=True), whole], axis=2)


def _table(
    names: Sequence[str], types: Sequence[str], counts: Sequence[np.ndarray], number: int
) -> Table:
    """The table of one group beside the first group.

    Args:
        types: the types that have a row.
        counts: of the first group and of this group, as `_counts` returns them.
        number: of this group.
    """
    scores = [scores_of(each.sum(0))[..., 2] for each in counts]  # [num_runs, 1 + num_types]
    sizes = [len(each) for each in scores]
    rows = range(1 + len(types))
    differences = [compare(counts[0][:, :, at], counts[1][:, :, at]) for at in rows]
    sentence_p = [one.p_value for one in differences]
    sentence_p[1:] = holm(sentence_p[1:])
    has_seeds = min(sizes) > 1
    seed_p = [permutation_p(scores[0][:, at], scores[1][:, at]) for at in rows] if has_seeds else []
    seed_p[1:] = holm(seed_p[1:])
    cells = []
    for at, name in enumerate(["all", *types]):
        one = differences[at]
        cells.append(
            [
                name,
                *(_mean(each[:, at]) for each in scores),
                f"{one.value:+.4f} ({one.low:+.3f} to {one.high:+.3f})",
                p_text(sentence_p[at]),
                *([p_text(seed_p[at])] if has_seeds else []),
            ]
        )
    caption = ""
    if has_seeds:
        least = least_p(*sizes)
        caption = f"With {sizes[0]} and {sizes[1]} seeds no p of the seeds is below {least:.2g}."
    header = ("type", names[0], names[number], "difference", "p, sentences")
    return Table((*header, *(["p, seeds"] if has_seeds else [])), cells, caption)


def _mean(scores: np.ndarray) -> str:
    """The mean of the scores of runs, float [num_runs], and their standard deviation.

    A narrow page breaks the line before ±, and not behind it.

    >>> _mean(np.array([0.5])), _mean(np.array([0.4, 0.6]))
    ('0.5000', '0.5000 ±\\xa00.1414')
    """
    if len(scores) == 1:
        return f"{scores[0]:.4f}"
    return f"{scores.mean():.4f} ±\N{NO-BREAK SPACE}{scores.std(ddof=1):.4f}"


def p_text(value: float) -> str:
    """A p-value with the digits that 10,000 rounds of randomisation support.

    >>> p_text(0.04321), p_text(0.0001)
    ('0.043', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
