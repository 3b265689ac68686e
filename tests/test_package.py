"""The package that people install: the command `tagloop`, and what a wheel carries."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from launches import HANG, ON_CPU, REPO
from packaging.requirements import Requirement
from packaging.version import Version

import tagloop
from tagloop.__main__ import COMMANDS, main

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
# Runs several commands in one process, as torch takes seconds to import.
DRIVER = """
import json, sys
from tagloop.__main__ import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["tagloop", *command]
    try:
        code = main()
    except SystemExit as ending:
        code = ending.code
    print(f"{command[0]} ended with {code}", flush=True)
"""
TINY = (
    "--max_train_samples=16", "--max_eval_samples=9", "--max_predict_samples=9",
    "--max_train_steps=2", "--no_report",
)  # fmt: skip


@pytest.fixture
def tell(monkeypatch, capsys):
    """Runs a command in this process; returns the exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tagloop", *arguments])
        code = main()
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("typed", "answer"),
    {
        "trian": "trian: is no command; did you mean train?",
        "copy_lop": "copy_lop: is no command; did you mean copy-loop?",
        "zzz": "zzz: is no command; the commands are train, check, predict, report, export, ",
        "--train_file": "--train_file: options stand after a command; the commands are train, ",
    }.items(),
)
def test_a_wrong_command_gets_a_suggestion(tell, typed, answer):
    code, out, err = tell(typed, "--seed=1")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {answer}")


def test_no_command_and_help_show_the_commands(tell):
    code, _, err = tell()
    assert code == 2
    assert err.startswith("error: a command is missing; give one of train, ")
    code, out, _ = tell("--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


def test_every_command_answers_before_the_slow_imports(tmp_path):
    for name in ("torch", "numpy", "accelerate", "transformers", "datasets"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imports {name}')\n")
    commands = [[name, "--help"] for name in COMMANDS] + [["--version"], ["train", "--seed=-1"]]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=REPO,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    endings = [line for line in done.stdout.splitlines() if " ended with " in line]
    assert endings == [
        *(f"{name} ended with 0" for name in COMMANDS),
        "--version ended with 0",
        "train ended with 2",
    ], done.stderr
    assert done.stderr == "error: --seed -1: must be at least 0\n"


def test_copy_loop_replaces_nothing(tell, tmp_path):
    mine = tmp_path / "a" / "mine"
    mine.mkdir(parents=True)
    (mine / "postprocess.py").write_text("# mine\n")
    code, _, err = tell("copy-loop", str(mine))
    assert (code, err) == (
        2,
        f"error: {mine / 'postprocess.py'}: exists, and copy-loop replaces nothing; "
        "name another folder\n",
    )
    assert [path.name for path in mine.iterdir()] == ["postprocess.py"]
    assert tell("copy-loop")[0] == 2
    assert tell("copy-loop", str(mine / "postprocess.py" / "x"))[0] == 2
    assert tell("copy-loop", str(tmp_path / "new" / "mine"))[0] == 0
    for name in ("train_loop.py", "postprocess.py", "accelerate_configs/cpu.yaml"):
        copy = tmp_path / "new" / "mine" / name
        assert copy.read_bytes() == (REPO / name).read_bytes()


def pins_of(*names: str) -> dict[str, str]:
    """The versions in requirements files, by name of the package."""
    lines = [line for name in names for line in (REPO / name).read_text().splitlines()]
    bare = [line.partition("#")[0].partition(";")[0].strip() for line in lines]
    return dict(line.split("==") for line in bare if "==" in line)


@pytest.mark.parametrize("extra", [None, *PROJECT["project"]["optional-dependencies"]])
def test_the_tested_versions_lie_in_the_ranges(extra):
    """Both name the same packages: one that only a pin names would be missing for its user."""
    project = PROJECT["project"]
    if extra is None:
        named, pins = project["dependencies"], pins_of("requirements.txt")
    else:
        named = project["optional-dependencies"][extra]
        pins = pins_of(f"requirements-{extra}.txt")
    ranges = {Requirement(text).name: Requirement(text).specifier for text in named}
    assert ranges.keys() == pins.keys()
    outside = {name: pin for name, pin in pins.items() if not ranges[name].contains(pin)}
    assert not outside


def test_a_range_begins_at_the_version_that_make_test_lowest_tests():
    project, lowest = PROJECT["project"], pins_of("requirements-lowest.txt")
    extras = project["optional-dependencies"]
    installed = re.search(r'--editable "\.\[(.*?)\]"', (REPO / "Makefile").read_text())[1].split(
        ","
    )
    named = [*project["dependencies"], *(text for extra in installed for text in extras[extra])]
    begins = {}
    for requirement in map(Requirement, named):
        (begins[requirement.name],) = (
            s.version for s in requirement.specifier if s.operator == ">="
        )
    assert begins.keys() == lowest.keys()
    assert {name: Version(text) for name, text in begins.items()} == {
        name: Version(text) for name, text in lowest.items()
    }


def test_the_citation_and_the_changes_name_this_version():
    citation = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tagloop.__version__}\n" in citation
    assert f"\n## {tagloop.__version__}" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert f"\nlicense: {PROJECT['project']['license']}\n" in citation


@pytest.mark.slow
def test_a_wheel_in_an_environment_of_its_own_does_all_of_it(tmp_path):
    """Outside of the checkout. The libraries are those of this environment: nothing is loaded."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object, code: int = 0) -> str:
        done = subprocess.run(
            [*map(str, command)],
            cwd=tmp_path,
            env=environment | ON_CPU,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG,
        )
        assert done.returncode == code, done.stdout[-4000:]
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", "installed")
    (packages,) = tmp_path.glob("installed/lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries))
    program = tmp_path / "installed" / "bin"
    run(
        *(sys.executable, "-m", "pip", "--python", program / "python", "install", "--quiet"),
        *("--no-deps", "--no-index", "--no-build-isolation", REPO),
    )
    added = {path.name for path in packages.iterdir()} - {"libraries.pth"}
    assert added == {"tagloop", f"tagloop-{tagloop.__version__}.dist-info"}

    assert run(program / "tagloop", "--version") == f"tagloop {tagloop.__version__}\n"
    (tmp_path / "train.conll").write_text("Ann B-PER\nwon O\n\nBob B-PER\nlost O\n")
    commands = [
        ["copy-loop", "mine"],
        ["check", "--train_file=train.conll"],
        ["train", "--help"],
        ["export", "--help"],
        ["predict", "--help"],
        ["train", "--no_cuda"],
    ]
    told = run(program / "python", "-c", DRIVER, json.dumps(commands))
    assert [line for line in told.splitlines() if " ended with " in line] == [
        f"{command[0]} ended with {2 if '--no_cuda' in command else 0}" for command in commands
    ]
    (launch_file,) = re.findall(r"--config_file (\S+)", told)
    assert launch_file == str(packages / "tagloop" / "scripts" / "accelerate_configs" / "cpu.yaml")
    assert "    accelerate launch -m tagloop predict runs/mine" in told
    assert "no problems found\n" in told
    assert "usage: tagloop train [--help]" in told
    assert "tagloop export runs/mine --format onnx" in told

    launch = [program / "python", "-m", "accelerate.commands.launch", "--main_process_port", 0]
    two = ["--config_file", "mine/accelerate_configs/cpu_2proc.yaml", "-m", "tagloop", "train"]
    told = run(*launch, *two, *TINY, "--output_dir=run")
    assert "2 x cpu" in told
    assert '\nnext        tagloop predict run --text "Write a text here."\n' in told
    commands = [["predict", "run", "--text", "Ann Lee lives in Oslo."], ["report", "run"]]
    told = run(program / "python", "-c", DRIVER, json.dumps(commands))
    assert '{"text": "Ann Lee lives in Oslo.", "tokens": ["Ann", "Lee", ' in told
    assert "predict ended with 0\nrun/report.html\nreport ended with 0\n" in told
    assert "<svg" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    first_line = "    config = parse_config(argv)\n"
    for name, after in (("train_loop", first_line), ("postprocess", "\nimport numpy as np\n")):
        script = tmp_path / "mine" / f"{name}.py"
        indent = "    " if after is first_line else ""
        edited = script.read_text(encoding="utf-8").replace(
            after, f"{after}{indent}print('my own {name}')\n"
        )
        script.write_text(edited, encoding="utf-8")
    told = run(program / "python", "mine/train_loop.py", *TINY, "--output_dir=own")
    assert "my own train_loop\n" in told
    assert "my own postprocess\n" in told
    assert "\nnext        tagloop predict own " in told, (
        "a copy of the loop has no predict.py beside"
    )
    assert (tmp_path / "own" / "model.safetensors").is_file()
