"""What a run says and logs: scores, how it ended; and where nobody can hear it."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest
from launches import HANG, ON_CPU, REPO, SMALL, launch, read_json, read_metrics

import predict
import train_loop
from tagloop.output.logs import type_table


def run(folder, *arguments):
    return train_loop.main([*SMALL, f"--output_dir={folder}", *arguments])


@pytest.mark.slow
def test_types_are_a_table_and_not_a_line(tmp_path, capsys):
    results = run(tmp_path / "run", "--task_name=chunk", "--return_entity_level_metrics")
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split() for line in lines if "precision" in line and "type" in line]
    assert heads == [["type", "precision", "recall", "f1", "number"]] * 2, "eval and test"
    rows = [line.split() for line in lines]
    for part in ("eval", "test"):
        names = ("precision", "recall", "f1")
        values = [f"{results[f'{part}_NP_{name}']:.4f}" for name in names]
        assert ["NP", *values, f"{results[f'{part}_NP_number']:,}"] in rows
    assert not [line for line in lines if "NP_" in line]
    assert "eval_NP_f1" in read_metrics(tmp_path / "run")[-1]


@pytest.mark.slow
def test_many_labels_are_a_few_and_a_number(tmp_path, capsys):
    """231 of them were 13,535 characters."""
    with (tmp_path / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(120):
            row = {
                "tokens": [f"word{number}", f"here{number}"],
                "ner_tags": [f"B-TYPE{number}", f"I-TYPE{number}"],
            }
            file.write(json.dumps(row) + "\n")
    run(tmp_path / "sample", "--max_train_steps=1")
    capsys.readouterr()
    train_loop.main(
        [f"--train_file={tmp_path / 'train.jsonl'}", f"--config_name={tmp_path / 'sample'}",
         f"--tokenizer_name={tmp_path / 'sample'}", "--ignore_mismatched_sizes",
         "--max_train_steps=1", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("labels")]
    assert line.startswith("labels      240: ")
    assert len(line) < 200


@pytest.mark.medium
def test_no_name_of_the_data_controls_the_terminal(tmp_path, capfd):
    run(tmp_path / "sample", "--max_train_steps=1")
    file = tmp_path / "a\x1b[2Jb.jsonl"
    file.write_text(json.dumps({"tokens": ["Ann", "won"], "ner_tags": ["B-\x1b[31m", "O"]}) + "\n")
    capfd.readouterr()
    arguments = [f"--train_file={file}", f"--output_dir={tmp_path / 'run'}", "--max_train_steps=1"]
    arguments += [f"--{name}={tmp_path / 'sample'}" for name in ("config_name", "tokenizer_name")]
    assert train_loop.cli([*arguments, "--ignore_mismatched_sizes"]) == 0
    assert train_loop.cli(arguments) == 2  # the folder has a run now
    file.unlink()
    assert train_loop.cli([f"--train_file={file}", "--check_data"]) == 2
    shown = capfd.readouterr()
    assert "labels      2: B-\ufffd[31m, O" in shown.out
    assert "a\ufffd[2Jb.jsonl" in shown.err
    assert "\x1b" not in shown.out + shown.err


WORSENING = ("--metric_for_best_model=loss", "--eval_steps=1", "--learning_rate=0.05",
             "--lr_scheduler_type=constant")  # fmt: skip


def losses_before(losses, step):
    return [loss for known, loss in losses.items() if known < step] or [float("inf")]


@pytest.mark.slow
@pytest.mark.parametrize("keeps_best", [False, True])
def test_early_stopping_and_the_best_model_say_which_updates(tmp_path, capsys, keeps_best):
    options = ["--load_best_model_at_end"] if keeps_best else []
    results = run(tmp_path / "run", "--early_stopping_patience=2", *WORSENING, *options)
    losses = {
        line["step"]: line["eval_loss"]
        for line in read_metrics(tmp_path / "run")
        if "eval_loss" in line
    }
    best, last = min(losses, key=losses.get), max(losses)
    assert last == best + 2 < 12
    assert (results["train_best_step"], results["train_stopped_early_at"]) == (best, last)
    assert read_json(tmp_path / "run" / "all_results.json") == results
    said = capsys.readouterr().out
    marked = [int(line.split()[0]) for line in said.splitlines() if line.endswith("  best")]
    assert marked == [step for step in losses if losses[step] < min(losses_before(losses, step))]
    assert f"stopped early after update {last}: the last 2 evaluations had no better loss" in said
    if keeps_best:
        assert f"the model is that of update {best}, the best" in said
        assert "stays" not in said
        assert not list((tmp_path / "run").glob("step_*")), "nobody asked for checkpoints"
    else:
        assert f"the model is that of update {last}; the best was after {best}" in said


@pytest.mark.medium
def test_runs_without_these_options_do_not_speak_of_them(tmp_path, capsys):
    results = run(tmp_path / "run", "--max_train_steps=2")
    assert not {"train_best_step", "train_stopped_early_at"} & results.keys()
    assert "the model is that" not in capsys.readouterr().out


def digits(value):
    return len(f"{value:e}".split("e")[0].replace(".", "").rstrip("0"))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "most"), [("no", 4), ("bf16", 3)])
def test_losses_and_norms_have_no_more_digits_than_hold(tmp_path, precision, most):
    folder = tmp_path / "run"
    launch(*SMALL, "--logging_steps=1", f"--mixed_precision={precision}", f"--output_dir={folder}")
    lines = [line for line in read_metrics(folder) if "loss" in line]
    values = [line[name] for line in lines for name in ("loss", "grad_norm")]
    values.append(read_json(folder / "all_results.json")["train_loss"])
    assert max(map(digits, values)) == most


class Terminal(io.StringIO):
    def isatty(self):
        return True


def open_terminal(monkeypatch):
    """From now on stdout and stderr are terminals of 80 columns; returns what was written to one.

    A fixture could not do this, because pytest replaces both streams after it.
    """
    streams = {"stdout": Terminal(), "stderr": Terminal()}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return lambda name: streams[name].getvalue()


@pytest.mark.slow
def test_a_terminal_has_80_columns_and_a_bar_with_loss_rate_and_speed(tmp_path, monkeypatch):
    terminal = open_terminal(monkeypatch)
    run(tmp_path / "run", "--learning_rate=1e-9")
    last = terminal("stderr").split("100% 12/12")[-1]
    line = [line for line in read_metrics(tmp_path / "run") if "loss" in line][-1]
    assert f"loss={line['loss']:.3g}, rate={line['learning_rate']:.3g}, words/s=" in last
    assert re.search(r" \d\d:\d\d<\d\d:\d\d, loss", last), "time taken and time left"
    assert re.search(r"\rvalidation +\d+% \|[# ]+\| \d/\d ", terminal("stderr"))
    said = re.sub(r"(\x1b\[A)?\r", "", terminal("stdout"))  # tqdm writes above its bars
    plain = re.sub(r"\x1b\[\d+m", "", said)
    # A path is never broken, as it would not be a path any more.
    too_long = [line for line in plain.splitlines() if len(line) > 80]
    assert all(str(tmp_path) in line for line in too_long)
    assert "  grad_norm  eval_loss      f1  precision  recall\n" in plain
    yellow = re.findall(r"\x1b\[33m(.*?)\x1b\[0m", said, flags=re.DOTALL)
    assert yellow
    assert all(text.startswith("warning     ") for text in yellow)
    assert len(yellow) == plain.count("\nwarning  ")


@pytest.mark.slow
def test_without_a_terminal_the_rows_hold_every_number_and_nothing_else(tmp_path, capsys):
    """No bar, no colour; what metrics.jsonl has of an evaluation stands in its row."""
    results = run(tmp_path / "run", "--max_train_steps=2")
    said = capsys.readouterr()
    assert said.err == ""
    assert "\x1b" not in said.out
    line = read_metrics(tmp_path / "run")[-1]
    header, row = next(pair for pair in pairwise(said.out.splitlines()) if "eval_loss" in pair[0])
    assert header.split()[:5] == ["update", "epoch", "loss", "grad_norm", "learning_rate"]
    names = [f"eval_{name.removeprefix('eval_')}" for name in header.split()[5:]]
    assert sorted(names) == sorted(name for name in line if name.startswith("eval_"))
    assert row.split() == ["2", "0.33", *(f"{line[name]:.4f}" for name in names), "best"]
    test_row = [line.split() for line in said.out.splitlines() if line.startswith("test  ")][-1]
    names = [name.replace("eval_", "test_") for name in names]
    assert test_row == ["test", *(f"{results[name]:.4f}" for name in names)]


@pytest.mark.slow
def test_the_last_lines_are_commands_that_work(tmp_path, capsys):
    run(tmp_path / "my run", "--max_train_steps=2", "--no_report")
    first, second = capsys.readouterr().out.splitlines()[-2:]
    command = shlex.split(first.removeprefix("next"))
    assert os.path.basename(command[0]) == "python"
    assert command[1] == "predict.py"
    assert predict.cli(command[2:]) == 0
    assert '"text": "Write a text here."' in capsys.readouterr().out
    assert second.split(maxsplit=2)[:2] == [command[0], "report.py"]
    assert shlex.split(second)[2] == str(tmp_path / "my run")


def test_ten_types_are_shown_the_most_frequent_first():
    by_type = {f"T{n}": {"f1": 0.5, "number": n} for n in range(12)}
    lines = type_table(by_type, most=10)
    assert [line.split()[0] for line in lines] == ["type", *(f"T{n}" for n in range(11, 1, -1))]


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">/dev/full", "| true", ">&- 2>&-", "2>/dev/full"])
def test_output_that_nobody_reads_does_not_end_the_run(tmp_path, redirect):
    folder = tmp_path / "run"
    command = [sys.executable, "train_loop.py", *SMALL, f"--output_dir={folder}"]
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirect}', "bash", *command],
        cwd=REPO, env=os.environ | ON_CPU, capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert read_json(folder / "run.json")["finished"] is True
    assert len(read_metrics(folder)) == 5
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(("size", "shown"), [(4, "aten::addmm"), (36, "nothing to show")])
@pytest.mark.slow
def test_profile_shows_where_the_time_went(tmp_path, capfd, size, shown):
    options = [f"--per_device_train_batch_size={size}", "--num_train_epochs=1", "--do_train"]
    train_loop.main([*SMALL, *options, "--profile", f"--output_dir={tmp_path / 'run'}"])
    assert shown in capfd.readouterr().out


@pytest.mark.slow
def test_a_run_that_diverged_or_found_nothing_says_so(tmp_path, capfd):
    """Below the row of the evaluation and in the footer; a good run says nothing of the kind."""
    ends = {}
    for name, rate in (("diverged", "30"), ("nothing", "1e-9"), ("good", "6e-3")):
        options = [*SMALL, f"--learning_rate={rate}", f"--output_dir={tmp_path / name}"]
        train_loop.main(options)
        ends[name] = capfd.readouterr().out
    said = ends["diverged"]
    assert said.count("the run diverged; give a lower --learning_rate") >= 2
    assert "\nwarning     the loss rose from" in said
    said = ends["nothing"]
    assert "\nwarning     f1 is 0: of what it counts, the model got nothing right\n" in said
    assert "\nwarning     validation: f1 is 0" in said
    assert "\nwarning     test: f1 is 0" in said
    assert "run diverged" not in said
    assert "run diverged" not in ends["good"]
    assert "\nwarning     validation" not in ends["good"]
