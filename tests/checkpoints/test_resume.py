"""A resumed run is the uninterrupted run: same sentences, same weights, same files."""

import os
import shutil
import signal

import pytest
import torch
from launches import REPO, SMALL, launch, read_json, read_metrics
from safetensors.torch import load_file

import train_loop
from tagloop.checkpoints import checkpoint
from tagloop.errors import InputError

MEASURED = (  # of one session
    "train_runtime", "train_words_per_second", "train_tokens_per_second", "train_padding_share",
)  # fmt: skip


def contents(folder):
    """What two runs that are the same must have in common, to the byte."""
    written = (
        "predictions.conll", "predictions.tsv", "predict_nbest_predictions.json",
        "generated_predictions.txt",
    )  # fmt: skip
    predictions = next(name for name in written if (folder / name).exists())
    names = ("model.safetensors", "metrics.jsonl", predictions)
    results = read_json(folder / "all_results.json")
    scores = {name: value for name, value in results.items() if name not in MEASURED}
    return {name: (folder / name).read_bytes() for name in names} | {"scores": scores}


class Watch:
    """Notes the windows of every update; after update `stop_after` it signals its own process."""

    def __init__(self, monkeypatch, stop_after=None, number=signal.SIGUSR1):
        self.stream, self.stop_after, self.number = [], stop_after, number
        self.real = train_loop.train_step
        monkeypatch.setattr(train_loop, "train_step", self.step)

    def step(self, run, update):
        self.stream.append(update.example_ids.tolist())
        if run.lr_scheduler.last_epoch + 1 == self.stop_after:
            os.kill(os.getpid(), self.number)
        return self.real(run, update)


CUTS = {
    "whole": ["--per_device_train_batch_size=12"],
    "accumulated": ["--per_device_train_batch_size=4", "--gradient_accumulation_steps=3"],
}
EVALUATION = {"evaluated": ["--eval_steps=5"], "not evaluated": ["--do_train", "--do_predict"]}
CASES = {
    f"{task} {cut} {evaluation}": [f"--task_name={task}", *CUTS[cut], *EVALUATION[evaluation]]
    for task, cut, evaluation in (
        ("ner", "whole", "evaluated"), ("ner", "whole", "not evaluated"),
        ("ner", "accumulated", "evaluated"), ("ner", "accumulated", "not evaluated"),
        ("classification", "accumulated", "evaluated"), ("qa", "accumulated", "evaluated"),
        ("mlm", "accumulated", "evaluated"), ("t5_mlm", "accumulated", "evaluated"),
        ("summarization", "accumulated", "evaluated"),
    )
}  # fmt: skip
# The sample marks no documents; each of its splits is taken for one here.
CONTEXT = ["--context_tokens=9", "--unmarked_split=document"]
CASES["ner with context"] = [*CASES["ner accumulated evaluated"], *CONTEXT]
# Options that add to what a checkpoint holds.
CASES["averaged"] = [
    *CUTS["accumulated"], "--eval_steps=5", "--ema_decay=0.8", "--weight_decay=0.1",
    "--head_learning_rate=1e-2", "--layerwise_lr_decay=0.5", "--load_best_model_at_end",
]  # fmt: skip
CASES["adapted"] = [
    *CUTS["accumulated"], "--eval_steps=5", "--lora_rank=4", "--ema_decay=0.8",
    "--optimizer=torch.optim:NAdam", "--freeze_layers=1",
]  # fmt: skip
SLOWER = ("t5_mlm", "summarization", "context", "averaged", "adapted")


STOPS = [  # two after every update, the others where an epoch begins or ends, and between
    (case, stop_after)
    for number, case in enumerate(CASES)
    for stop_after in (range(1, 13) if number in (0, 2) else (1, 5, 6, 7, 12))
    if stop_after == 5 or not any(name in case for name in SLOWER)
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """For each case: files and windows of a run nobody stopped."""
    done = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for case, options in CASES.items():
            folder = tmp_path_factory.mktemp("whole") / "run"
            watch = Watch(monkeypatch)
            train_loop.main([*SMALL, *options, f"--output_dir={folder}"])
            monkeypatch.undo()
            done[case] = contents(folder), watch.stream
    return done


@pytest.mark.slow
@pytest.mark.parametrize(("case", "stop_after"), STOPS)
def test_stopped_after_any_update(uninterrupted, tmp_path, monkeypatch, stop_after, case, capfd):
    """Mid-epoch, at the epoch's end (6), at the last update (12): dropout is on."""
    expected, expected_stream = uninterrupted[case]
    arguments = [*SMALL, *CASES[case], f"--output_dir={tmp_path / 'run'}"]
    first = Watch(monkeypatch, stop_after)
    code = train_loop.cli(arguments)
    monkeypatch.undo()
    assert code == (0 if stop_after == 12 else 75)
    assert len(first.stream) == stop_after
    torch.manual_seed(stop_after)  # whatever happened in between
    second = Watch(monkeypatch)
    train_loop.main([*arguments, "--resume_from_checkpoint=auto"])
    assert first.stream + second.stream == expected_stream
    assert contents(tmp_path / "run") == expected


@pytest.mark.slow
def test_what_nobody_gives_again_stays_as_the_run_began(tmp_path, monkeypatch):
    """Rows padded and sentences grouped by length: neither is the default."""
    other = ["--no_packing", "--group_by_length"]
    train_loop.main([*SMALL, *other, f"--output_dir={tmp_path / 'whole'}"])
    arguments = [*SMALL, f"--output_dir={tmp_path / 'run'}"]
    with monkeypatch.context() as stopping:
        Watch(stopping, stop_after=4)
        assert train_loop.cli([*arguments, *other]) == 75
    with pytest.raises(InputError, match="--group_by_length was true and is now false"):
        train_loop.main([*arguments, "--no_group_by_length", "--resume_from_checkpoint=auto"])
    train_loop.main([*arguments, "--resume_from_checkpoint=auto"])
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    assert train_loop.cli([*arguments, "--resume_from_checkpoint=auto"]) == 0  # finished


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(tmp_path, capfd):
    folder = tmp_path / "run"
    arguments = [*SMALL, "--checkpointing_steps=5", f"--output_dir={folder}"]
    results = train_loop.main(arguments)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns)
              for path in folder.rglob("*") if path.is_file()}  # fmt: skip
    assert train_loop.main([*arguments, "--resume_from_checkpoint=auto"]) == results
    assert "finished" in capfd.readouterr().out
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns)
                      for path in folder.rglob("*") if path.is_file()}  # fmt: skip
    for checkpoint_folder in checkpoint.checkpoint_folders(folder):  # They are not needed any more.
        (checkpoint_folder / "manifest.json").unlink()
    assert train_loop.main([*arguments, "--resume_from_checkpoint=auto"]) == results


@pytest.mark.slow
def test_auto_without_a_checkpoint_begins(tmp_path):
    """A job script uses one command for its first start and for every requeue."""
    folder = tmp_path / "run"
    arguments = [*SMALL, "--max_train_steps=2", f"--output_dir={folder}"]
    train_loop.main([*arguments, "--resume_from_checkpoint=auto"])
    assert (folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_the_same_run(no_dropout, tmp_path):
    """1 -> 2 -> 3 -> 1 processes, each for a while, mid-epoch; the global batch of 12 is kept."""
    base = [*SMALL[:4], SMALL[-1], f"--model_name_or_path={no_dropout}", "--logging_steps=1",
            "--seed=5", "--checkpointing_steps=4"]  # fmt: skip
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    train_loop.main([*base, "--per_device_train_batch_size=12", f"--output_dir={whole}"])
    shutil.copytree(whole, moved)
    for processes, batch_size in ((2, 6), (3, 2), (1, 5)):
        for name in ("step_8", "step_12"):
            shutil.rmtree(moved / name)
        (moved / "run.json").unlink()
        output = launch(
            *base, f"--per_device_train_batch_size={batch_size}", f"--output_dir={moved}",
            "--resume_from_checkpoint=auto", processes=processes,
        ).stdout  # fmt: skip
        assert "after update 4" in output
        assert (moved / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
        assert (moved / "predictions.conll").read_bytes() == (
            whole / "predictions.conll"
        ).read_bytes()
        # Unrounded: the summed losses of the updates since the checkpoint, by the manifests.
        for name in ("step_8", "step_12"):
            ours, theirs = (
                read_json(run / name / "manifest.json")["state"] for run in (moved, whole)
            )
            for loss in ("epoch_loss_sum", "train_loss"):
                assert ours[loss] == pytest.approx(theirs[loss], rel=1e-5, abs=0), loss
        # Adam makes rounding visible where a gradient is nothing else (the keys' biases), hence
        # the norm over all weights.
        expected = load_file(whole / "model.safetensors")
        actual = load_file(moved / "model.safetensors")
        differences = [(actual[name] - expected[name]).norm() for name in expected]
        norm = torch.stack([tensor.norm() for tensor in expected.values()]).norm()
        assert torch.stack(differences).norm() <= 1e-5 * norm


REASONS = {  # what happens to one process only -> exit of both, and what is said
    "nan": "update 3: the loss is nan",
    "signal": "stopped by a signal after update 3",
    "disk": "No space left on device",
    "die": "",
    "input": "error: train.conll: No such file on this machine",
}


@pytest.mark.slow
@pytest.mark.parametrize("reason", REASONS)
def test_what_one_process_meets_ends_all(tmp_path, reason):
    """The launch returns, with a code that is not 0."""
    folder = tmp_path / "run"
    result = launch(
        *SMALL, "--checkpointing_steps=2", f"--output_dir={folder}", script="tests/one_rank.py",
        environment={"REASON": reason}, processes=2, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert REASONS[reason] in result.stdout
    assert "Traceback" not in result.stdout.split("torch/distributed/elastic")[0] or reason == "die"
    assert folder.exists() == (reason != "input"), "a refused run leaves nothing behind"
    if folder.exists():
        steps = [checkpoint.verify(path)["step"] for path in checkpoint.checkpoint_folders(folder)]
        assert steps == {"signal": [2, 3], "disk": []}.get(reason, [2])


@pytest.mark.slow
def test_a_long_preparation_on_one_process_does_not_time_out_the_others(tmp_path):
    """They wait at the lock of what it prepares, not in a collective, which has a time-out."""
    result = launch(
        *SMALL, "--max_train_steps=1", f"--output_dir={tmp_path / 'run'}",
        script="tests/one_rank.py", processes=2,
        environment={"REASON": "long preparation", "TAGLOOP_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert result.stdout.count("waited for") == 3, "each of the splits once, whatever the processes"


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """A run of the first version, in the folder whose name its options have."""
    folder = tmp_path / "tests" / "data" / "checkpoint-v1"
    shutil.copytree(REPO / "tests" / "fixtures" / "checkpoint-v1", folder)
    monkeypatch.chdir(tmp_path)
    arguments = (folder / "arguments.txt").read_text().split()
    return folder, [
        *arguments, f"--output_dir={folder / 'run'}", "--resume_from_checkpoint=auto",
        "--dropout=per_process",  # all that version 1 knew
    ]  # fmt: skip


@pytest.mark.medium
def test_a_checkpoint_of_version_1_still_loads(frozen):
    """Made by the first version (see its README); later versions read it or say why not."""
    folder, arguments = frozen
    train_loop.main(arguments)
    lines, expected = read_metrics(folder / "run"), read_metrics(folder)
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        assert line.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("train.conll", "B-PER", "B-LOC", "data was"),
        ("train.conll", "B-PER", "B-MISC", "model label2id was"),
        ("model/config.json", '"intermediate_size": 16', '"intermediate_size": 32',
         "model intermediate_size was 16 and is now 32"),
        ("model/tokenizer.json", '"Bonn"', '"Bern"', "tokenizer was"),
    ],
    ids=["data", "labels", "model", "tokenizer"],
)  # fmt: skip
def test_other_data_labels_model_or_tokenizer_are_refused(frozen, file, old, new, named):
    """The paths are the same, what lies there is not."""
    folder, arguments = frozen
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=named):
        train_loop.main(arguments)
    path.write_text(text)
    train_loop.main(arguments)
