"""Bad input: one clear message, exit code 2, no traceback, nothing computed or lost."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys

import datasets
import huggingface_hub
import pytest
import torch
from launches import REPO, SMALL
from transformers import AutoTokenizer

import predict
import report
import train_loop
from tagloop.options.scripts import run_script

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
    "mixed encodings": (
        "a.conll", b"caf\xc3\xa9 O\n\ncaf\xe9 O\n", [], ["a.conll:3", "mixes encodings"],
    ),
    "binary": ("a.conll", b"a O\n\x00\x01\xff\xfe", [], ["a.conll:2", "this is no text"]),
    "swapped columns": (
        "a.conll", "".join(f"NN word{n}\n" for n in range(101)).encode(), ["--task_name=pos"],
        ["101 different tags for 1 different words", "swapped", "--label_column_name"],
    ),
    "swapped columns of texts": (
        "a.csv", ("text,label\n" + "".join(f"good,text {n}\n" for n in range(101))).encode(),
        ["--task_name=classification"],
        ["101 different classes for 1 different texts", "--label_column_name"],
    ),
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


def test_a_word_above_the_vocabulary_of_a_model(model, tmp_path, capfd):
    file, larger = tmp_path / "train.conll", tmp_path / "larger"
    file.write_text(GOOD)
    shutil.copytree(model, larger)
    tokenizer = AutoTokenizer.from_pretrained(larger)
    tokenizer.add_tokens(["unseen", "rejects"])
    tokenizer.save_pretrained(larger)
    arguments = [f"--train_file={file}", f"--model_name_or_path={larger}"]
    arguments += ["--ignore_mismatched_sizes", f"--output_dir={tmp_path / 'out'}"]
    refuse(capfd, arguments, f"{larger}: the tokenizer has", "'rejects'", "--allow_partial_weights")


def test_a_misspelt_model_without_a_network(tmp_path, capfd, monkeypatch, looked_up):
    """One line, and no minute of retries: the hub is asked once."""
    for library in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(library, "HF_HUB_OFFLINE", False)
    file = tmp_path / "train.conll"
    file.write_text(GOOD)
    arguments = [f"--train_file={file}", f"--output_dir={tmp_path / 'out'}"]
    model = "--model_name_or_path=bert-base-casd"
    refuse(capfd, [*arguments, model], "bert-base-casd", "check the spelling")
    assert len(looked_up) == 1


def test_a_misspelt_architecture(model, tmp_path, capfd):
    file = tmp_path / "train.conll"
    file.write_text(GOOD)
    arguments = [f"--train_file={file}", f"--tokenizer_name={model}", "--model_type=brt"]
    refuse(capfd, [*arguments, f"--output_dir={tmp_path / 'out'}"], "--model_type brt", "or bart")


def test_more_processes_than_gpus(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    refuse(
        capfd, [*SMALL, f"--output_dir={tmp_path / 'out'}"],
        "asked for 8 processes", "1 GPU:", "--num_processes 1", "8 times",
    )  # fmt: skip


@pytest.mark.medium
def test_nothing_to_validate_on_is_said_before_training(model, tmp_path, capfd):
    file = tmp_path / "train.conll"
    file.write_text(GOOD)
    arguments = [f"--train_file={file}", f"--config_name={model}", f"--tokenizer_name={model}"]
    train_loop.main([*arguments, "--max_train_steps=1", f"--output_dir={tmp_path / 'out'}"])
    said = capfd.readouterr().out
    assert "--validation_fraction 0.1" in said.partition("\nupdate ")[0]


@pytest.mark.medium
def test_ctrl_c_while_libraries_are_imported():
    code = "from tagloop.options.command_line import check_command_line as check; check(); raise {}"
    for error, lines in (("KeyboardInterrupt", 1), ("ZeroDivisionError", 3)):
        result = subprocess.run(
            [sys.executable, "-c", code.format(error)], cwd=REPO, capture_output=True, text=True
        )
        assert len(result.stderr.splitlines()) == lines, result.stderr
        assert result.returncode != 0


@pytest.mark.slow
def test_a_disk_that_is_full_when_a_checkpoint_is_written(tmp_path, capfd):
    """No file may be larger than 3 MB: the moments of the optimizer are."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, limits[1]))
    try:
        arguments = [*SMALL, "--max_train_steps=2", "--checkpointing_steps=1"]
        code = train_loop.cli([*arguments, f"--output_dir={tmp_path / 'run'}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 3
    error = capfd.readouterr().err
    assert "step_1: the checkpoint could not be written: File too large;" in error
    assert "--resume_from_checkpoint auto" in error


@pytest.mark.slow
def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        where |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        result = subprocess.run(
            [sys.executable, "train_loop.py", *SMALL, f"--output_dir={tmp_path / 'run'}"],
            cwd=REPO, env={**os.environ, **where}, capture_output=True, text=True,
        )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.count("error: the processes cannot meet at 127.0.0.1:") == 1
    assert "--main_process_port" in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_options_are_reported_together(tmp_path, capfd):
    arguments = ["--learning_rate=-1", "--per_device_train_batch_size=0", "--stride=-3",
                 "--checkpointing_steps=often", "--resume_from_checkpoint=auto",
                 "--overwrite_output_dir"]  # fmt: skip
    refuse(capfd, arguments, "--learning_rate -1.0", "--per_device_train_batch_size 0",
           "--stride -3", "--checkpointing_steps often", "--output_dir")  # fmt: skip
    refuse(capfd, ["--lerning_rate=1"], "--lerning_rate", "--learning_rate")
    refuse(capfd, ["--learning_rate=much"], "--learning_rate", "much")


@pytest.mark.slow
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


def test_what_the_system_says_of_a_file_is_one_line(tmp_path, capfd):
    missing = tmp_path / "missing"
    assert run_script(lambda argv: missing.read_text(), []) == 2
    assert capfd.readouterr().err == f"error: {missing}: No such file or directory\n"
    with pytest.raises(OSError, match="of no file"):  # a mistake in the program
        run_script(lambda argv: (_ for _ in ()).throw(OSError("of no file")), [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any folder")
@pytest.mark.parametrize("script", [predict, report, train_loop])
def test_a_folder_that_may_not_be_entered_is_named(tmp_path, script, capfd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").touch()
    (tmp_path / "run").chmod(0o444)
    arguments = {
        predict: [str(tmp_path / "run"), "--text", "Ann"],
        report: [str(tmp_path / "run")],
        train_loop: [f"--output_dir={tmp_path / 'run' / 'x'}"],
    }
    assert script.cli(arguments[script]) == 2
    assert str(tmp_path / "run") in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_folder(tmp_path, capfd):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refuse(capfd, [*SMALL, f"--output_dir={locked}"], locked, "Permission denied")


@pytest.mark.medium
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


@pytest.mark.medium
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


@pytest.mark.slow
def test_a_refused_run_does_not_use_up_a_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    refuse(capfd, [*SMALL, "--metric_for_best_model=f2"], "f2")
    train_loop.main([*SMALL, "--max_train_steps=1"])
    train_loop.main([*SMALL, "--max_train_steps=1"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["ner-1", "ner-2"]
