"""--static_shapes: few shapes of packed rows, and the same update."""

import re

import numpy as np
import pytest
from launches import REPO, SMALL, launch, read_json, read_metrics

import train_loop
from tagloop.batches import shapes as shapes_module
from tagloop.batches.packing import Packing, pack_rows
from tagloop.batches.plan import deal_update, plan_epoch
from tagloop.batches.shapes import choose_shapes

LENGTHS = np.random.default_rng(0).integers(3, 60, 400)
RUN = {"seed": 7, "global_batch_size": 16, "group_by_length": False}
SIX = [*SMALL, "--max_train_steps=6", "--logging_steps=1", "--no_report"]


def shapes_used(packing, processes, size, epochs=3):
    """The shapes of all micro-batches of a run."""
    return {
        pack_rows(LENGTHS[ids], packing)[1:]
        for epoch in range(epochs)
        for update in plan_epoch(LENGTHS, epoch=epoch, **RUN)
        for process in range(processes)
        for ids in deal_update(
            update, LENGTHS, num_processes=processes, process_index=process,
            per_device_batch_size=size, packed=True,
        )
        if len(ids)
    }  # fmt: skip


@pytest.mark.parametrize("enough", [3_000_000, 500], ids=["all", "the first"])
@pytest.mark.parametrize(("processes", "size"), [(1, 16), (2, 8), (1, 3)])
@pytest.mark.parametrize("most", [1, 2, 8])
def test_a_run_has_no_more_shapes_than_it_was_given(most, processes, size, enough, monkeypatch):
    monkeypatch.setattr(shapes_module, "ENOUGH", enough)
    packing = Packing(0, multiple=8, max_columns=512)
    shapes, padding = choose_shapes(
        LENGTHS, packing, num_shapes=most, num_epochs=3, num_processes=processes,
        per_device_batch_size=size, **RUN,
    )  # fmt: skip
    assert len(shapes) <= most
    few = Packing(0, multiple=8, max_columns=512, shapes=shapes)
    assert shapes_used(few, processes, size) <= {*shapes}
    assert len(shapes_used(packing, processes, size)) > 8, "without the option there are more"
    assert 0 < padding < 1


def test_more_shapes_cost_less_padding():
    padding = [
        choose_shapes(
            LENGTHS, Packing(0, 8, 512), num_shapes=most, num_epochs=2, num_processes=1,
            per_device_batch_size=16, **RUN,
        )[1]
        for most in (1, 4, 16)
    ]  # fmt: skip
    assert padding == sorted(padding, reverse=True)
    assert padding[0] > 2 * padding[-1]


@pytest.mark.slow
def test_an_update_learns_the_same_from_few_shapes(tmp_path, capsys):
    few, free = tmp_path / "few", tmp_path / "free"
    train_loop.main([*SIX, "--static_shapes=3", f"--output_dir={few}"])
    header = capsys.readouterr().out
    shapes = next(line for line in header.splitlines() if line.startswith("shapes"))
    assert shapes.count(" x ") <= 3
    assert "of the cells are padding" in shapes
    train_loop.main([*SIX, f"--output_dir={free}"])
    two = tmp_path / "two"
    launch(*SIX, "--static_shapes=2", "--per_device_train_batch_size=6",
           f"--output_dir={two}", processes=2)  # fmt: skip
    losses = [[line.get("loss") for line in read_metrics(folder)] for folder in (few, free, two)]
    assert losses[0] == losses[1] == losses[2]
    share = [
        read_json(folder / "all_results.json")["train_padding_share"] for folder in (few, free)
    ]
    assert share[0] > share[1]


@pytest.mark.medium
def test_padded_rows_are_refused_with_the_remedy(tmp_path, capfd):
    for options in (["--task_name=classification"], ["--no_packing"]):
        assert (
            train_loop.cli([*options, "--static_shapes=4", f"--output_dir={tmp_path / 'a'}"]) == 2
        )
        assert "--pad_to_max_length gives all padded rows one length" in capfd.readouterr().err


@pytest.mark.slow
def test_a_compiler_compiles_once_for_each_shape_and_never_for_an_evaluation(tmp_path):
    config = str(REPO / "accelerate_configs/cpu.yaml")
    done = launch(
        *SMALL, "--static_shapes=3", "--eval_steps=5",
        f"--output_dir={tmp_path / 'run'}",
        launcher=["--config_file", config, "--dynamo_backend", "eager"],
        environment={"TORCH_LOGS": "recompiles"},
    )  # fmt: skip
    compiled = {*re.findall(r"\[(0/\d+)\]", done.stdout)}
    header = next(line for line in done.stdout.splitlines() if line.startswith("shapes"))
    assert len(compiled) == header.count(" x ") - 1, "the first time is no second time"
    assert read_json(tmp_path / "run/all_results.json")["eval_f1"] >= 0
