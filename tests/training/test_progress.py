"""progress.py: what is due when, and what a run remembers."""

import dataclasses
import doctest
import json
import math

import pytest

from tagloop.tasks.task import Metric, Scores
from tagloop.training import progress
from tagloop.training.progress import Timetable, TrainState, upgrade_state


def steps_due(table: Timetable, what: str) -> list[int]:
    return [step for step in range(1, table.num_updates + 1) if getattr(table.due(step), what)]


def test_worked_examples():
    failed, tried = doctest.testmod(progress)
    assert tried >= 2
    assert failed == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"evaluate": [4, 8, 10], "save": [], "log": [3, 6, 9, 10], "end_epoch": [4, 8]}),
        ({"eval_steps": 5}, {"evaluate": [5, 10]}),
        ({"eval_steps": 3}, {"evaluate": [3, 6, 9, 10]}),
        ({"checkpointing_steps": "4"}, {"save": [4, 8, 10]}),
        ({"checkpointing_steps": "epoch"}, {"save": [4, 8, 10]}),
        ({"logging_steps": 100}, {"log": [10]}),
    ],
)
def test_what_is_due_when(options, expected):
    table = Timetable(**{"updates_per_epoch": 4, "num_updates": 10, "logging_steps": 3} | options)
    assert {what: steps_due(table, what) for what in expected} == expected
    assert steps_due(table, "end_run") == [10]


def test_nothing_is_due_in_between():
    table = Timetable(updates_per_epoch=4, num_updates=8, logging_steps=3)
    assert [step for step in range(1, 9) if table.due(step)] == [3, 4, 6, 8]


def test_position_goes_on_where_the_last_update_ended():
    table = Timetable(updates_per_epoch=4, num_updates=10, logging_steps=1)
    assert [table.position(step) for step in (0, 3, 4, 9)] == [(0, 0), (0, 3), (1, 0), (2, 1)]
    assert table.num_epochs == 3


def test_every_update_lies_in_a_planned_epoch():
    for num_updates in range(1, 13):
        table = Timetable(updates_per_epoch=4, num_updates=num_updates, logging_steps=1)
        assert table.position(num_updates - 1)[0] == table.num_epochs - 1


def test_losses_are_means_over_labels_not_over_updates():
    state = TrainState()
    state.add_loss(10.0, 1)
    state.add_loss(2.0, 5)
    assert state.take_log_loss() == 2.0
    state.add_loss(8.0, 2)
    assert state.take_log_loss() == 4.0
    state.end_epoch()
    assert state.train_loss == 20.0 / 8
    state.add_loss(3.0, 1)
    state.end_epoch()
    assert state.train_loss == 3.0


def test_updates_without_labels_do_not_break_the_mean():
    state = TrainState()
    state.add_loss(0.0, 0)
    assert state.take_log_loss() == 0.0


def note(values: list[float], name: str) -> tuple[TrainState, list[bool]]:
    state, metric = TrainState(), Metric(name, lower_is_better=name in ("loss", "perplexity"))
    return state, [state.add_evaluation(Scores({name: value}, {}), metric) for value in values]


@pytest.mark.parametrize(
    ("metric", "values", "is_best"),
    [
        ("f1", [0.5, 0.6, 0.6, 0.4, 0.7], [True, True, False, False, True]),
        ("loss", [0.5, 0.6, 0.5, 0.4], [True, False, False, True]),
        ("perplexity", [50.0, 60.0, 40.0], [True, False, True]),
        ("f1", [0.0, 0.0], [True, False]),
    ],
)
def test_the_first_of_the_best_evaluations_is_kept(metric, values, is_best):
    state, seen = note(values, metric)
    assert seen == is_best
    best = max(values) if metric == "f1" else min(values)
    assert state.best_scores == Scores({metric: best}, {})
    assert state.last_scores == Scores({metric: values[-1]}, {})


def test_evaluations_without_gain_are_counted_in_a_row():
    assert note([0.5, 0.4, 0.3], "f1")[0].evaluations_without_gain == 2
    assert note([0.5, 0.4, 0.6], "f1")[0].evaluations_without_gain == 0


@pytest.mark.parametrize("metric", ["f1", "loss"])
def test_a_score_beats_none(metric):
    state, seen = note([math.nan, 0.5], metric)
    assert seen == [True, True]
    assert state.best_scores == Scores({metric: 0.5}, {})
    assert note([0.5, math.nan], metric)[1] == [True, False]


def test_results_of_older_checkpoints_are_understood():
    by_type = {"PER": {"f1": 1.0, "number": 3}}
    old = {"best_results": {"f1": 0.5, "types": by_type}, "last_results": {}}
    state = TrainState(**upgrade_state(old))
    assert state.best_scores == Scores({"f1": 0.5}, by_type)
    assert state.last_scores == Scores({}, {})
    saved = json.loads(json.dumps(dataclasses.asdict(state)))
    assert TrainState(**upgrade_state(saved)) == state
