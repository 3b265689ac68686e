"""Benchmarks that call the loop's parts still run, on the built-in sample.

What they measure is in benchmarks/results.
"""

import json
import random
import shlex
import shutil
import subprocess
import sys

import pytest
from launches import HANG, REPO, read_json
from seqeval.metrics import f1_score

from tagloop.sample.corpus import build_sample_corpus

sys.path.insert(0, str(REPO / "benchmarks"))
from scorer import count_spans, f1_of

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
        "equivalence.py --dropout 0.1 --task qa",
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


@pytest.mark.slow
def test_scores_go_on_where_they_stopped(tmp_path):
    """A run whose file is there is not repeated, and the file alone decides its scores. With
    --keep, the results without any file go on, and give the same differences again."""
    runs = tmp_path / "runs"
    command = [sys.executable, REPO / "benchmarks/scores.py", "--runs", runs, "--results", tmp_path]
    command += shlex.split("--corpora sample --encoder tiny --systems tagloop run_ner_no_trainer")
    command += ["--options=--decoding=best"]  # tags of the same model
    command += shlex.split(
        "--jobs 2 --seeds 1 --epochs 1 --limit_train 20 --limit_eval 10 --threads 1"
    )

    def scores(*further: str) -> dict:
        done = subprocess.run(
            [*command, *further], capture_output=True, text=True, timeout=HANG, check=False
        )
        assert done.returncode == 0, done.stderr
        return read_json(tmp_path / "scores.json")["measured"]["corpora"]["sample"]

    found = scores()
    assert found.keys() == {"tagloop", "run_ner_no_trainer", "tagloop --decoding=best"}
    files = {file.parent.name: file for file in runs.rglob("seed_1.json")}
    tagloop, run_ner = files["tagloop"], files["run_ner"]
    assert "tagloop_--decoding=best" in files
    for sentence in read_json(tagloop)["predictions"]["test"]:
        tags = sentence["tags"]
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[1:] == tag[1:]
    gold = [row["ner_tags"] for row in build_sample_corpus()["test"][:10]]
    run = read_json(tagloop)
    for sentence, tags in zip(run["predictions"]["test"], gold, strict=True):
        sentence["tags"] = [*tags[:-1], None]  # Each sentence ends with a mark that is no entity.
    tagloop.write_text(json.dumps(run), encoding="utf-8")
    unchanged = run_ner.stat().st_mtime_ns
    run_ner_scores = found["run_ner_no_trainer"]["runs"]

    again = scores()
    assert again["tagloop"]["runs"]["1"]["f1"]["test"] == 1.0
    assert again["tagloop"]["runs"]["1"]["words_lost"]["test"] == 10
    assert again["run_ner_no_trainer"]["runs"] == run_ner_scores
    assert run_ner.stat().st_mtime_ns == unchanged
    difference = again["run_ner_no_trainer"]["difference"]["test"]
    assert difference["value"] == run_ner_scores["1"]["f1"]["test"] - 1.0

    shutil.rmtree(runs)
    assert scores("--keep") == again
    assert not runs.exists()


def test_the_scorer_of_all_systems_agrees_with_seqeval():
    gold = [row["ner_tags"] for row in build_sample_corpus()["test"]]
    tags = sorted({tag for sentence in gold for tag in sentence})
    rng = random.Random(0)
    predicted = [[rng.choice([tag, tag, *tags]) for tag in sentence] for sentence in gold]
    assert f1_of(count_spans(gold, predicted)) == pytest.approx(f1_score(gold, predicted))


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
