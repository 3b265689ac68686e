"""Memory that runs out: a message that helps, and micro-batches that shrink until they fit."""

import itertools
import re
from contextlib import contextmanager

import pytest
import torch
from launches import SMALL, launch, read_json, read_metrics

import train_loop
from tagloop.training.memory import smaller_micro_batches

# A row for each example: memory is told in rows here.
TWO = [*SMALL, "--no_packing", "--max_train_steps=4", "--logging_steps=1"]
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


@contextmanager
def room_for(most, *, after=0):
    """Memory for `most` examples in training; more fail once `after` embeddings are computed."""
    seen = []

    def check(module, inputs):
        if isinstance(module, torch.nn.Embedding) and module.training and torch.is_grad_enabled():
            seen.append(inputs[0].shape[0])
            if seen[-1] > most and len(seen) > after:
                raise torch.OutOfMemoryError(MESSAGE)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_micro_batches_shrink_and_an_update_learns_the_same(tmp_path, capfd):
    by_hand, by_itself = tmp_path / "by-hand", tmp_path / "by-itself"
    cut = ["--per_device_train_batch_size=3", "--gradient_accumulation_steps=4"]
    train_loop.main([*TWO, *cut, f"--output_dir={by_hand}"])
    capfd.readouterr()
    with room_for(4):
        train_loop.main([*TWO, "--auto_micro_batch", f"--output_dir={by_itself}"])
    assert weights(by_itself) == weights(by_hand)
    assert read_metrics(by_itself) == read_metrics(by_hand)
    said = capfd.readouterr().out
    assert "micro-batches hold 3 instead, 4 make an update" in said
    assert "1 x 4 micro-batches of at most 3" in said
    options = read_json(by_itself / "run.json")["options"]
    assert options["per_device_train_batch_size"] == 3
    assert options["gradient_accumulation_steps"] == 4


@pytest.mark.slow
def test_the_micro_batch_that_is_tried_is_packed_as_in_training(tmp_path, monkeypatch):
    packed, compute_loss = [], train_loop.compute_loss

    def note(run, micro_batch):
        packed.append(micro_batch.layout is not None)
        return compute_loss(run, micro_batch)

    monkeypatch.setattr(train_loop, "compute_loss", note)
    options = ["--max_train_steps=1", "--auto_micro_batch", f"--output_dir={tmp_path / 'run'}"]
    train_loop.main([*SMALL, *options])
    assert packed == [True, True], "one is tried, one is trained"


@pytest.mark.parametrize("size", range(1, 40))
def test_smaller_micro_batches_make_the_same_update(size):
    for batch in (size, 2 * size, 3 * size):
        sizes = [size, *smaller_micro_batches(size, batch)]
        assert sizes[-1] == 1
        assert all(batch % each == 0 for each in sizes)
        assert all(2 * small <= large for large, small in itertools.pairwise(sizes))


@pytest.mark.slow
def test_what_the_message_says_helps(tmp_path, capfd):
    folder = tmp_path / "run"
    run = [*TWO, "--checkpointing_steps=2", f"--output_dir={folder}"]
    with room_for(8):
        assert train_loop.cli(run) == 3
    error = capfd.readouterr().err
    assert error.startswith("error: process 0, update 0: out of memory (CUDA out of memory. Tried")
    assert len(error.splitlines()) == 1
    assert "--auto_micro_batch" in error
    advice = re.findall(r"(--per_device_train\w+|--gradient_acc\w+) (\d+)", error)
    assert [number for _, number in advice] == ["6", "2"]
    with room_for(8):
        options = [f"{name}={number}" for name, number in advice]
        assert train_loop.cli([*run, "--overwrite_output_dir", *options]) == 0


@pytest.mark.medium
def test_memory_that_ends_after_a_checkpoint(tmp_path, capfd):
    folder = tmp_path / "run"
    run = [*TWO, "--checkpointing_steps=2", f"--output_dir={folder}"]
    with room_for(8, after=7):
        assert train_loop.cli(run) == 3
    error = capfd.readouterr().err
    assert "--per_device_train_batch_size 6 --resume_from_checkpoint auto" in error
    assert "step_2" in error


@pytest.mark.slow
def test_not_even_one_example_fits(tmp_path, capfd):
    with room_for(0):
        code = train_loop.cli([*TWO, "--auto_micro_batch", f"--output_dir={tmp_path / 'run'}"])
    assert code == 3
    assert "not even one example fits" in capfd.readouterr().err


@pytest.mark.slow
def test_all_processes_take_the_size_that_fits_on_each(tmp_path):
    """Process 1 alone has no memory for more than 4 examples."""
    result = launch(
        *TWO, "--auto_micro_batch", f"--output_dir={tmp_path / 'run'}",
        processes=2, script="tests/one_rank.py", environment={"REASON": "memory"},
    )  # fmt: skip
    assert "2 x 4 micro-batches of at most 3" in result.stdout
    assert (tmp_path / "run" / "model.safetensors").is_file()
