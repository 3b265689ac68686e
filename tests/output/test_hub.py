"""Uploads to a hub on this machine: what arrives, what never leaves, what a failure costs."""

import os
import shlex
import subprocess
import sys

import huggingface_hub
import pytest
from hub_server import serving
from launches import SMALL, read_json

import train_loop

TOKEN = "hf_thisIsASecret"
SHORT = [*SMALL, "--max_train_steps=2", "--checkpointing_steps=1", "--do_train"]
SHARED = (
    "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md",
    "all_results.json", "train_results.json",
)  # fmt: skip


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Let the client reach a hub, with no token but the one of the options."""

    def point_at(hub):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return point_at


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_what_arrives_is_what_the_run_wrote_for_others(use, tmp_path, capfd, monkeypatch):
    folder = tmp_path / "run"
    write = lambda run: (run.folder / "report.html").write_text("A sentence")  # noqa: E731
    monkeypatch.setattr("train_loop.report_run", write)
    folder.mkdir()
    for name in (".env", "slurm-17.out", "train.csv", "vocab.txt", "model-notes.safetensors"):
        (folder / name).write_text("secret")
    (folder / "data").mkdir()
    (folder / "data" / "config.json").write_text("secret")
    options = [*SHORT, "--overwrite_output_dir", f"--output_dir={folder}"]
    with serving() as hub:
        use(hub)
        train_loop.main([*options, "--push_to_hub", "--hub_private_repo", f"--hub_token={TOKEN}"])
    assert hub.is_private
    assert (hub.repository, hub.tokens) == ("somebody/run", {f"Bearer {TOKEN}"})
    sent = files_of(folder)
    assert sent["report.html"]
    assert hub.files == {name: sent[name] for name in SHARED}
    assert str(tmp_path).encode() not in b"".join(hub.files.values())
    assert hub.cards == [sent["README.md"].decode()]
    said = capfd.readouterr()
    assert f"uploaded    {hub.url}/somebody/run" in said.out
    assert TOKEN not in said.out + said.err
    assert (folder / "step_1").is_dir()
    for path in folder.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("refuses", ["repos/create", "/commit/"])
@pytest.mark.slow
def test_a_failed_upload_leaves_the_run_and_a_command_that_works(use, tmp_path, capfd, refuses):
    folder = tmp_path / "my run"
    with serving(refuses) as hub:
        use(hub)
        code = train_loop.cli(
            [*SHORT, f"--output_dir={folder}", "--push_to_hub", "--hub_model_id=team/tagger",
             f"--hub_token={TOKEN}"]
        )  # fmt: skip
    error = capfd.readouterr().err
    assert code == 3, "a script that goes on with the upload must notice"
    (line,) = error.splitlines()
    assert "is finished and saved, but was not uploaded: " in line
    assert "403" in line
    assert TOKEN not in line
    assert read_json(folder / "run.json")["finished"] is True
    assert hub.files == {}
    if refuses == "/commit/":
        return
    command = shlex.split(line.partition("later: ")[2])
    assert command[0] == "hf"
    with serving() as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
        subprocess.run(
            [sys.executable, "-m", "huggingface_hub.cli.hf", *command[1:]],
            env=os.environ | environment, check=True, capture_output=True,
        )  # fmt: skip
    sent = files_of(folder)
    assert (hub.repository, hub.files) == ("team/tagger", {name: sent[name] for name in SHARED})


@pytest.mark.slow
def test_nothing_goes_to_a_public_repository_if_a_private_one_was_asked_for(use, tmp_path, capfd):
    folder = tmp_path / "run"
    private = [f"--output_dir={folder}", "--push_to_hub", "--hub_private_repo"]
    with serving(exists=True) as hub:
        use(hub)
        assert train_loop.cli([*SHORT, *private, f"--hub_token={TOKEN}"]) == 3
    error = capfd.readouterr().err
    assert "somebody/run exists and is public; name another --hub_model_id" in error
    assert "hf upload" not in error, "that command would publish the model"
    assert hub.files == {}
    assert read_json(folder / "run.json")["finished"] is True


@pytest.mark.slow
def test_a_token_that_the_client_would_quote_is_not_shown(use, tmp_path, capfd):
    with serving() as hub:
        use(hub)
        code = train_loop.cli(
            [*SHORT, f"--output_dir={tmp_path / 'run'}", "--push_to_hub", f"--hub_token={TOKEN}\n"]
        )
    error = capfd.readouterr().err
    assert code == 3
    assert "was not uploaded: " in error
    assert TOKEN not in error


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--do_train"], "no token of the hub; set HF_TOKEN"),
        (["--do_train", "--hub_token=x", "--hub_model_id=a/b/c"], "--hub_model_id"),
        (["--do_train", "--hub_token=x", "--output_dir={}/my run"], "'my run'"),
        (
            ["--hub_token=x", "--predict_file={}/x.conll", "--model_name_or_path=x"],
            "needs --do_train",
        ),
    ],
)
def test_an_upload_that_cannot_work_is_refused_before_the_training(
    use, tmp_path, capfd, monkeypatch, options, named
):
    def unwanted(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(train_loop, "build", unwanted)
    (tmp_path / "x.conll").write_text("x\n")
    options = [option.format(tmp_path) for option in options]
    code = train_loop.cli([f"--output_dir={tmp_path / 'run'}", "--push_to_hub", *options])
    error = capfd.readouterr().err
    assert code == 2
    assert named in error
    assert len(error.splitlines()) == 1


def test_a_private_repository_without_an_upload_is_a_mistake(tmp_path, capfd):
    assert train_loop.cli([f"--output_dir={tmp_path / 'run'}", "--hub_private_repo"]) == 2
    assert "--hub_private_repo: is for an upload; give --push_to_hub, too" in capfd.readouterr().err
