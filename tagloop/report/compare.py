"""Compares several runs: a paired test of groups of runs on the same sentences."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tagloop.errors import InputError
from tagloop.options.command_line import FIELDS
from tagloop.outcome.record import Outcome
from tagloop.pages import charts
from tagloop.pages.answers import Answers
from tagloop.pages.blocks import SCORES, with_interval
from tagloop.pages.page import MarkedSentences, Picture, Section, Table, mark
from tagloop.pages.sentences import count_by, errors_of, types_of
from tagloop.pages.statistics import (
    Difference,
    compare,
    number_of_trials,
    resample,
    score_interval,
    scores_of,
)
from tagloop.report.curves import series_of
from tagloop.report.groups import group_tests

MOST_SENTENCES, MOST_TYPES = 25, 40


class ComparedRun(NamedTuple):
    """A run with the name that the page gives it; answers is None without predictions."""

    name: str
    outcome: Outcome
    answers: Answers | None

    @property
    def counts(self) -> np.ndarray:
        """The numbers of right, predicted and gold spans, int32 [num_sentences, 3]."""
        return count_by(self.answers.sentences, lambda *_: "", [""])[:, 0]


class Group(NamedTuple):
    """Runs that differ only in their seed, or one run alone.

    Attributes:
        counts: numbers of right, predicted and gold spans, int32 [num_sentences, num_runs, 3].
    """

    runs: list[ComparedRun]
    counts: np.ndarray

    @property
    def name(self) -> str:
        return ", ".join(run.name for run in self.runs)


def comparison_sections(runs: Sequence[ComparedRun]) -> list[Section]:
    """The sections of a page that compares runs; each group is tested against the first group.

    Raises:
        InputError: the runs have no predictions of the same sentences.
    """
    _check_same(runs)
    groups = _group_runs(runs)
    if len(groups) == 1:  # All runs are seeds of one experiment, so a test has no question.
        groups = [_one_group([run]) for run in runs]
        scores = _scores_of_seeds(groups)
    else:
        scores = _scores(groups)
    sections = [
        scores,
        _seeds(runs),
        _types(groups),
        group_tests(
            [group.name for group in groups],
            [[run.answers for run in group.runs] for group in groups],
        ),
        _curves(runs),
        _changed(runs),
        _options(runs),
    ]
    return [section for section in sections if section.blocks]


def name_runs(outcomes: Sequence[Outcome]) -> list[str]:
    """The names of the folders, or their paths if two folders have the same name."""
    names = [outcome.name for outcome in outcomes]
    if len({*names}) == len(names):
        return names
    return [str(outcome.folder) for outcome in outcomes]


def _check_same(runs: Sequence[ComparedRun]) -> None:
    """Raise InputError if the runs cannot be compared sentence by sentence."""
    first = runs[0]
    for run in runs:
        folder, answers = run.outcome.folder, run.answers
        if answers is None or answers.score is None:
            why = "; ".join(run.outcome.notes) or "what it predicted are no classes"
            raise InputError(f"{folder}: no predictions to compare: {why}")
        tasks = [one.outcome.config.task_name for one in (run, first)]
        if tasks[0] != tasks[1]:
            raise InputError(
                f"{folder}: task {tasks[0]}, but {first.outcome.folder} is of {tasks[1]}"
            )
        if len(answers.sentences) != len(first.answers.sentences):
            raise InputError(
                f"{folder}: predictions of {len(answers.sentences):,} sentences, but "
                f"{first.outcome.folder} has {len(first.answers.sentences):,}; compare runs on the "
                "same test data"
            )
        pairs = zip(first.answers.sentences, answers.sentences, strict=True)
        for row, (one, other) in enumerate(pairs):
            if (one.words, one.gold) != (other.words, other.gold):
                raise InputError(
                    f"{folder}: sentence {first.answers.rows[row] + 1} is another one, or has "
                    f"other gold tags, than in {first.outcome.folder}; compare runs on the same "
                    "test data"
                )


def _one_group(runs: Sequence[ComparedRun]) -> Group:
    return Group([*runs], np.stack([run.counts for run in runs], axis=1))


def _seed_of(run: ComparedRun) -> str:
    return str(run.outcome.options.get("seed", "?"))


def _group_runs(runs: Sequence[ComparedRun]) -> list[Group]:
    """Put runs that differ only in their seed into one group.

    If two of these runs have the same seed, each run is a group of its own.
    """
    alike: dict[str, list[ComparedRun]] = defaultdict(list)
    for number, run in enumerate(runs):
        alike[_all_but_the_seed(run.outcome) or str(number)].append(run)
    groups = []
    for members in alike.values():
        are_seeds = len({_seed_of(run) for run in members}) == len(members)
        groups += [_one_group(members)] if are_seeds else [_one_group([run]) for run in members]
    return groups


def _mean_f1(group: Group) -> str:
    """The mean F1 over the runs of a group, with its interval."""
    totals = group.counts.sum(0)
    value = float(scores_of(totals)[:, 2].mean())
    drawn = scores_of(resample(group.counts), undefined=np.nan)[..., 2].mean(-1)
    number = float(number_of_trials(totals)[:, 2].mean())
    return with_interval(value, score_interval(value, number, drawn))


def _scores(groups: Sequence[Group]) -> Section:
    """The section with a line for every group, and its test against the first group."""
    answers, first, rows = groups[0].runs[0].answers, groups[0], []
    for number, group in enumerate(groups):
        tested = _difference_cells(compare(first.counts, group.counts)) if number else ("–", "–")
        rows.append([group.name, _mean_f1(group), *tested])
    text = (
        f"On {len(first.counts):,} sentences of {answers.where}, the same for all. The difference "
        f"is to {first.name}: its 95% interval by a paired bootstrap, p by approximate "
        "randomisation: how often chance alone makes a difference as large. The test is about "
        "these sentences, and not about other seeds."
    )
    if any(len(group.runs) > 1 for group in groups):
        text += (
            " Runs that differ only in their seed are one group: scores and differences are means "
            "over its seeds."
        )
    header = ("run", answers.score, f"difference to {first.name}", "p")
    return Section("Scores", text, [Table(header, rows)])


def _scores_of_seeds(groups: Sequence[Group]) -> Section:
    """The section with a line for every run of one experiment."""
    answers = groups[0].runs[0].answers
    text = (
        f"On {len(groups[0].counts):,} sentences of {answers.where}, the same for all. The runs "
        "differ only in their seed, so there is nothing to test."
    )
    rows = [[group.name, _mean_f1(group)] for group in groups]
    return Section("Scores", text, [Table(("run", answers.score), rows)])


def _difference_cells(difference: Difference) -> tuple[str, str]:
    """A difference with its interval, and p; an interval without width is not shown.

    A reader would take an interval without width for certainty.

    >>> _difference_cells(Difference(0.0, 0.0, 0.0, 1.0))
    ('none: the same counts in every sentence', '–')
    """
    if difference.low == difference.high:
        return "none: the same counts in every sentence", "–"
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.4f} ({interval})", p_text(difference.p_value)


def p_text(value: float) -> str:
    """A p-value with the digits that 10,000 rounds of randomisation support.

    >>> p_text(0.04321), p_text(0.0001)
    ('0.043', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _seeds(runs: Sequence[ComparedRun]) -> Section:
    """The section with mean and standard deviation of runs that differ only in their seed."""
    names = SCORES if runs[0].answers.score == SCORES[2] else (runs[0].answers.score,)
    rows = []
    for group in _group_runs(runs):
        if len(group.runs) > 1:
            scores = scores_of(group.counts.sum(0))
            mean, spread = scores.mean(0), scores.std(0, ddof=1)
            values = [f"{m:.4f} ± {s:.4f}" for m, s in zip(mean, spread, strict=True)]
            seeds = ", ".join(map(_seed_of, group.runs))
            rows.append([group.name, seeds, *values[-len(names) :]])
    table = Table(("runs", "seeds", *names), rows)
    text = "Runs that differ only in their seed: mean ± standard deviation between runs."
    return Section("Seeds", text, [table] if rows else [])


def _all_but_the_seed(outcome: Outcome) -> str | None:
    """The properties that runs of one experiment share, as JSON; None if run.json is missing.

    An option that a resume may change does not count by itself. Of these options the data and the
    batch size change the result, so the data and the global batch size count.
    """
    options, identity = outcome.options, outcome.record.get("identity", {})
    if not options:
        return None
    kept = {
        name: value
        for name, value in options.items()
        if name != "seed" and not (name in FIELDS and FIELDS[name].metadata["may_change"])
    }
    data = identity.get("data")
    # With --validation_fraction the seed chooses the validation rows, so fingerprints differ.
    if options.get("validation_fraction") or data is None:
        data = [options.get("train_file"), options.get("validation_file")]
    made_with = [outcome.record.get("global_batch_size"), identity.get("precision")]
    return json.dumps([kept, data, made_with], sort_keys=True)


def _types(groups: Sequence[Group]) -> Section:
    """The section with the F1 of every type in every group, as the mean over its seeds."""
    types = types_of(one for group in groups for run in group.runs for one in run.answers.sentences)
    values = []
    for group in groups:
        counts = [
            count_by(run.answers.sentences, lambda _, span: span[2], types).sum(0)
            for run in group.runs
        ]
        values.append(scores_of(np.stack(counts))[..., 2].mean(0))
    shown, names = types[:MOST_TYPES], [group.name for group in groups]
    columns = [column[: len(shown)] for column in values]
    picture = charts.dots(shown, [*zip(names, columns, strict=True)], None, "F1")
    rows = [[name, *(f"{column[at]:.4f}" for column in values)] for at, name in enumerate(shown)]
    blocks = [Picture(picture, "F1 of every type in every run"), Table(("F1", *names), rows)]
    return Section("By type", "", blocks)


def _curves(runs: Sequence[ComparedRun]) -> Section:
    answers, blocks = runs[0].answers, []
    for key, ylabel in (
        ("loss", "training loss"),
        (f"eval_{answers.logged_score}", f"validation {answers.score}"),
    ):
        series = [series_of(run.name, run.outcome.metrics, key) for run in runs]
        if series := [one for one in series if one.x]:
            blocks.append(Picture(charts.lines(series, ylabel), f"{ylabel} over updates"))
    return Section("Training", "", blocks)


def _changed(runs: Sequence[ComparedRun]) -> Section:
    """The section with sentences in which one of two runs has more errors than the other."""
    if len(runs) != 2 or not runs[0].answers.spans_are_parts:
        return Section("", "")
    names, (first, second) = [run.name for run in runs], [run.answers for run in runs]
    wrong = np.array([[errors_of(one) for one in run.answers.sentences] for run in runs])
    gain = wrong[0] - wrong[1]
    order = np.argsort(-abs(gain), kind="stable")[:MOST_SENTENCES]
    shown = []
    order = order[gain[order] != 0].tolist()
    for row in order:
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
    blocks = [MarkedSentences(shown, first.places_of(order))] if shown else []
    return Section("Where they differ", text, blocks)


def _options(runs: Sequence[ComparedRun]) -> Section:
    """The section with the options in which the runs differ, and with their speed."""
    outcomes = [run.outcome for run in runs]
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
    return Section(
        "What differs", "", [Table(("", *(run.name for run in runs)), rows)] if rows else []
    )
