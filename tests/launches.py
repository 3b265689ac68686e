"""Small runs of the whole program, in process or through a real `accelerate launch`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import warm

REPO = Path(__file__).resolve().parent.parent
ON_CPU = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# Seconds. A guard against a hang and no verdict: what a test proves must not depend on the clock,
# and a machine that is busy with other work never comes near it.
HANG = 1800
SMALL = [  # a few seconds' worth of the sample
    "--max_train_samples=72", "--max_eval_samples=25", "--max_predict_samples=26",
    "--num_train_epochs=2", "--per_device_train_batch_size=12", "--logging_steps=4",
    "--learning_rate=6e-3",  # finds entities in so few updates; else equal predictions say little
]  # fmt: skip


def launch(
    *arguments: str,
    processes: int = 1,
    environment: dict[str, str] | None = None,
    launcher: list[str] | None = None,
    script: str = "train_loop.py",
    check: bool = True,
) -> subprocess.CompletedProcess:
    """`accelerate launch` of this repository's script, on the CPU, with its output captured."""
    return finish(
        start(
            *arguments,
            processes=processes,
            environment=environment,
            launcher=launcher,
            script=script,
        ),
        check=check,
    )


def start(
    *arguments: str,
    processes: int = 1,
    environment: dict[str, str] | None = None,
    launcher: list[str] | None = None,
    script: str = "train_loop.py",
    cold: bool = False,
) -> subprocess.Popen:
    """Begin such a launch and return at once; `cold` with interpreters of its own (warm.py)."""
    file = "cpu.yaml" if processes == 1 else "cpu_2proc.yaml"
    options = launcher or [
        "--config_file", str(REPO / "accelerate_configs" / file), "--num_processes", str(processes)
    ]  # fmt: skip
    if processes > 1 and "--main_process_port" not in options:
        options += ["--main_process_port", "0"]  # a free one
    if script == "train_loop.py":
        arguments = ("--no_report", *arguments)  # it takes seconds; tests of it say --report
    options = [*options, script, *arguments]
    environment = {
        **os.environ,
        **ON_CPU,
        # So long may a process take that is asked to end; the launcher kills after 30 s.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(HANG),
        **(environment or {}),
    }
    if not cold and (started := warm.start(options, environment)):
        return started
    return subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *options],
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, *, check: bool = True) -> subprocess.CompletedProcess:
    """Wait for a launch; whatever is left of one that hangs is killed."""
    try:
        output, _ = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        raise AssertionError(f"no end after {HANG} s:\n{output[-4000:]}") from None
    result = subprocess.CompletedProcess(process.args, process.returncode, output)
    assert not check or result.returncode == 0, output[-6000:]
    return result


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + HANG
    while not happened():
        assert time.monotonic() < end, f"after {HANG} s still not: {what}"
        time.sleep(0.05)


def wait_for_updates(
    folder: Path, count: int, *processes: subprocess.Popen, output: Callable[[], str]
) -> None:
    """Wait until so many lines of metrics.jsonl are written by processes that go on."""
    metrics = folder / "metrics.jsonl"

    def has_lines() -> bool:
        assert all(process.poll() is None for process in processes), output()
        return metrics.exists() and metrics.read_text().count("\n") >= count

    wait_until(has_lines, f"{count} lines in {metrics}")


def read_metrics(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def read_json(path: Path) -> dict:
    """One of the results files."""
    return json.loads(path.read_text())


def assert_same_metrics(found: list[dict], expected: list[dict]) -> None:
    """Lines of metrics.jsonl of two cuts: the last digit of a rounded loss or norm may differ."""
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for line, known in zip(found, expected, strict=True):
        for name, value in known.items():
            rounded = name.endswith(("loss", "grad_norm"))
            assert line[name] == (pytest.approx(value, rel=2e-3) if rounded else value), name
