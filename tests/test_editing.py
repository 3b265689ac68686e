"""docs/editing.md: each diff applies to a copy, trains, resumes to the same bytes, tags alike."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from launches import ON_CPU, REPO, SMALL, read_json, read_metrics
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

RUN = [*SMALL, "--max_train_steps=6", "--checkpointing_steps=3", "--logging_steps=1"]
# In each copy: train; resume from the middle; tag the test words anew with what was saved. All in
# one process, as the libraries take seconds.
TRAIN = """
import json, shutil, sys, traceback
from importlib import import_module
from pathlib import Path
from transformers import AutoModelForTokenClassification

def use(copy):
    for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
        del sys.modules[name]
    sys.path[0] = str(copy)
    main = import_module("train_loop").main
    run, other = copy / "run", copy / "resumed"
    main([*OPTIONS, f"--output_dir={run}"])
    shutil.copytree(run / "step_3", other / "step_3")
    main([*OPTIONS, f"--output_dir={other}", "--resume_from_checkpoint=auto"])
    blocks = (run / "predictions.conll").read_text(encoding="utf-8").strip().split("\\n\\n")
    words = [[line.split()[0] for line in block.splitlines()] for block in blocks]
    tagger = import_module("tagloop.tasks.tagging.tagger").load_tagger(run)
    _, info = AutoModelForTokenClassification.from_pretrained(run, output_loading_info=True)
    faults = {name: sorted(map(str, found)) for name, found in info.items() if found}
    return {"tags": [" ".join(tagged.tags) for tagged in tagger(words)], "faults": faults}

OWN, OPTIONS = ("tagloop", "train_loop", "postprocess"), sys.argv[2:]
for copy in sorted(Path(sys.argv[1]).iterdir()):
    try:
        facts = use(copy)
    except BaseException:
        facts = {"error": traceback.format_exc()}
    (copy / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
"""


def edits() -> dict[str, str]:
    """Title of a section -> its diff."""
    page = (REPO / "docs" / "editing.md").read_text(encoding="utf-8")
    sections = [section.split("\n", 1) for section in page.split("\n## ")[1:]]
    return {title: re.search(r"```diff\n(.*?)```", text, re.DOTALL)[1] for title, text in sections}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A folder of edited copies that have trained, by title, and one without an edit, `plain`."""
    folder = tmp_path_factory.mktemp("copies")
    for title, diff in {"plain": "", **edits()}.items():
        copy = folder / title
        shutil.copytree(REPO / "tagloop", copy / "tagloop", ignore=shutil.ignore_patterns("*.pyc"))
        for script in ("train_loop.py", "postprocess.py"):
            shutil.copy(REPO / script, copy)
        if diff:
            subprocess.run(["git", "apply", "-v", "-"], cwd=copy, input=diff.encode(), check=True)
    own = {"TAGLOOP_CACHE": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-c", TRAIN, folder, *RUN]
    subprocess.run(command, env=os.environ | ON_CPU | own, check=True, capture_output=True)
    return folder


def losses_of(copy) -> list[float]:
    return [line["loss"] for line in read_metrics(copy / "run") if "loss" in line]


@pytest.mark.parametrize("title", edits())
def test_an_edit_applies_learns_and_resumes(title, copies):
    run, facts = copies / title / "run", read_json(copies / title / "facts.json")
    assert "error" not in facts, facts["error"]
    model = run / "model.safetensors"
    assert model.read_bytes() == (copies / title / "resumed" / "model.safetensors").read_bytes()
    assert facts["tags"] == (run / "predictions.txt").read_text(encoding="utf-8").splitlines()

    # Before the first step all but R-Drop's loss are cross-entropy: a CRF's transitions are 0.
    first, *later = losses_of(copies / title)
    plain = losses_of(copies / "plain")
    assert (first == plain[0]) == (title != "R-Drop")
    shows_more = title == "Another value in the log"
    assert (later == plain[1:]) == shows_more
    logged = [line for line in read_metrics(copies / title / "run") if "loss" in line]
    assert all(("weight_norm" in line) == shows_more for line in logged)

    before, after = load_file(run / "step_3" / "model.safetensors"), load_file(model)
    changed = {name for name in after if not before[name].equal(after[name])}
    if title == "A CRF on top":
        assert facts["faults"] == {"unexpected_keys": ["transitions"]}
        assert changed == set(after) > {"transitions"}
        return
    assert not facts["faults"], "transformers loads it whole"
    assert changed == set(after)
