"""Command line and --config file -> a checked Config.

    config = parse_config(["--train_file", "a.conll", "--model_name_or_path", "bert-base-cased"])

Precedence: defaults < sample defaults < --config FILE < command line.
"""

import dataclasses
import difflib
import json
import sys
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from tagloop.config import Config
from tagloop.errors import InputError

# What a run without data and model options uses instead of the defaults: a model from scratch
# wants a higher rate than fine-tuning, and the sample is small.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}
DEBUG_SAMPLES = 100


class _Parser(HfArgumentParser):
    """argparse, but an error is an InputError with a suggestion instead of a page of usage."""

    def error(self, message: str):
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if unknown != message.split() and unknown[0].startswith("-"):
            option = unknown[0].split("=")[0]
            close = difflib.get_close_matches(option, self._option_string_actions, n=1)
            hint = f"did you mean {close[0]}?" if close else "--help lists all options"
            message = f"unknown option {option}; {hint}"
        raise InputError(message)


def parse_config(argv: list[str] | None = None) -> Config:
    """Command line (and --config file) -> checked options.

    Raises:
        InputError: unknown option, wrong type, or any failed check; all failed checks at once.
    """
    parser = _Parser(
        Config,
        allow_abbrev=False,
        prog="train_loop.py",
        description="Fine-tune an encoder for token classification. Without data and model "
        "options: a small model from scratch on the built-in sample.",
    )

    def parse(arguments: list[str]) -> Config:
        return Config(**vars(parser.parse_args(arguments)))

    arguments = sys.argv[1:] if argv is None else list(argv)
    config = parse(arguments)
    if config.config:
        arguments = _file_arguments(config.config) + arguments
        config = parse(arguments)
    if config.uses_sample_model:
        sample = [part for k, v in SAMPLE_DEFAULTS.items() for part in (f"--{k}", str(v))]
        config = parse(sample + arguments)
    problems = _problems(config)
    if problems:
        raise InputError("\n".join(problems))
    if config.debug:
        sizes = ("max_train_samples", "max_eval_samples", "max_predict_samples")
        small = {name: min(getattr(config, name) or DEBUG_SAMPLES, DEBUG_SAMPLES) for name in sizes}
        config = dataclasses.replace(config, **small)
    if not (config.do_train or config.do_eval or config.do_predict):  # then all the data allows
        trains = config.uses_sample_corpus or config.dataset_name or config.train_file
        config = dataclasses.replace(config, do_train=bool(trains), do_eval=True, do_predict=True)
    return config


def _file_arguments(path: str) -> list[str]:
    """The options of a YAML or JSON file in command line form."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        options = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"--config {path}: not valid YAML or JSON: {error}") from None
    if not isinstance(options, dict):
        raise InputError(f"--config {path}: must hold `option: value` lines")
    names = [field.name for field in dataclasses.fields(Config)]
    for name in options:
        if name not in names or name == "config":
            close = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {close[0]}?" if close else "--help lists all options"
            raise InputError(f"--config {path}: unknown option {name!r}; {hint}")
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _problems(config: Config) -> list[str]:
    """Every option that is wrong in itself or contradicts another, one line each."""
    problems = []
    asked = config.do_train or config.do_eval or config.do_predict

    def require(holds: bool, line: str) -> None:
        if not holds:
            problems.append(line)

    for name in (
        "max_train_samples", "max_eval_samples", "max_predict_samples", "max_length",
        "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
        "num_train_epochs", "max_train_steps", "eval_steps", "logging_steps",
        "early_stopping_patience", "checkpoints_total_limit",
    ):  # fmt: skip
        value = getattr(config, name)
        require(value is None or value > 0, f"--{name} {value}: must be at least 1")
    for name in ("weight_decay", "max_grad_norm", "num_warmup_steps", "seed",
                 "dataloader_num_workers", "stride"):  # fmt: skip
        value = getattr(config, name)
        require(value is None or value >= 0, f"--{name} {value}: must not be negative")
    require(
        0 < config.learning_rate < float("inf"),
        f"--learning_rate {config.learning_rate}: must be above 0",
    )
    require(config.seed < 2**63, f"--seed {config.seed}: must be below 2**63")
    fraction = config.validation_fraction
    require(
        fraction is None or 0 < fraction < 1,
        f"--validation_fraction {fraction}: must lie between 0 and 1",
    )
    require(
        fraction is None or config.validation_file is None,
        "--validation_fraction with --validation_file: give one of them",
    )
    steps = config.checkpointing_steps
    require(
        steps is None or steps == "epoch" or (steps.isdecimal() and int(steps) > 0),
        f'--checkpointing_steps {steps}: must be a number of updates or "epoch"',
    )
    warmup = config.num_warmup_steps
    require(
        warmup < 1 or warmup.is_integer(),
        f"--num_warmup_steps {warmup}: must be whole updates, or a share of the run below 1",
    )
    require(
        config.label_scheme is None or config.task_name != "pos",
        f"--label_scheme {config.label_scheme} with --task_name pos: pos tags have no scheme",
    )
    require(
        bool(config.model_name_or_path or config.config_name or config.model_type)
        or config.uses_sample_model,
        "your data needs a model: give --model_name_or_path, or --model_type and --tokenizer_name "
        "to train from scratch",
    )
    require(
        bool(config.model_name_or_path or config.tokenizer_name)
        or not (config.config_name or config.model_type),
        "a model from scratch needs --tokenizer_name",
    )
    require(
        not (config.push_to_hub and asked and not config.do_train),
        "--push_to_hub needs --do_train: there is nothing to push",
    )
    only_files = config.dataset_name is None and not config.uses_sample_corpus
    for option, files in (
        ("do_train", ["train_file"]),
        ("do_eval", ["validation_file", "validation_fraction"]),
        ("do_predict", ["test_file", "predict_file"]),
    ):
        require(
            not (getattr(config, option) and only_files)
            or any(getattr(config, name) for name in files),
            f"--{option} needs --{' or --'.join(files)}",
        )
    require(
        not (config.overwrite_output_dir and config.resume_from_checkpoint),
        "--overwrite_output_dir with --resume_from_checkpoint: one deletes what the other needs",
    )
    require(
        config.output_dir is not None or config.resume_from_checkpoint is None,
        "--resume_from_checkpoint needs --output_dir: the folder of the run to go on with",
    )
    require(
        None in (config.output_dir, config.model_name_or_path)
        or (asked and not config.do_train)  # scoring leaves the model as it is
        or not Path(config.model_name_or_path)
        .resolve()
        .is_relative_to(Path(config.output_dir).resolve()),
        f"--output_dir {config.output_dir}: holds --model_name_or_path, which would be overwritten",
    )
    require(
        config.max_length is None
        or config.stride is None
        or config.stride <= max(config.max_length - 2, 0) // 2,
        f"--stride {config.stride}: must be at most half of --max_length {config.max_length}",
    )
    has_validation = not only_files or config.validation_file or config.validation_fraction
    for name in ("early_stopping_patience", "load_best_model_at_end", "metric_for_best_model"):
        require(
            not getattr(config, name) or (has_validation and (config.do_eval or not asked)),
            f"--{name} needs an evaluation to tell which model is best: --validation_file or "
            "--validation_fraction, and --do_eval if any --do_ option is given",
        )
    return problems
