"""Files and folders that options name: refused in one line before torch is imported, never read for
ever; for every option and all four scripts."""

import os
import socket
import subprocess
import sys

import pytest
from launches import REPO, SMALL

import export
import predict
import report
import train_loop
from tagloop.errors import InputError
from tagloop.options.command_line import check_places, parse_config
from tagloop.options.config import FIELDS

PLACES = [n for n, f in FIELDS.items() if f.metadata["is_path"] or f.metadata["is_hub_name"]]
DATA = [n for n in PLACES if n.endswith("_file")]
NEEDED = {
    "feature_extractor_name": [
        "--task_name=speech",
        "--train_file=x",
    ],  # what an option needs beside it
    "config_name": ["--tokenizer_name=t"],
    "resume_from_checkpoint": ["--output_dir=o"],
}
SCRIPTS = {
    "predict.py": [["{}"], ["m", "--file", "{}"], ["m", "--text", "a", "--output", "{}"]],
    "report.py": [["{}"], ["m", "{}"], ["m", "--output", "{}"]],
    "export.py": [["{}"], ["m", "--output", "{}"], ["m", "--validation_file", "{}"]],
}
SCRIPT_CASES = [(name, case) for name, cases in SCRIPTS.items() for case in cases]
CLIS = {"predict.py": predict.cli, "report.py": report.cli, "export.py": export.cli}


def options_for(name: str, value: str) -> list[str]:
    base = [] if name == "model_name_or_path" else ["--model_name_or_path=m"]
    return [f"--{name}={value}", *base, *NEEDED.get(name, [])]


def loop(folder):
    """A link that leads back to itself."""
    link = folder / "loop"
    link.symlink_to(link)
    return link


def refused_by(capfd, command, arguments) -> str:
    """What a script says; it has to end with code 2 and lines that begin with `error: `."""
    assert command(arguments) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert len(said) < 1500, "a long name is cut"
    return said


@pytest.mark.parametrize("under", ["", "nowhere/", "./"])
@pytest.mark.parametrize("name", PLACES)
def test_a_name_that_no_file_can_have(name, under, capfd):
    said = refused_by(capfd, train_loop.cli, options_for(name, under + 300 * "é"))
    assert f"--{name} " in said
    assert "600 bytes" in said


@pytest.mark.parametrize("name", PLACES)
def test_links_that_lead_nowhere(name, tmp_path, capfd):
    said = refused_by(capfd, train_loop.cli, options_for(name, str(loop(tmp_path))))
    assert f"--{name} " in said
    assert "leads back to itself" in said


@pytest.mark.parametrize("name", PLACES)
def test_half_a_character_in_a_name(name, capfd):
    for value in ("\udcff", "a\ud800/b"):
        said = refused_by(capfd, train_loop.cli, options_for(name, value))
        assert f"--{name} " in said
        assert "must be UTF-8" in said


@pytest.mark.parametrize(("script", "case"), SCRIPT_CASES)
def test_the_other_scripts_refuse_such_names_too(script, case, tmp_path, capfd):
    for value, says in (
        (300 * "a", "300 bytes"),
        ("\udcff", "must be UTF-8"),
        (str(loop(tmp_path)), "leads back to itself"),
    ):
        arguments = [argument.format(value) for argument in case]
        assert says in refused_by(capfd, CLIS[script], arguments)


@pytest.mark.parametrize("name", PLACES)
def test_a_tilde_is_the_home_folder(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    if name == "config":
        (tmp_path / "x").write_text("seed: 7\n", encoding="utf-8")
    config = parse_config(options_for(name, "~/x"))
    assert getattr(config, name) == f"{tmp_path}/x"


def odd_files(folder):
    """A pipe, a device, a socket, and a folder of nothing."""
    os.mkfifo(folder / "pipe.json")
    os.chdir(folder)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.json")
    (folder / "folder.json").mkdir()
    return [folder / "pipe.json", folder / "socket.json", "/dev/zero", folder / "folder.json"]


@pytest.mark.parametrize("name", [*DATA, "config"])
def test_what_is_no_plain_file_is_never_read(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for path in odd_files(tmp_path):
        said = refused_by(capfd, train_loop.cli, options_for(name, str(path)))
        assert f"--{name} {path}: " in said
        assert "no plain file" in said or "directory" in said or "not a file" in said


@pytest.mark.parametrize("mode", [[], ["--check_data"]])
def test_a_pipe_is_refused_when_data_is_checked_as_well(mode, tmp_path, capfd):
    os.mkfifo(tmp_path / "a.conll")
    arguments = [*options_for("train_file", str(tmp_path / "a.conll")), *mode]
    assert "no plain file" in refused_by(capfd, train_loop.cli, arguments)


def test_a_link_to_a_plain_file_is_a_file(tmp_path):
    (tmp_path / "a.conll").write_text("a B-X\n", encoding="utf-8")
    (tmp_path / "link.conll").symlink_to(tmp_path / "a.conll")
    check_places(parse_config(options_for("train_file", str(tmp_path / "link.conll"))))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_in_a_folder_that_was_saved(name, trained, tmp_path, capfd):
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(trained / file)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    arguments = [f"--model_name_or_path={tmp_path}", "--max_train_steps=1"]
    assert name in refused_by(capfd, train_loop.cli, arguments)
    assert name in refused_by(capfd, predict.cli, [str(tmp_path), "--text", "a"])
    assert name in refused_by(capfd, report.cli, [str(tmp_path)])
    assert name in refused_by(capfd, export.cli, [str(tmp_path)])


@pytest.mark.parametrize("which", ["run.json", "step_4/manifest.json"])
def test_a_pipe_in_the_folder_of_a_run(which, tmp_path, capfd):
    (tmp_path / "step_4").mkdir()
    os.mkfifo(tmp_path / which)
    arguments = [f"--output_dir={tmp_path}", "--resume_from_checkpoint=auto"]
    assert "no plain file" in refused_by(capfd, train_loop.cli, arguments)
    if which != "run.json":
        arguments[1] = f"--resume_from_checkpoint={tmp_path / 'step_4'}"
        assert "no plain file" in refused_by(capfd, train_loop.cli, arguments)


def test_text_to_tag_may_come_through_a_pipe_as_standard_input_only(tmp_path, capfd):
    os.mkfifo(tmp_path / "in.txt")
    said = refused_by(capfd, predict.cli, ["m", "--file", str(tmp_path / "in.txt")])
    assert "give it as standard input" in said


def test_an_adapter_is_called_one(tmp_path, capfd):
    (tmp_path / "adapter_config.json").write_text("{}")
    said = refused_by(capfd, train_loop.cli, [f"--model_name_or_path={tmp_path}"])
    assert "PEFT adapter" in said
    assert "merge" in said


@pytest.mark.medium
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--train_file={}/no.json", "--model_name_or_path=m"], "No such file or directory"),
        (["--labels_file={}/no.txt", "--model_name_or_path=m"], "No such file or directory"),
        (["--train_file={}/data", "--model_name_or_path=./nowhere"], "no such folder"),
        (["--model_name_or_path={}/a/b/c"], "no such folder"),
        (["--model_name_or_path={}/data"], "no such folder"),
        (["--model_name_or_path={}"], "no config.json"),
        (["--model_type=bert", "--tokenizer_name={}"], "no config.json"),
        (["--output_dir={}/data"], "cannot be written"),
        (["--output_dir={}/data/run"], "cannot be written"),
        (["--dataset_name={}/data", "--model_name_or_path=m"], "a file; give it as --train_file"),
        (["--dataset_name=./nowhere", "--model_name_or_path=m"], "no such folder"),
        (["--config={}/no.yaml"], "No such file or directory"),
    ],
)
@pytest.mark.medium
def test_places_are_checked_before_the_slow_imports(argv, says, tmp_path):
    """By an interpreter in which importing torch ends the program."""
    (tmp_path / "data").write_text("a B-X\n", encoding="utf-8")
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("torch", "numpy", "accelerate", "transformers", "datasets"):
        (stubs / f"{name}.py").write_text(f"raise SystemExit('imports {name}')\n")
    done = subprocess.run(
        [sys.executable, "train_loop.py", *(option.format(tmp_path) for option in argv)],
        cwd=REPO, env={"PYTHONPATH": str(stubs), "PATH": "/usr/bin"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "imports" not in done.stderr


def test_all_bad_data_files_are_reported_together():
    config = parse_config(
        ["--train_file=no.json", "--validation_file=none.json", "--model_name_or_path=m"]
    )
    with pytest.raises(InputError) as caught:
        check_places(config)
    assert len(str(caught.value).splitlines()) == 2


def test_one_of_several_machines_does_not_leave_alone(tmp_path):
    """Its file may lie on the others: it waits until all have met."""
    env = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "RANK": "1"}
    code = "from tagloop.options.command_line import check_command_line as c; c(); print('went on')"
    done = subprocess.run(
        [sys.executable, "-c", code, "--train_file=no.json", "--model_name_or_path=m"],
        cwd=REPO, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("went on\n", "")


@pytest.mark.parametrize("script", ["train_loop.py", *SCRIPTS])
def test_a_working_directory_that_was_deleted(script, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    arguments = {"train_loop.py": ""}.get(script, "m")
    done = subprocess.run(
        ["sh", "-c", f"cd {gone} && rmdir {gone} && {sys.executable} {REPO / script} {arguments}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the working directory was deleted")
    assert "Traceback" not in done.stderr


def test_the_first_line_comes_before_the_slow_imports(tmp_path):
    """Also where stdout is a pipe: here the first import ends the program before it can flush."""
    for name in ("torch", "numpy", "accelerate", "transformers", "datasets"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(9)\n")
    done = subprocess.run(
        [sys.executable, "train_loop.py", f"--output_dir={tmp_path / 'o'}"],
        cwd=REPO, env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (9, "")
    assert done.stdout == "loading torch, transformers and accelerate\n"


@pytest.mark.slow
def test_the_next_lines_name_what_is_read(tmp_path, capsys):
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={tmp_path / 'run'}"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "reading the built-in sample"
    assert lines[1].startswith("loading ")
    assert lines[2].split()[:4] == ["data", "the", "built-in", "sample"]
