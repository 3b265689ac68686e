"""What a run says and logs: scores, how it ended; and where nobody can hear it."""

import io
import json
import os
import re
import subprocess
import sys

import pytest
from launches import HANG, ON_CPU, REPO, SMALL, launch, read_json, read_metrics

import train_loop


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
    assert f"stopped early after update {last}: the last 2 evaluations had no better loss" in said
    if keeps_best:
        assert f"the model is that of update {best}, the best" in said
        assert "stays" not in said
        assert not list((tmp_path / "run").glob("step_*")), "nobody asked for checkpoints"
    else:
        assert f"the model is that of update {last}; the best was after {best}" in said


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


@pytest.mark.slow
def test_a_terminal_has_a_bar_with_loss_rate_and_speed(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(tmp_path / "run")
    last = terminal.getvalue().split("12/12")[-1]
    line = [line for line in read_metrics(tmp_path / "run") if "loss" in line][-1]
    assert f"loss={line['loss']:.3g}, rate={line['learning_rate']:.3g}, words/s=" in last
    assert re.search(r" \d\d:\d\d<\d\d:\d\d, loss", last), "time taken and time left"


@pytest.mark.slow
def test_it_is_quiet_where_there_is_no_terminal(tmp_path, capsys):
    run(tmp_path / "run", "--max_train_steps=2")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">/dev/full", "| true", ">&-", ">&- 2>&-", "2>/dev/full"])
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
    """In the line of the evaluation and in the footer; a good run says nothing of the kind."""
    ends = {}
    for name, rate in (("diverged", "30"), ("nothing", "1e-9"), ("good", "6e-3")):
        options = [*SMALL, f"--learning_rate={rate}", f"--output_dir={tmp_path / name}"]
        train_loop.main(options)
        ends[name] = capfd.readouterr().out
    said = ends["diverged"]
    assert said.count("the run diverged; give a lower --learning_rate") >= 2
    assert "\nwarning     the loss rose from" in said
    said = ends["nothing"]
    assert "; f1 is 0: of what it counts, the model got nothing right\n" in said
    assert "\nwarning     validation: f1 is 0" in said
    assert "\nwarning     test: f1 is 0" in said
    assert "run diverged" not in said
    assert "run diverged" not in ends["good"]
    assert "\nwarning     validation" not in ends["good"]
