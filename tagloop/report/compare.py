"""Several runs beside each other: scores, a paired test on the same sentences, seeds together."""

import json
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tagloop.errors import InputError
from tagloop.options.command_line import FIELDS
from tagloop.pages import charts
from tagloop.pages.page import (
    Marked,
    Picture,
    Section,
    Table,
    mark,
)
from tagloop.pages.sentences import count_by, errors_of, types_of
from tagloop.pages.statistics import compare, resample, scores_of
from tagloop.report.outcome import Outcome
from tagloop.report.sections import SPLITS, curves, with_interval

MOST_SENTENCES, MOST_TYPES = 25, 40


def comparison_sections(outcomes: Sequence[Outcome]) -> list[Section]:
    """The sections of a page that compares runs; the first is what the others are tested against.

    Raises:
        InputError: the runs have no predictions of the same sentences.
    """
    _check_same(outcomes)
    names = run_names(outcomes)
    counts = [_counts(outcome) for outcome in outcomes]
    sections = [
        _scores(outcomes, names, counts),
        _seeds(outcomes, names, counts),
        _types(outcomes, names),
        _curves(outcomes, names),
        _changed(outcomes, names),
        _options(outcomes, names),
    ]
    return [section for section in sections if section.blocks]


def run_names(outcomes: Sequence[Outcome]) -> list[str]:
    """The folders' names; where two are the same, as they were given."""
    names = [outcome.name for outcome in outcomes]
    if len({*names}) == len(names):
        return names
    return [str(outcome.folder) for outcome in outcomes]


def _check_same(outcomes: Sequence[Outcome]) -> None:
    """Refuse runs that cannot be compared sentence by sentence."""
    first = outcomes[0]
    for outcome in outcomes:
        if not outcome.sentences or outcome.numbers is not None:
            why = "; ".join(outcome.notes) or "it predicted numbers"
            raise InputError(f"{outcome.folder}: no predictions to compare: {why}")
        if outcome.task != first.task:
            raise InputError(
                f"{outcome.folder}: task {outcome.task}, but {first.folder} is of {first.task}"
            )
        number = len(outcome.sentences)
        if number != len(first.sentences):
            raise InputError(
                f"{outcome.folder}: predictions of {number:,} sentences, but {first.folder} has "
                f"{len(first.sentences):,}; compare runs on the same test data"
            )
        for row, (one, other) in enumerate(zip(first.sentences, outcome.sentences, strict=True)):
            if (one.words, one.gold) != (other.words, other.gold):
                raise InputError(
                    f"{outcome.folder}: sentence {first.rows[row] + 1} is another one, or has "
                    f"other gold tags, than in {first.folder}; compare runs on the same test data"
                )


def _counts(outcome: Outcome) -> np.ndarray:
    """Right, predicted and gold spans, [num_sentences, 3]."""
    return count_by(outcome.sentences, lambda *_: "", [""])[:, 0]


def _score_name(outcome: Outcome) -> str:
    return "F1" if outcome.has_spans else "accuracy"


def _scores(
    outcomes: Sequence[Outcome], names: Sequence[str], counts: Sequence[np.ndarray]
) -> Section:
    """A line for every run, with its test against the first one."""
    rows = []
    for number, (name, own) in enumerate(zip(names, counts, strict=True)):
        f1 = scores_of(own.sum(0))[2]
        row = [name, with_interval(float(f1), scores_of(resample(own))[:, 2])]
        if number == 0:
            row += ["–", "–"]
        else:
            found = compare(counts[0], own)
            row.append(f"{found.value:+.4f} ({found.low:+.3f} to {found.high:+.3f})")
            row.append(p_text(found.p_value))
        rows.append(row)
    text = (
        f"On {len(counts[0]):,} sentences of {SPLITS[outcomes[0].split]}, the same for all. The "
        f"difference is to {names[0]}: its 95% interval by a paired bootstrap, p by approximate "
        "randomisation: how often chance alone makes a difference as large. It speaks of these "
        "sentences, not of other seeds."
    )
    header = ("run", _score_name(outcomes[0]), f"difference to {names[0]}", "p")
    return Section("Scores", text, [Table(header, rows)])


def p_text(value: float) -> str:
    """A p-value with the digits that 10,000 rounds give.

    >>> p_text(0.04321), p_text(0.0001)
    ('0.043', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _seeds(
    outcomes: Sequence[Outcome], names: Sequence[str], counts: Sequence[np.ndarray]
) -> Section:
    """Mean and standard deviation of the runs that differ only in their seed."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, outcome in enumerate(outcomes):
        groups[_all_but_the_seed(outcome) or str(number)].append(number)
    rows = []
    for members in groups.values():
        seeds = [str(outcomes[number].options.get("seed", "?")) for number in members]
        if len({*seeds}) < 2:
            continue
        scores = np.stack([scores_of(counts[number].sum(0)) for number in members])
        mean, spread = scores.mean(0), scores.std(0, ddof=1)
        values = [f"{m:.4f} ± {s:.4f}" for m, s in zip(mean, spread, strict=True)]
        who = ", ".join(names[number] for number in members)
        rows.append([who, ", ".join(seeds), *(values if outcomes[0].has_spans else values[2:])])
    score_names = ("precision", "recall", "F1") if outcomes[0].has_spans else ("accuracy",)
    table = Table(("runs", "seeds", *score_names), rows)
    text = "Runs that differ only in their seed: mean ± standard deviation between runs."
    return Section("Seeds", text, [table] if rows else [])


def _all_but_the_seed(outcome: Outcome) -> str | None:
    """What is the same in runs of one experiment; None if nothing is known of the run."""
    options, identity = outcome.options, outcome.record.get("identity", {})
    if not options:
        return None
    # Of options that a resume may change the data and the batch have a part in the result.
    kept = {
        name: value
        for name, value in options.items()
        if name != "seed" and not (name in FIELDS and FIELDS[name].metadata["may_change"])
    }
    data = identity.get("data")
    if options.get("validation_fraction") or data is None:  # the seed chooses what is held out
        data = [options.get("train_file"), options.get("validation_file")]
    made_with = [outcome.record.get("global_batch_size"), identity.get("precision")]
    return json.dumps([kept, data, made_with], sort_keys=True)


def _types(outcomes: Sequence[Outcome], names: Sequence[str]) -> Section:
    """F1 of every type in every run."""
    types = types_of(sentence for outcome in outcomes for sentence in outcome.sentences)
    values = []
    for outcome in outcomes:
        counts = count_by(outcome.sentences, lambda _, span: span[2], types)
        values.append(scores_of(counts.sum(0))[:, 2])
    shown = types[:MOST_TYPES]
    columns = [column[: len(shown)] for column in values]
    picture = charts.dots(shown, [*zip(names, columns, strict=True)], None, "F1")
    rows = [
        [name, *(f"{column[at]:.4f}" for column in values)]
        for at, name in enumerate(shown)
    ]  # fmt: skip
    blocks = [Picture(picture, "F1 of every type in every run"), Table(("F1", *names), rows)]
    return Section("By type", "", blocks)


def _curves(outcomes: Sequence[Outcome], names: Sequence[str]) -> Section:
    score = "eval_f1" if outcomes[0].has_spans else "eval_accuracy"
    blocks = []
    for key, ylabel, dots in (
        ("loss", "training loss", False),
        (score, f"validation {_score_name(outcomes[0])}", True),
    ):
        series = [
            charts.Series(name, *curves(outcome.metrics, key), dots)
            for name, outcome in zip(names, outcomes, strict=True)
        ]
        if series := [one for one in series if one.x]:
            blocks.append(Picture(charts.lines(series, ylabel), f"{ylabel} over updates"))
    return Section("Training", "", blocks)


def _changed(outcomes: Sequence[Outcome], names: Sequence[str]) -> Section:
    """Of two runs: the sentences in which one has more errors than the other."""
    if len(outcomes) != 2 or outcomes[0].task == "classification":
        return Section("", "")
    first, second = outcomes
    wrong = np.array([[errors_of(one) for one in outcome.sentences] for outcome in outcomes])
    gain = wrong[0] - wrong[1]
    order = np.argsort(-abs(gain), kind="stable")[:MOST_SENTENCES]
    shown = []
    for row in order[gain[order] != 0].tolist():
        gold, ours, theirs = first.sentences[row], first.sentences[row], second.sentences[row]
        lines = [
            ("gold", mark(gold, gold.gold, gold.gold)),
            (names[0], mark(gold, ours.predicted, gold.gold)),
            (names[1], mark(gold, theirs.predicted, gold.gold)),
        ]
        place = first.rows[row] + 1
        shown.append((f"sentence {place:,}: {wrong[0][row]} → {wrong[1][row]} errors", lines))
    text = (
        f"{names[1]} has fewer errors in {int((gain > 0).sum()):,} sentences and more in "
        f"{int((gain < 0).sum()):,}. Those that differ most:"
    )
    return Section("Where they differ", text, [Marked(shown)] if shown else [])


def _options(outcomes: Sequence[Outcome], names: Sequence[str]) -> Section:
    """The options in which the runs differ, and their speed."""
    keys = dict.fromkeys(key for outcome in outcomes for key in outcome.options)
    rows = []
    for key in keys:
        values = [str(outcome.options.get(key, "–")) for outcome in outcomes]
        if len({*values}) > 1:
            rows.append([f"--{key}", *values])
    for key in ("train_words_per_second", "train_padding_share", "train_runtime"):
        values = [outcome.results.get(key) for outcome in outcomes]
        if any(value is not None for value in values):
            rows.append([key, *("–" if value is None else f"{value:,.4g}" for value in values)])
    return Section("What differs", "", [Table(("", *names), rows)] if rows else [])
