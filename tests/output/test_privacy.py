"""docs/privacy.md: the files that quote text of the data are those that the page names."""

import re
import tempfile
from fnmatch import fnmatch

import numpy as np
import pytest
from launches import REPO, SMALL

import report
import train_loop
from tagloop.tasks import TASKS, task_module

SECRET = "Zanzibarwitz"
ROWS = "\n".join(f"{SECRET}{n} B-MISC\nslept O\nin O\nOslo B-ORG\n" for n in range(20))
PAGE = REPO / "docs" / "privacy.md"


def quoting_files() -> dict[str, bool]:
    """The pattern of every file of the page's first table, and whether it quotes text."""
    table = PAGE.read_text(encoding="utf-8").partition("## Files in")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \| (yes|no) \|", table, flags=re.MULTILINE)
    return {
        re.sub(r"_N$", "_*", name): quotes == "yes"
        for names, quotes in rows
        for name in re.findall(r"`(.+?)`", names)
    }


def holds_secret(path) -> bool:
    if path.suffix == ".npz":
        with np.load(path) as members:
            return any(SECRET.encode() in values.tobytes() for values in members.values())
    return SECRET.encode() in path.read_bytes()


@pytest.mark.parametrize("task_name", TASKS)
def test_the_page_names_the_files_of_predictions(task_name):
    known = quoting_files()
    for name in task_module(task_name, "task").PREDICTION_FILES:
        assert any(fnmatch(name, pattern) for pattern in known), name


@pytest.mark.slow
def test_so_are_those_of_several_runs(trained, tmp_path):
    data, group = tmp_path / "data.conll", tmp_path / "group"
    data.write_text(ROWS)
    train_loop.main(
        [*SMALL, "--max_train_steps=2", f"--train_file={data}", "--ignore_mismatched_sizes",
         f"--model_name_or_path={trained}", "--folds=2", "--learning_rate=1e-9",
         f"--output_dir={group}"]
    )  # fmt: skip
    known = quoting_files()
    for path in filter(lambda path: path.is_file(), group.rglob("*")):
        *runs, name = path.relative_to(group).parts
        assert runs in ([], ["fold_1"], ["fold_2"])
        quotes = {known[pattern] for pattern in known if fnmatch(name, pattern)}
        assert quotes == {holds_secret(path)}, path
    assert {"label_errors.tsv", "label_errors.html", "predictions.conll"} <= {
        path.name for path in group.iterdir()
    }


@pytest.mark.slow
def test_the_files_that_quote_text_are_those_of_the_page(trained, tmp_path, monkeypatch, looked_up):
    """And a run with files of this machine looks up no host."""
    folders = {name: tmp_path / name for name in ("cache", "tmp", "run")}
    folders["cache"].mkdir()
    folders["tmp"].mkdir()
    monkeypatch.setenv("TAGLOOP_CACHE", str(folders["cache"]))
    monkeypatch.setattr(tempfile, "tempdir", str(folders["tmp"]))
    data = tmp_path / "data.conll"
    data.write_text(ROWS)
    files = [f"--{split}_file={data}" for split in ("train", "validation", "test")]
    options = [*SMALL, "--max_train_steps=2", "--checkpointing_steps=1", "--report_to=tensorboard"]
    options += ["--learning_rate=1e-9"]  # the model goes on making mistakes, which the report shows
    options += ["--ignore_mismatched_sizes", "--return_entity_level_metrics"]
    train_loop.main(
        [*options, *files, f"--model_name_or_path={trained}", f"--output_dir={folders['run']}"]
    )
    report.main([str(folders["run"])])
    known, seen = quoting_files(), set()
    for path in folders["run"].rglob("*"):
        name = path.relative_to(folders["run"]).parts[0]
        quotes = {pattern: known[pattern] for pattern in known if fnmatch(name, pattern)}
        assert quotes, f"{PAGE.name} does not name {name}"
        if path.is_file():
            assert holds_secret(path) == set(quotes.values()).pop(), path
            seen |= quotes.keys()
    assert {"predictions.conll", "report.html", "predictions.npz", "step_*"} <= seen
    stored = {path.relative_to(folders["cache"]).parts[0].partition("-")[0]
              for path in folders["cache"].rglob("*.arrow") if holds_secret(path)}  # fmt: skip
    assert stored == {"corpus"}, "the cache holds the words, as the page says"
    assert not any(map(holds_secret, filter(lambda p: p.is_file(), folders["tmp"].rglob("*"))))
    assert looked_up == []
