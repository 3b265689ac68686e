"""Randomness of an update, and how the processes of a run end."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from launches import HANG, ON_CPU, REPO, SMALL, finish, launch, start, wait_for_updates
from torch.nn.functional import dropout

from tagloop.checkpoints import checkpoint
from tagloop.errors import InputError, OutOfMemory
from tagloop.processes.agree import seed_update
from tagloop.processes.launch import check_devices, closing_group


def mask(*position):
    seed_update(*position)
    return dropout(torch.ones(256), p=0.5)


def test_dropout_masks_differ_between_processes_steps_and_seeds():
    torch.manual_seed(1)
    first = mask(42, 7, 0)
    torch.manual_seed(2)
    assert torch.equal(mask(42, 7, 0), first)
    for other in ((42, 7, 1), (42, 8, 0), (43, 7, 0)):
        assert 64 < (mask(*other) != first).sum() < 192


LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no"}
SEVERAL = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, None),  # python train_loop.py
        (SEVERAL, None),  # torchrun, which knows no launch file
        (LAUNCHED, None),  # accelerate launch train_loop.py
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "asks for bf16 on a GPU"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "True"}, None),
        (LAUNCHED | SEVERAL, "asks for GPUs"),
        (LAUNCHED | SEVERAL | {"CUDA_VISIBLE_DEVICES": ""}, "asks for GPUs"),
        (LAUNCHED | SEVERAL | {"CUDA_VISIBLE_DEVICES": "0,1"}, "asks for GPUs"),
        (LAUNCHED | SEVERAL | {"CUDA_VISIBLE_DEVICES": "none,none"}, None),  # cpu_2proc.yaml
        (LAUNCHED | SEVERAL | {"ACCELERATE_USE_FSDP": "true"}, "asks for FSDP"),
        ({"LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE='two', which is no number of processes"),
    ],
)
def test_a_launch_for_gpus_is_told_from_one_for_the_cpu(variables, refused, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    for name in (*LAUNCHED, *SEVERAL, "ACCELERATE_USE_CPU", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if refused is None:
        check_devices()
        return
    with pytest.raises(InputError, match=refused):
        check_devices()


@pytest.mark.slow
def test_two_processes_repeat_bit_for_bit_with_dropout(tmp_path):
    files = []
    for name in ("once", "again"):
        launch(*SMALL, f"--output_dir={tmp_path / name}", processes=2)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def start_training(folder, *options, script="train_loop.py", reason="none"):
    """A training that does not end by itself; returns once it has taken three updates."""
    process = subprocess.Popen(
        [sys.executable, script, *SMALL, "--num_train_epochs=100000", "--logging_steps=1",
         f"--output_dir={folder}", *options],
        cwd=REPO, env=os.environ | ON_CPU | {"REASON": reason},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for_updates(folder, 2, process, output=process.stdout.read)
    return process


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    process = start_training(tmp_path / "run", "--checkpointing_steps=1000000")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG)
    assert process.returncode == 75, output
    assert "Traceback" not in output
    assert "Ctrl-C again ends the run at once" in output
    folder = str(tmp_path / "run")
    assert f"go on with --output_dir {folder} --resume_from_checkpoint auto" in output
    (saved,) = checkpoint.checkpoint_folders(tmp_path / "run")
    assert f"after update {checkpoint.verify(saved)['step']};" in output


@pytest.mark.slow
def test_ctrl_c_without_checkpoints_says_that_nothing_was_saved(tmp_path):
    process = start_training(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "nothing was saved, as --checkpointing_steps was not given" in output
    assert not checkpoint.checkpoint_folders(tmp_path / "run")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = start_training(tmp_path / "run", script="tests/one_rank.py", reason="endless")
    process.send_signal(signal.SIGINT)
    line = ""
    while "Ctrl-C again" not in line:
        line = process.stdout.readline()
        assert line, "ended at the first"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG)  # the update would never end
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, 0), (signal.SIGINT, 1), (signal.SIGTERM, 1)],
    ids=["no workers", "data loader workers", "SIGTERM, data loader workers"],
)
def test_a_signal_to_a_launcher_of_several_processes_saves(tmp_path, number, workers):
    """The terminal signals the launcher; it passes the signal on to every process it can find."""
    folder = tmp_path / "run"
    process = start(
        *SMALL, "--num_train_epochs=100000", "--logging_steps=1", f"--output_dir={folder}",
        "--checkpointing_steps=1000000", f"--dataloader_num_workers={workers}", processes=2,
    )  # fmt: skip
    wait_for_updates(folder, 3, process, output=process.stdout.read)
    os.killpg(process.pid, number)
    output = finish(process, check=False).stdout
    assert output.count("error: stopped by a signal after update") == 1, output
    assert "Traceback" not in output.split("torch/distributed/")[0]
    (saved,) = checkpoint.checkpoint_folders(folder)
    checkpoint.verify(saved)


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["none", "input", "nan", "bug", "interrupt"])
def test_no_end_of_a_run_leaves_the_process_group_open(tmp_path, reason):
    """A process that does may abort as it ends."""
    result = launch(
        *SMALL, f"--output_dir={tmp_path / 'run'}", script="tests/one_rank.py", processes=2,
        environment={"REASON": reason}, check=reason == "none",
    )  # fmt: skip
    assert "left its process group open" not in result.stdout
    assert "terminate called" not in result.stdout


@pytest.mark.parametrize(
    ("error", "says"),
    [(MemoryError(), "out of memory: the model"), (MemoryError("8 GiB"), "out of memory (8 GiB)")],
)
def test_memory_that_ends_without_a_word(error, says):
    with pytest.raises(OutOfMemory) as caught, closing_group():
        raise error
    assert str(caught.value).startswith(says)
