"""Write a trained model in a format that runs without torch, if it predicts as the model does.

    python export.py runs/mine --format onnx          # runs/mine-onnx
    python export.py runs/mine --format onnx --int8   # runs/mine-onnx-int8: smaller, often faster

The validation data of the run, or --validation_file, is predicted by the model and by its export.
float32: every prediction has to be the same. int8: the score may lose 0.3 points. Else nothing is
written (exit code 3). A task that cannot be exported is refused. predict.py reads the folder, too.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tagloop.errors import InputError, RunStopped
from tagloop.files import read_json, real_path, replace_files, write_json
from tagloop.options.config import Config
from tagloop.options.lists import options_about
from tagloop.options.places import check_places
from tagloop.options.scripts import ScriptParser, command_of, path, place, run_script, saved_folder
from tagloop.records import known_fields, read_record
from tagloop.streams import leave, write_line
from tagloop.tasks import task_module

MAY_LOSE = 0.003  # of the score


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """Command line -> options. Raises InputError."""
    parser = ScriptParser("export.py", __doc__)
    parser.add_argument("model_dir", type=saved_folder, help="output folder of a training run")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="default: onnx")
    parser.add_argument("--int8", action="store_true", help="weights in int8")
    parser.add_argument("--output", type=path, help="folder (default: MODEL_DIR-onnx[-int8])")
    parser.add_argument(
        "--validation_file", type=place, help="default: the validation data of the run"
    )
    options = parser.parse_args(argv)
    if options.output is None:
        folder = real_path(options.model_dir)
        options.output = folder.parent / (f"{folder.name}-onnx" + "-int8" * options.int8)
    if os.path.exists(options.output / "model.safetensors"):
        raise InputError(f"--output {options.output}: holds another model; name another folder")
    require_own(options.output)
    return options


def require_own(output: Path) -> None:
    """Raise InputError if a folder holds files, but no earlier export that may be replaced."""
    readable = output.is_dir() and os.access(output, os.R_OK)
    names = set(os.listdir(output)) if readable else set()
    names -= {"tmp-onnx"} if any((output / "tmp-onnx").glob("*.onnx")) else set()  # of a killed one
    if names and not {"model", "float32"} <= read_json(output / "export.json").keys():
        raise InputError(
            f"--output {output}: holds {min(names)}, which no export wrote; name a new folder"
        )


def config_of(folder: Path, validation_file: str | None, export_format: str) -> Config:
    """Options that score the model of a run on its validation data.

    Raises:
        InputError: no run lies there, it has no validation data, or models of its task cannot be
            exported in this format.
    """
    if not os.path.isfile(folder / "config.json"):
        raise InputError(
            f"{folder}: holds no config.json; name the output folder of a run that has ended"
        )
    options = read_json(folder / "run.json").get("options")
    try:
        options = options and vars(read_record(known_fields(options, Config), Config))
    except ValueError as error:
        raise InputError(f"{folder / 'run.json'}: is damaged: option {error}") from None
    if options is None and validation_file is None:
        raise InputError(f"{folder}: holds no run.json that names its data; give --validation_file")
    data = {n: value for n, value in (options or {}).items() if n in options_about("data")}
    data |= {"test_file": None, "predict_file": None}  # need not be read
    if validation_file is not None:
        data |= {"validation_file": validation_file, "dataset_name": None, "max_eval_samples": None}
        data |= {"validation_fraction": None}
    has_file = data.get("validation_file")
    is_part = data.get("validation_fraction") or data.get("validation_split_percentage")
    if has_file or not is_part:
        data["train_file"] = None
    if options and options["train_file"] and not has_file and not is_part:
        raise InputError(f"{folder}: was trained without validation data; give --validation_file")
    config = Config(**data, model_name_or_path=str(folder), do_eval=True)
    if export_format not in task_module(config.task_name, "options").EXPORT_FORMATS:
        raise InputError(
            f"{folder}: a model of --task_name {config.task_name} cannot be exported as "
            f"{export_format}; {command_of('train_loop.py')} --do_predict applies it"
        )
    return config


def main(argv: list[str] | None = None) -> dict:
    """Export, compare, publish; return what export.json holds."""
    options = parse_options(argv)
    config = config_of(options.model_dir, options.validation_file, options.format)
    check_places(config)
    from accelerate import Accelerator  # imports that take seconds come after --help

    from postprocess import predict_split
    from tagloop.models.onnx_model import NAME, OnnxModel, quantize, write_onnx
    from tagloop.models.saving import PROCESSOR_FILES
    from tagloop.processes.launch import quiet_libraries
    from tagloop.tasks.task import load_task
    from tagloop.training.dry_pass import dry_pass

    quiet_libraries()
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    task = load_task(config, pad_to_multiple_of=1)
    model, examples, metric = task.build_model(), task.examples["validation"], task.metric.name
    equal = dry_pass(model, [examples], dropout=False, backward=False).looks_across_padding
    exporter = task_module(config.task_name, "export")
    unit, answer = exporter.UNIT, exporter.ANSWER
    facts = {unit: int(examples.prediction_offsets[-1])}

    def measure(name, predictor):
        began = time.perf_counter()
        found = predict_split(
            accelerator, predictor, task, "validation", batch_size=8, equal_lengths=equal
        )
        speed = facts[unit] / (time.perf_counter() - began)
        score = task.score("validation", found.predictions, found.loss).values[metric]
        facts[name] = {metric: score, f"{unit}_per_second": round(speed)}
        write_line(f"{name:<10}{metric} {score:.4f}, {speed:,.0f} {unit}/s", "stdout")
        return exporter.answers(found.predictions)

    def write(into: Path) -> None:
        write_onnx(model, examples, into / NAME)
        expected = measure("model", model)
        found = measure("float32", OnnxModel(into / NAME, model.config))
        differ = int((found != expected).sum())
        if differ:
            raise RunStopped(
                f"{differ:,} of {len(expected):,} {unit} have another {answer}; nothing was written"
            )
        if options.int8:
            (into / NAME).rename(into / "float32.onnx")
            quantize(into / "float32.onnx", into / NAME)
            (into / "float32.onnx").unlink()
            (into / f"{NAME}.data").unlink(missing_ok=True)  # its weights, above 1 GiB
            measure("int8", OnnxModel(into / NAME, model.config))
            judge(facts, metric, f"{unit}_per_second")
        for name in ("config.json", *PROCESSOR_FILES):
            if (options.model_dir / name).exists():
                shutil.copyfile(options.model_dir / name, into / name)
        write_json(into / "export.json", facts)

    files = publish(options.output, write)
    size = files[NAME]["size"] / 2**20
    write_line(f"{'written':<10}{options.output / NAME}, {size:,.1f} MiB", "stdout")
    return facts


def publish(output: Path, write: Callable[[Path], None]) -> dict[str, dict]:
    """Write the files of a folder, or leave it as it was; return size and sha256 of each.

    Raises:
        InputError: there can be no such folder.
        RunStopped: it cannot be written to, or the disk is full.
    """
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}; name another folder") from None
    try:
        return replace_files(output, write, name="onnx")
    except OSError as error:
        raise RunStopped(f"--output {output}: could not be written ({error})") from error
    finally:
        if is_new and not any(output.iterdir()):
            output.rmdir()


def judge(facts: dict, metric: str, speed: str = "words_per_second") -> None:
    """Refuse an int8 model that lost too much; say so if it gains no speed here.

    Args:
        facts: under "model", "float32" and "int8", what export.json says of each.
        metric, speed: keys of the score and the speed in these.

    Raises:
        RunStopped: its score is more than 0.3 points below the model's.
    """
    lost = facts["model"][metric] - facts["int8"][metric]
    if lost > MAY_LOSE:
        raise RunStopped(
            f"int8 loses {100 * lost:.2f} points of {metric}, more than {100 * MAY_LOSE:.1f}; "
            "nothing was written. Without --int8 every prediction stays"
        )
    speeds = [facts[name][speed] for name in ("int8", "float32")]
    facts["faster"] = speeds[0] > speeds[1]
    if not facts["faster"]:
        write_line("int8 is not faster than float32 on this machine, only smaller", "stdout")


def cli(argv: list[str] | None = None) -> int:
    """main() as a command; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
