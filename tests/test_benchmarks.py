"""Benchmarks that call the loop's parts still run; what they measure is in benchmarks/results."""

import shlex
import subprocess
import sys

import pytest
from launches import REPO

TINY = "--encoder tiny --updates 2 --repeats 1 --batch_sizes 4"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "equivalence.py --dropout 0.1",
        f"throughput.py {TINY} --variants tagloop",
        "scaling.py --encoder tiny --repeats 1 --updates 2",
    ],
    ids=lambda command: command.split()[0],
)
def test_a_benchmark_runs(command, tmp_path):
    script, *options = shlex.split(command)
    if script != "equivalence.py":
        options.append(f"--results={tmp_path}")
    done = subprocess.run(
        [sys.executable, REPO / "benchmarks" / script, *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\n|" in done.stdout
    if script == "equivalence.py":
        assert "tagloop: the same update for every cut" in done.stdout
