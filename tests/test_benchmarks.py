"""Benchmarks that call the loop's parts still run, on the built-in sample.

What they measure is in benchmarks/results.
"""

import shlex
import subprocess
import sys

import pytest
from launches import HANG, REPO, read_json

TINY = "--data sample --encoder tiny --updates 2 --repeats 1"


SCRIPTS = [
    path
    for path in sorted((REPO / "benchmarks").glob("*.py"))
    if "ArgumentParser(" in path.read_text(encoding="utf-8") and path.name != "measuring.py"
]


@pytest.mark.slow
def test_benchmarks_answer_help_from_any_folder(tmp_path):
    """Nothing but its own file tells a script where the loop lies. All in one process, as the
    libraries take seconds to load."""
    code = """
import runpy, sys
repository, *scripts = sys.argv[1:]
path = sys.path[1:]
for script in scripts:
    sys.argv, sys.path[:] = [script, "--help"], [script.rpartition("/")[0], *path]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        assert not ending.code, script
    for name, module in [*sys.modules.items()]:
        file = str(getattr(module, "__file__", ""))
        if file.startswith(repository) and "site-packages" not in file:
            del sys.modules[name]
"""
    command = [sys.executable, "-c", code, str(REPO), *map(str, SCRIPTS)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "equivalence.py --dropout 0.1",
        f"throughput.py {TINY} --batch_sizes 4 --variants tagloop",
        f"scaling.py {TINY}",
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
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\n|" in done.stdout
    if script == "equivalence.py":
        assert "tagloop: the same update for every cut" in done.stdout


# Operations of one update of a model with twelve layers; whoever lowers a count lowers it here. One
# or two more are left for another processor, on which an operation is taken apart.
MOST_LAUNCHES = {
    "tagloop": {"no": 556, "bf16": 694},
    "tagloop, torch's dropout": {"no": 555, "bf16": 705},
}


@pytest.mark.slow
def test_an_update_launches_no_more_operations_than_before(tmp_path):
    """Counted on a CPU as a GPU would launch them; the width of a layer does not matter."""
    pytest.importorskip("triton", reason="without Triton a GPU has no kernels to count")
    file = tmp_path / "launches.json"
    loops = [*MOST_LAUNCHES, "Trainer, tuned"]
    command = [sys.executable, REPO / "benchmarks" / "launches.py", "--encoders", "narrow"]
    command += ["--data", "sample", "--json", file, "--loops", *loops]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    counts = read_json(file)["narrow"]
    for loop, most in MOST_LAUNCHES.items():
        for precision, number in most.items():
            assert counts[loop][precision] <= number, (loop, precision)
    with_torch, trainer = counts["tagloop, torch's dropout"], counts["Trainer, tuned"]
    for precision in ("no", "bf16"):
        assert counts["tagloop"][precision] <= 1.15 * with_torch[precision]
    assert counts["tagloop"]["bf16"] <= 0.8 * trainer["bf16"]
    assert counts["tagloop"]["no"] <= 0.95 * trainer["no"]
