"""Bad input: one clear message, exit code 2, no traceback, nothing computed or lost."""

import json
import os
import subprocess
import sys

import pytest
import torch
from launches import REPO, SMALL

import train_loop

GOOD = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nBonn NNP B-NP B-LOC\n"
INTEGERS = json.dumps({"tokens": ["EU", "rejects"], "ner_tags": [1, 0]})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small saved model with the sample's NER labels."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}"])
    return folder


def refuse(capfd, arguments, *fragments):
    """Run the program; it must end with code 2 and one message that has every fragment."""
    code = train_loop.cli([str(argument) for argument in arguments])
    captured = capfd.readouterr()
    assert code == 2, captured
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for fragment in fragments:
        assert str(fragment) in captured.err
    assert "update" not in captured.out  # nothing was trained


DATA = {  # name of the file, its content, further options, what the message says
    "empty": ("a.conll", b"", [], ["a.conll", "empty"]),
    "not utf-8": ("a.conll", b"caf\xe9 NN B-NP O\n", [], ["a.conll", "UTF-8", "offset 3"]),
    "unknown extension": ("a.xyz", b"\x00\x01\x02\x03", [], ["a.xyz"]),
    "malformed json": (
        "a.json", b'{"tokens": ["a"], "ner_tags": ["O"]}\n{"tokens": [\n', [], ["a.json:2"],
    ),
    "numbers differ": (
        "a.jsonl", b'{"tokens": ["a", "b"], "ner_tags": ["O"]}\n', [], ["a.jsonl:1", "2", "1"],
    ),
    "ragged columns": (
        "a.conll", (GOOD + "\nBonn NNP B-LOC\n").encode(), [], ["a.conll:6", "3", "4"],
    ),
    "missing column": (
        "a.jsonl", b'{"words": ["a"], "tags": ["O"]}\n', ["--label_column_name=ner"],
        ["ner", "words", "tags"],
    ),
    "integers without names": ("a.jsonl", INTEGERS.encode(), [], ["a.jsonl", "--labels_file"]),
    "mixed schemes": (
        "a.conll", b"a B-PER\nb O\n\nc I-PER\nd O\n", [],
        ["a.conll:1", "a.conll:4", "--label_scheme"],
    ),
    "plain tags": ("a.conll", b"a PER\nb O\n", [], ["a.conll:1", "PER", "--task_name pos"]),
    "a span cuts a word": (
        "a.jsonl", b'{"text": "Leeds won", "label": [[0, 3, "LOC"]]}\n', [],
        ["a.jsonl:1", "'Leeds'", "--misaligned widen"],
    ),
    "empty split": ("a.jsonl", b"[]", [], ["a.jsonl"]),
    "all labels ignored": (
        "a.jsonl", b'{"tokens": ["a", "b"], "ner_tags": [null, null]}\n', [], ["a.jsonl"],
    ),
    "no column of the task": (
        "a.conllu", b"1\ta\t_\tX\t_\t_\t0\troot\t_\t_\n\n", [], ["a.conllu", "--label_column_name"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_bad_data(case, model, tmp_path, capfd):
    name, content, options, fragments = DATA[case]
    file = tmp_path / name
    file.write_bytes(content)
    out = f"--output_dir={tmp_path / 'out'}"
    arguments = [f"--train_file={file}", f"--model_name_or_path={model}", out, *options]
    refuse(capfd, arguments, *fragments)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda path: None, ["train.conll", "No such file"]),
        (lambda path: path.mkdir(), ["train.conll", "directory"]),
    ],
    ids=["missing", "directory"],
)
def test_no_data(make, fragments, model, tmp_path, capfd):
    file = tmp_path / "train.conll"
    make(file)
    out = f"--output_dir={tmp_path / 'out'}"
    refuse(capfd, [f"--train_file={file}", f"--model_name_or_path={model}", out], *fragments)


def test_unknown_hub_dataset_names_a_way_out(model, tmp_path, capfd):
    out = f"--output_dir={tmp_path / 'out'}"
    arguments = ["--dataset_name=conll2003", f"--model_name_or_path={model}", out]
    refuse(capfd, arguments, "conll2003", "lhoestq/conll2003")


def test_bad_models(model, tmp_path, capfd):
    good = tmp_path / "train.conll"
    good.write_text(GOOD)
    out = f"--output_dir={tmp_path / 'out'}"
    bare = tmp_path / "bare"
    bare.mkdir()
    train = [f"--train_file={good}", out]
    refuse(capfd, [*train, f"--model_name_or_path={bare}"], bare)
    with_tokenizer = [f"--model_name_or_path={bare}", f"--tokenizer_name={model}"]
    refuse(capfd, [*train, *with_tokenizer], bare, "config.json")
    refuse(capfd, [*train, f"--model_name_or_path={tmp_path / 'nowhere'}"], "no such folder")
    refuse(capfd, [*train, f"--model_name_or_path={model}", "--max_length=600"], "600", "256")
    other = tmp_path / "other.conll"
    other.write_text("Bonn NNP B-NP B-CITY\n")
    arguments = [f"--train_file={other}", out, f"--model_name_or_path={model}"]
    refuse(capfd, arguments, "B-CITY", "--ignore_mismatched_sizes")


def test_bad_options_are_reported_together(tmp_path, capfd):
    arguments = ["--learning_rate=-1", "--per_device_train_batch_size=0", "--stride=-3",
                 "--checkpointing_steps=often", "--resume_from_checkpoint=auto",
                 "--overwrite_output_dir"]  # fmt: skip
    refuse(capfd, arguments, "--learning_rate -1.0", "--per_device_train_batch_size 0",
           "--stride -3", "--checkpointing_steps often", "--output_dir")  # fmt: skip
    refuse(capfd, ["--lerning_rate=1"], "--lerning_rate", "--learning_rate")
    refuse(capfd, ["--learning_rate=much"], "--learning_rate", "much")


def test_another_run_is_not_overwritten_unasked(tmp_path, capfd):
    folder = tmp_path / "run"
    arguments = [*SMALL, "--max_train_steps=2", f"--output_dir={folder}"]
    train_loop.main([*arguments, "--checkpointing_steps=1"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capfd.readouterr()
    refuse(capfd, arguments, folder, "--overwrite_output_dir")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    train_loop.main([*arguments, "--overwrite_output_dir"])
    assert not (folder / "step_1").exists()


def test_output_folder_that_cannot_be_written(tmp_path, capfd):
    blocked = tmp_path / "file"
    blocked.write_text("")
    refuse(capfd, [*SMALL, f"--output_dir={blocked / 'run'}"], blocked, "--output_dir")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_folder(tmp_path, capfd):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refuse(capfd, [*SMALL, f"--output_dir={locked}"], locked, "Permission denied")


def test_a_label_only_in_validation_is_a_warning(model, tmp_path, capfd):
    train, dev = tmp_path / "train.conll", tmp_path / "dev.conll"
    train.write_text("Bonn B-LOC\nis O\n\nEU B-ORG\n")
    dev.write_text("Carla B-PER\nis O\n")
    folder = tmp_path / "run"
    code = train_loop.cli(
        [f"--train_file={train}", f"--validation_file={dev}", f"--config_name={model}",
         f"--tokenizer_name={model}", "--ignore_mismatched_sizes", f"--output_dir={folder}"]
    )  # fmt: skip
    assert code == 0
    assert "B-PER" in capfd.readouterr().out
    labels = json.loads((folder / "config.json").read_text())["label2id"]
    assert sorted(labels) == ["B-LOC", "B-ORG", "B-PER", "O"]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--return_entity_level_metrics", "--metric_for_best_model=PRE_f1"], ["PRE_f1", "PER_f1"]),
        (["--metric_for_best_model=f2"], ["f2", "strict_f1"]),
        (["--with_tracking", "--report_to=tensorbord"], ["tensorbord", "tensorboard"]),
    ],
)
def test_what_there_is_not(options, fragments, tmp_path, capfd):
    refuse(capfd, [*SMALL, *options, f"--output_dir={tmp_path / 'out'}"], *fragments)


def test_a_split_without_words(model, tmp_path, capfd):
    train, dev = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    train.write_text('{"tokens": ["Bonn"], "ner_tags": ["B-LOC"]}\n')
    dev.write_text('{"tokens": [], "ner_tags": []}\n')
    arguments = [f"--train_file={train}", f"--validation_file={dev}"]
    arguments += [f"--model_name_or_path={model}", f"--output_dir={tmp_path / 'out'}"]
    refuse(capfd, arguments, "validation")


def test_the_model_is_not_overwritten_by_its_own_training(model, capfd):
    refuse(
        capfd, [f"--model_name_or_path={model}", f"--output_dir={model}", "--overwrite_output_dir"],
        "holds --model_name_or_path",
    )  # fmt: skip
    assert (model / "model.safetensors").is_file()


@pytest.mark.slow
def test_fp16_without_a_gpu(tmp_path):
    """In a process of its own: accelerate remembers the first precision it was given."""
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    result = subprocess.run(
        [sys.executable, "train_loop.py", "--mixed_precision=fp16", f"--output_dir={tmp_path}"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("error: mixed precision fp16 needs a GPU")


def test_a_refused_run_does_not_use_up_a_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    refuse(capfd, [*SMALL, "--metric_for_best_model=f2"], "f2")
    train_loop.main([*SMALL, "--max_train_steps=1"])
    train_loop.main([*SMALL, "--max_train_steps=1"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["ner-1", "ner-2"]
