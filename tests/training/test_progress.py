"""progress.py: what is due when, and what a run remembers."""

import dataclasses
import json
import math

import pytest

from tagloop.options.command_line import parse_config
from tagloop.tasks.task import Metric, Scores
from tagloop.training.progress import Timetable, TrainState, build_timetable, upgrade_state


def steps_due(table: Timetable, what: str) -> list[int]:
    return [step for step in range(1, table.num_updates + 1) if getattr(table.due(step), what)]


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


@pytest.mark.parametrize(
    ("losses", "has_diverged"),
    [
        ([2.0, 1.0, 0.5], False),
        ([2.0, 300_000.0, 300_000.0], True),
        ([0.01, 0.05, 0.06], False),  # six times as much, and still next to nothing
        ([2.0, 2.5, 3.0], False),
        ([0.0, 0.0], False),
    ],
)
def test_a_loss_far_above_the_first_one_is_noticed(losses, has_diverged):
    state = TrainState()
    assert not state.has_diverged
    state.add_loss(0.0, 0)  # an update without targets is not the first
    for loss in losses:
        state.add_loss(8 * loss, 8)
    state.end_epoch()
    assert state.first_loss == losses[0]
    assert state.has_diverged is has_diverged
    assert TrainState(**json.loads(json.dumps(dataclasses.asdict(state)))) == state


@pytest.mark.parametrize(
    ("epochs", "updates"),
    [("0.5", 15), ("0.1", 3), ("0.001", 1), ("1e-9", 1), ("2.5", 75), ("3", 90), ("3.0", 90)],
)
def test_a_fraction_of_an_epoch_is_that_share_of_its_updates(epochs, updates):
    config = parse_config(["--num_train_epochs", epochs, "--num_warmup_steps", "0.2"])
    table = build_timetable(config, num_examples=8 * 30 - 3, global_batch_size=8)
    assert table.num_updates == updates
    assert table.num_warmup_updates == round(0.2 * updates)
    assert table.due(updates).end_run
    assert table.num_epochs == -(-updates // 30)


@pytest.mark.parametrize("text", ["3", "3.0", "3e0"])
def test_whole_epochs_are_recorded_as_they_always_were(text):
    config = parse_config(["--num_train_epochs", text])
    assert json.dumps(config.public()["num_train_epochs"]) == "3"


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
