"""Compares several runs: paired tests of groups of runs on the same sentences, texts or rows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tagloop.errors import InputError
from tagloop.options.command_line import FIELDS
from tagloop.outcome.record import Outcome
from tagloop.pages import charts
from tagloop.pages.answers import Answers, Grouping
from tagloop.pages.page import MarkedSentences, Picture, Section, Table
from tagloop.pages.sentences import count_by, types_of
from tagloop.pages.statistics import (
    Difference,
    Measure,
    compare,
    interval,
    resample,
    score_interval,
    scores_of,
)
from tagloop.report.curves import series_of
from tagloop.report.groups import group_tests, p_text

MOST_ITEMS, MOST_TYPES = 25, 40


class ComparedRun(NamedTuple):
    """A run with the name that the page gives it; answers is None without predictions."""

    name: str
    outcome: Outcome
    answers: Answers | None


class Group(NamedTuple):
    """Runs that differ only in their seed, or one run alone."""

    runs: list[ComparedRun]

    @property
    def name(self) -> str:
        """The names of the runs: `seed_1, 2, 3` if they differ in a number at their end."""
        names = [run.name for run in self.runs]
        common = names[0].rstrip("0123456789")
        numbers = [name.removeprefix(common) for name in names]
        are_numbered = common and all(number.isdigit() for number in numbers)
        return ", ".join([names[0], *numbers[1:]] if are_numbered else names)

    def sums(self, number: int) -> np.ndarray:
        """The sums of a measure of every run, [num_items, num_runs, num_sums].

        Args:
            number: the place of the measure in `measures` of the answers.
        """
        return np.stack([run.answers.measures[number].sums for run in self.runs], axis=1)


def comparison_sections(runs: Sequence[ComparedRun]) -> list[Section]:
    """The sections of a page that compares runs; each group is tested against the first group.

    Raises:
        InputError: the runs have no predictions of the same sentences.
    """
    _check_same(runs)
    groups = _group_runs(runs)
    are_seeds = len(groups) == 1  # All runs are seeds of one experiment: a test has no question.
    if are_seeds:
        groups = [Group([run]) for run in runs]
    sections = [
        _scores(groups, with_test=not are_seeds),
        _seeds(runs),
        _types(groups),
        *([] if are_seeds else [_tests_by_type(groups)]),
        *(_grouping(groups, number) for number in range(len(runs[0].answers.groupings))),
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
        if answers is None or not answers.measures:
            why = "; ".join(run.outcome.notes) or "its task has no scores that are compared"
            raise InputError(f"{folder}: no predictions to compare: {why}")
        tasks = [one.outcome.config.task_name for one in (run, first)]
        if tasks[0] != tasks[1]:
            raise InputError(
                f"{folder}: task {tasks[0]}, but {first.outcome.folder} is of {tasks[1]}"
            )
        if len(answers.sentences) != len(first.answers.sentences):
            raise InputError(
                f"{folder}: predictions of {len(answers.sentences):,} {answers.item}s, but "
                f"{first.outcome.folder} has {len(first.answers.sentences):,}; compare runs on the "
                "same test data"
            )
        pairs = zip(first.answers.identities, answers.identities, strict=True)
        for row, (one, other) in enumerate(pairs):
            if one != other:
                raise InputError(
                    f"{folder}: {answers.item} {first.answers.rows[row] + 1} is another one, or "
                    f"has other {answers.gold_name}, than in {first.outcome.folder}; compare runs "
                    "on the same test data"
                )


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
        groups += [Group(members)] if are_seeds else [Group([run]) for run in members]
    return groups


def _mean_score(group: Group, number: int) -> str:
    """The mean of a measure over the runs of a group, with its interval.

    An interval without width is not shown: a reader would take it for certainty.
    """
    measure, sums = group.runs[0].answers.measures[number], group.sums(number)
    totals = sums.sum(0)
    value = float(np.nan_to_num(measure.of(totals)).mean())
    drawn = measure.of(resample(sums)).mean(-1)
    low, high = interval(drawn)
    if measure.num_trials:
        low, high = score_interval(value, float(measure.num_trials(totals).mean()), drawn)
    shown = format(value, measure.shape)
    if low == high:
        return shown
    return f"{shown} ({low:{measure.interval_shape}}–{high:{measure.interval_shape}})"


def _scores(groups: Sequence[Group], *, with_test: bool) -> Section:
    """The section with a line for every group, and its test against the first group."""
    answers, first, tables = groups[0].runs[0].answers, groups[0], []
    for number, measure in enumerate(answers.measures):
        if not measure.is_tested:
            continue
        rows = [[group.name, _mean_score(group, number)] for group in groups]
        name = f"{measure.name} (lower is better)" if measure.lower_is_better else measure.name
        header = ["run", name]
        if with_test:
            header += [f"difference to {first.name}", "p"]
            rows[0] += ["–", "–"]
            for row, group in zip(rows[1:], groups[1:], strict=True):
                tested = compare(first.sums(number), group.sums(number), of=measure.of)
                row += _difference_cells(tested, measure, answers.item)
        tables.append(Table(header, rows))
    item = answers.item
    text = f"On {len(answers.sentences):,} {item}s of {answers.where}, the same for all. "
    if not with_test:
        text += "The runs differ only in their seed, so there is nothing to test."
        return Section("Scores", text, tables)
    text += (
        f"The difference is to {first.name}: its 95% interval by a paired bootstrap, p by "
        "approximate randomisation: how often chance alone makes a difference as large. The test "
        f"is about these {item}s, and not about other seeds."
    )
    if any(len(group.runs) > 1 for group in groups):
        text += (
            " Runs that differ only in their seed are one group: scores and differences are means "
            "over its seeds."
        )
    return Section("Scores", text, tables)


def _difference_cells(difference: Difference, measure: Measure, item: str) -> tuple[str, str]:
    """A difference with its interval, and p; an interval without width is not shown.

    A reader would take an interval without width for certainty.
    """
    if difference.low == difference.high == 0:
        alike = "counts" if measure.num_trials else "numbers"
        return f"none: the same {alike} in every {item}", "–"
    if difference.low == difference.high:  # as if one run has all right and the other has nothing
        return f"{difference.value:+{measure.shape}}", p_text(difference.p_value)
    low, high = (f"{end:+{measure.interval_shape}}" for end in (difference.low, difference.high))
    return f"{difference.value:+{measure.shape}} ({low} to {high})", p_text(difference.p_value)


def _seeds(runs: Sequence[ComparedRun]) -> Section:
    """The section with mean and standard deviation of runs that differ only in their seed."""
    measures, rows = runs[0].answers.measures, []
    for group in _group_runs(runs):
        if len(group.runs) > 1:
            cells = []
            for number, measure in enumerate(measures):
                scores = np.nan_to_num(measure.of(group.sums(number).sum(0)))
                mean, spread = scores.mean(), scores.std(ddof=1)
                cells.append(f"{mean:{measure.shape}} ± {spread:{measure.shape}}")
            rows.append([group.name, ", ".join(map(_seed_of, group.runs)), *cells])
    table = Table(("runs", "seeds", *(measure.name for measure in measures)), rows)
    text = "Runs that differ only in their seed: mean ± standard deviation between runs."
    return Section("Seeds", text, [table] if rows else [])


def _all_but_the_seed(outcome: Outcome) -> str | None:
    """The properties that runs of one experiment share, as JSON; None if run.json is missing.

    An option that a resume may change does not count by itself. Of these options the data, the
    class weights and the batch size change the result, so what the run made of them counts.
    """
    options, identity = outcome.options, outcome.record.get("identity", {})
    if not options:
        return None
    kept = {
        name: value
        for name, value in options.items()
        if name != "seed" and not (name in FIELDS and FIELDS[name].metadata["may_change"])
    }
    data, balanced = identity.get("data"), options.get("class_weights") == "balanced"
    # With --validation_fraction the seed chooses the validation rows, so fingerprints differ, and
    # so do the weights of --class_weights balanced.
    if options.get("validation_fraction") or data is None:
        data = [options.get("train_file"), options.get("validation_file")]
    weights = "balanced" if balanced else identity.get("class_weights")
    made_with = [outcome.record.get("global_batch_size"), identity.get("precision")]
    return json.dumps([kept, data, weights, made_with], sort_keys=True)


def _types(groups: Sequence[Group]) -> Section:
    """The section with the F1 of every type in every group, as the mean over its seeds."""
    if groups[0].runs[0].answers.score is None:
        return Section("By type")
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


def _tests_by_type(groups: Sequence[Group]) -> Section:
    answers = [[run.answers for run in group.runs] for group in groups]
    return group_tests([group.name for group in groups], answers)


def _grouping(groups: Sequence[Group], number: int) -> Section:
    """The section with the first tested measure of every group of runs in groups of items.

    Args:
        number: the place of the grouping in `groupings` of the answers.
    """
    answers = groups[0].runs[0].answers
    grouping: Grouping = answers.groupings[number]
    at = [measure.is_tested for measure in answers.measures].index(True)
    measure, of_items, rows = answers.measures[at], np.array(grouping.of_items), []
    for name in grouping.names:
        members = of_items == name
        if members.any():
            values = [measure.of(group.sums(at)[members].sum(0)).mean() for group in groups]
            cells = (format(value, measure.shape) for value in values)
            rows.append([name, *cells, f"{members.sum():,}"])
    names = [f"{group.name}: {measure.name}" for group in groups]
    header = (grouping.what, *names, f"{answers.item}s")
    return Section(grouping.title, "", [Table(header, rows)] if len(rows) > 1 else [])


def _curves(runs: Sequence[ComparedRun]) -> Section:
    drawn = [("loss", "training loss"), ("eval_loss", "validation loss")]
    for measure in runs[0].answers.measures:
        if measure.is_tested:
            drawn.append((f"eval_{measure.logged}", f"validation {measure.name}"))
    blocks = []
    for key, ylabel in drawn:
        series = [series_of(run.name, run.outcome.metrics, key) for run in runs]
        if series := [one for one in series if one.x]:
            blocks.append(Picture(charts.lines(series, ylabel), f"{ylabel} over updates"))
    return Section("Training", "", blocks)


def _changed(runs: Sequence[ComparedRun]) -> Section:
    """The section with items of which one of two runs predicts more right than the other."""
    if len(runs) != 2 or not runs[0].answers.shows_items:
        return Section("Where they differ")
    names, (first, second) = [run.name for run in runs], [run.answers for run in runs]
    gain = first.errors - second.errors
    order = np.argsort(-abs(gain), kind="stable")[:MOST_ITEMS]
    shown = []
    order = order[gain[order] != 0].tolist()
    for row in order:
        heading = f"{first.item} {first.rows[row] + 1:,}: {first.change(second, row)}"
        shown.append((heading, first.beside(second, names, row)))
    better, worse = first.better_and_worse
    text = (
        f"{names[1]} has {better} in {int((gain > 0).sum()):,} {first.item}s and {worse} in "
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
        if len({*values}) > 1 and key != "output_dir":  # The runs are named by their folders.
            rows.append([f"--{key}", *values])
    rates = (name for outcome in outcomes for name in outcome.results)
    rates = [name for name in rates if name.startswith("train_") and name.endswith("_per_second")]
    for key in dict.fromkeys([*rates, "train_padding_share", "train_runtime"]):
        values = [outcome.results.get(key) for outcome in outcomes]
        if any(value is not None for value in values):
            rows.append([key, *("–" if value is None else f"{value:,.4g}" for value in values)])
    table = [["", *(run.name for run in runs)], *rows]
    if len(runs) > len(rows):  # A page is longer than it is wide.
        table = [list(column) for column in zip(*table, strict=True)]
    return Section("What differs", "", [Table(table[0], table[1:])] if rows else [])
