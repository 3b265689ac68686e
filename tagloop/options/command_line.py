"""Command line and --config file -> a checked Config. Imports nothing heavy, so it answers at once.

    config = parse_config(["--train_file", "a.conll", "--model_name_or_path", "bert-base-cased"])
    python -m tagloop.options.command_line > docs/options.md

Precedence: defaults < sample defaults < --config FILE < command line.
"""

import argparse
import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args

from tagloop.errors import (
    InputError,
    report_error,
    require_working_directory,
    say_interrupted,
)
from tagloop.options.config import SECRETS, Config
from tagloop.options.config_file import read_config_file
from tagloop.options.renamed import RENAMED

# What a run without data and model options uses instead of the defaults: a model from scratch
# wants a higher rate than fine-tuning, and the sample is small.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}
DEBUG_SAMPLES = 100
YES_NO = dict.fromkeys(("true", "yes", "on", "1"), True)
YES_NO |= dict.fromkeys(("false", "no", "off", "0"), False)
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
SPELLINGS = {f"--{name}": name for name in FIELDS}
SPELLINGS |= {alias: name for name, field in FIELDS.items() for alias in field.metadata["aliases"]}


def check_command_line() -> None:
    """Answer --help and bad options of this process at once, before anything slow is imported."""
    sys.excepthook = say_interrupted  # Ctrl-C while the rest is imported
    try:
        parse_config()
    except InputError as error:
        report_error(error)
        sys.exit(error.exit_code)


def parse_config(argv: list[str] | None = None) -> Config:
    """Command line (and --config file) -> checked options.

    Raises:
        InputError: every unknown option and wrong type at once; else all failed checks at once.
    """
    require_working_directory()
    arguments = sys.argv[1:] if argv is None else list(argv)
    given = _read_command_line(arguments)
    if "config" in given:
        given = _read_file(given["config"]) | given
    config = Config(**given)
    if config.uses_sample_model:
        config = Config(**SAMPLE_DEFAULTS | given)
    _stop_on([*_single_problems(config), *_joint_problems(config)])
    if config.debug:
        sizes = ("max_train_samples", "max_eval_samples", "max_predict_samples")
        small = {name: min(getattr(config, name) or DEBUG_SAMPLES, DEBUG_SAMPLES) for name in sizes}
        config = dataclasses.replace(config, **small)
    if not (config.do_train or config.do_eval or config.do_predict):  # then all the data allows
        trains = config.uses_sample_corpus or config.dataset_name or config.train_file
        config = dataclasses.replace(config, do_train=bool(trains), do_eval=True, do_predict=True)
    return config


# ---- from text to values


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is an InputError instead of a page of usage and an exit."""

    def error(self, message: str) -> NoReturn:
        # "ambiguous option: --hub_=hf_... could match": what was given may be a secret.
        message = re.sub(r"^(ambiguous option: [^=]*)=.*( could match )", r"\1\2", message)
        raise InputError(message.removeprefix("argument "))


def build_parser() -> argparse.ArgumentParser:
    """A parser with one option per field of Config; it leaves values as text."""
    parser = _Parser(
        prog="train_loop.py",
        usage="train_loop.py [--help] [--config FILE] [--OPTION VALUE ...]",
        description="Fine-tune an encoder for token classification. Without data and model "
        "options: a small model from scratch on the built-in sample. Names may be shortened as "
        "long as one option fits; hyphens and underscores are the same.",
        argument_default=argparse.SUPPRESS,
    )
    for field in FIELDS.values():
        if field.metadata["group"]:
            group = parser.add_argument_group(field.metadata["group"])
        shape = {"metavar": describe_values(field)}
        if _plain_type(field) is bool:
            shape |= {"nargs": "?", "const": "true"}
        names = [f"--{field.name}", *field.metadata["aliases"]]
        help_line = field.metadata["help"].replace("%", "%%")
        if field.default is not None and field.default is not False:
            help_line += f" (default: {_default(field)})"
        group.add_argument(*names, dest=field.name, help=help_line, **shape)
        if _plain_type(field) is bool and field.default is not False:
            group.add_argument(
                f"--no_{field.name}", dest=field.name, action="store_const", const="false",
                help=f"The same as --{field.name} false.",
            )  # fmt: skip
    return parser


def _read_command_line(arguments: list[str]) -> dict[str, Any]:
    """Arguments -> values by name of the option."""
    known, rest = build_parser().parse_known_args([_underscored(text) for text in arguments])
    values, problems = _convert(vars(known))
    unknown = [_unknown(text) for text in rest if text.startswith("--")]
    if rest and not unknown:  # else they are most likely values of what is unknown
        stray = "(hidden)" if SECRETS & vars(known).keys() else rest[0]  # `--hub_token= hf_...`
        unknown = [f"{stray}: is no option; {_hint(rest[0])}"]
    _stop_on(unknown + problems)
    return values


def _underscored(argument: str) -> str:
    """`--max-steps=a-b` -> `--max_steps=a-b`."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--"):
        return argument
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _unknown(option: str) -> str:
    name = re.match(r"-*\w*", option)[0]  # what follows `=` or a forgotten space may be a secret
    return f"unknown option {name}; {_hint(name)}"


def _hint(name: str) -> str:
    if answer := RENAMED.get(name.lstrip("-")):
        return answer
    close = difflib.get_close_matches(name, SPELLINGS, n=1)
    return f"did you mean {close[0]}?" if close else "--help lists all options"


def _convert(texts: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Texts by name of the option -> values, and a line for each text that is none."""
    values, problems = {}, []
    for name, text in texts.items():
        try:
            values[name] = _value(FIELDS[name], text)
        except ValueError as error:
            problems.append(f"--{name} {_shown(name, text)}: {error}")
    return values, problems


def _value(field: dataclasses.Field, text: str) -> Any:
    """The value that a text means for an option.

    Raises:
        ValueError: what it must be instead.
    """
    kind, choices = _plain_type(field), _choices(field)
    truth = YES_NO.get(text.lower())
    if kind is bool:
        if truth is None:
            raise ValueError("must be true or false")
        return truth
    if choices:  # `False` in a file is one way to write `no`
        same = [c for c in choices if c == text or (truth is not None and YES_NO.get(c) is truth)]
        if not same:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return same[0]
    try:
        return int(text.removesuffix(".0")) if kind is int else kind(text)  # run_ner.py: 3.0 epochs
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"must be {wanted}") from None


def _plain_type(field: dataclasses.Field) -> Any:
    """`int | None` -> `int`."""
    parts = get_args(field.type)
    return parts[0] if NoneType in parts else field.type


def _choices(field: dataclasses.Field) -> tuple[str, ...]:
    return get_args(_plain_type(field))


def _shown(name: str, value: object) -> str:
    return "(hidden)" if name in SECRETS else str(value)


def _stop_on(problems: list[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))


# ---- --config FILE


def _read_file(path: str) -> dict[str, Any]:
    """The options of a YAML or JSON file by name; keys are spelled as on the command line."""
    texts, problems = {}, []
    for key, value in read_config_file(path).items():
        option = _underscored(f"--{key}")
        name = SPELLINGS.get(option)
        if name is None:
            problems.append(_unknown(option))
        elif name == "config":
            problems.append("--config: a file cannot name another one")
        elif isinstance(value, bool) and _plain_type(FIELDS[name]) is str:
            problems.append(f"--{name}: must be text, not {str(value).lower()}")
        elif isinstance(value, str | int | float):
            texts[name] = str(value)
        elif value is not None:  # None is the default
            kind = {dict: "a mapping", list: "a list"}.get(type(value), type(value).__name__)
            problems.append(f"--{name}: must be one value, not {kind}")
    values, wrong = _convert(texts)
    _stop_on([f"--config {path}: {problem}" for problem in problems + wrong])
    return values


# ---- checks


def _single_problems(config: Config) -> Iterator[str]:
    """Every value that is wrong whatever the others are, one line each."""
    for field in FIELDS.values():
        value = getattr(config, field.name)
        remedy = None
        if isinstance(value, str):
            remedy = _text_remedy(value)
        elif isinstance(value, int | float):
            remedy = _number_remedy(value, **field.metadata["bounds"])
        if remedy:
            yield f"--{field.name} {_shown(field.name, value)}: {remedy}"
    steps = config.checkpointing_steps
    if steps and not re.fullmatch("epoch|0*[1-9][0-9]{,17}", steps):
        yield f'--checkpointing_steps {steps}: must be a number of updates or "epoch"'
    warmup = config.num_warmup_steps
    if 1 < warmup < math.inf and warmup != int(warmup):
        yield (f"--num_warmup_steps {warmup}: must be whole updates, or a share of the run below 1")


def _text_remedy(value: str) -> str | None:
    if not value:
        return "is empty; give a value or leave the option out"
    if "\0" in value:
        return "must not hold a NUL character"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "must be UTF-8"
    return None


def _number_remedy(
    value: float, *, least: float | None, above: float | None, below: float | None
) -> str | None:
    """What a number must be instead, if it is not good."""
    if not math.isfinite(value):
        return "must be a finite number"
    if least is not None and value < least:
        return f"must be at least {least}"
    if above is not None and value <= above:
        return f"must be above {above}"
    if below is not None and value >= below:
        return f"must be below {below}"
    return "must be below 2**63" if isinstance(value, int) and value >= 2**63 else None


def _joint_problems(config: Config) -> Iterator[str]:
    """Every option that contradicts another, one line each."""
    asked = config.do_train or config.do_eval or config.do_predict
    only_files = config.dataset_name is None and not config.uses_sample_corpus
    yield from _data_problems(config, only_files)
    yield from _model_problems(config, asked)
    yield from _folder_problems(config, asked)
    if config.show_examples is not None and not config.check_data:
        yield "--show_examples: needs --check_data"
    has_validation = not only_files or config.validation_file or config.validation_fraction
    for name in ("early_stopping_patience", "load_best_model_at_end", "metric_for_best_model"):
        if getattr(config, name) and not (has_validation and (config.do_eval or not asked)):
            yield (
                f"--{name} needs an evaluation to tell which model is best: --validation_file or "
                "--validation_fraction, and --do_eval if any --do_ option is given"
            )


def _data_problems(config: Config, only_files: bool) -> Iterator[str]:
    """What the data options say against each other, the task or the --do_ options."""
    if config.validation_fraction is not None and config.validation_file is not None:
        yield "--validation_fraction with --validation_file: give one of them"
    task = config.task_name
    if config.label_scheme and task in ("pos", "classification"):
        yield f"--label_scheme {config.label_scheme} with --task_name {task}: it has no scheme"
    if config.labels_file and task == "classification":
        yield f"--labels_file {config.labels_file} with --task_name {task}: it names tags"
    if config.text_pair_column_name and task != "classification":
        yield (
            f"--text_pair_column_name {config.text_pair_column_name} with --task_name {task}: "
            "pairs of texts need --task_name classification"
        )
    for name, files in (
        ("do_train", ["train_file"]),
        ("do_eval", ["validation_file", "validation_fraction"]),
        ("do_predict", ["test_file", "predict_file"]),
    ):
        if only_files and getattr(config, name) and not any(getattr(config, f) for f in files):
            yield f"--{name} needs --{' or --'.join(files)}"
    longest = max((config.max_length or 0) - 2, 0) // 2
    if config.max_length and config.stride and config.stride > longest:
        yield f"--stride {config.stride}: must be at most half of --max_length {config.max_length}"


def _model_problems(config: Config, asked: bool) -> Iterator[str]:
    """A model, and where it comes from and goes to."""
    from_scratch = config.config_name or config.model_type
    if config.check_data:  # which looks at the tokenizer at most
        return
    if not (config.model_name_or_path or from_scratch or config.uses_sample_model):
        yield (
            "your data needs a model: give --model_name_or_path, or --model_type and "
            "--tokenizer_name to train from scratch"
        )
    if from_scratch and not (config.model_name_or_path or config.tokenizer_name):
        yield "a model from scratch needs --tokenizer_name"
    if config.push_to_hub and asked and not config.do_train:
        yield "--push_to_hub needs --do_train: there is nothing to push"


def _folder_problems(config: Config, asked: bool) -> Iterator[str]:
    """The output folder against what is read from it."""
    if config.overwrite_output_dir and config.resume_from_checkpoint:
        yield (
            "--overwrite_output_dir with --resume_from_checkpoint: one deletes what the other needs"
        )
    if config.resume_from_checkpoint and config.output_dir is None:
        yield "--resume_from_checkpoint needs --output_dir: the folder of the run to go on with"
    only_scores = asked and not config.do_train  # leaves the model as it is
    if config.output_dir and config.model_name_or_path and not only_scores:
        model, folder = Path(config.model_name_or_path), Path(config.output_dir)
        if "\0" not in f"{model}{folder}" and model.resolve().is_relative_to(folder.resolve()):
            yield f"--output_dir {folder}: holds --model_name_or_path, which would be overwritten"


# ---- help


def describe_values(field: dataclasses.Field) -> str:
    """What an option takes, for --help and docs/options.md."""
    names = {bool: "true|false", int: "N", float: "X", str: "TEXT"}
    return "|".join(_choices(field)) or names[_plain_type(field)]


def _default(field: dataclasses.Field) -> str:
    """As it is typed; empty where there is none."""
    default = field.default
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def options_page() -> str:
    """docs/options.md: every option, from the fields of Config."""
    sample = ", ".join(f"`--{name} {value}`" for name, value in SAMPLE_DEFAULTS.items())
    lines = [
        "# Options",
        "",
        "Made by `python -m tagloop.options.command_line > docs/options.md` from "
        "`tagloop/options/config.py`.",
        "",
        "`--name value` or `--name=value`; hyphens and underscores are the same, and a name may be",
        "shortened as long as one option fits. Options that are true or false need no value:",
        "`--debug` is `--debug true`. `--config FILE` reads `name: value` lines of YAML, or JSON.",
        "Defaults < sample defaults < file < command line. The sample defaults, without data and",
        "model options, are:",
        f"{sample}.",
        "",
        "Resume: yes where a resumed run may be given another value.",
    ]
    for name, field in FIELDS.items():
        about = field.metadata
        if about["group"]:
            lines += ["", f"## {about['group']}", "", "| option | value | default | | resume |"]
            lines += ["|---|---|---|---|---|"]
        spellings = ", ".join(f"`{word}`" for word in (f"--{name}", *about["aliases"]))
        bounds = "".join(f", {k} {v}" for k, v in about["bounds"].items() if v is not None)
        default = f"`{_default(field)}`" if field.default is not None else ""
        values = describe_values(field).replace("|", " \\| ") + bounds.replace("least", "at least")
        resume = "yes" if about["may_change"] else ""
        lines.append(f"| {spellings} | {values} | {default} | {about['help']} | {resume} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(options_page())
