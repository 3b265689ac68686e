"""Every option, once: its name, default, help line, checks, and whether a resume may change it.

    config = parse_config(["--train_file", "a.conll", "--model_name_or_path", "bert-base-cased"])

Names, spellings and defaults follow transformers' `run_ner_no_trainer.py`; README.md lists the few
deliberate differences. Precedence: defaults < sample defaults < --config FILE < command line.
Hardware and precision belong to the launch file in accelerate_configs/.
"""

import dataclasses
import difflib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import HfArg

from errors import InputError

# What a run without data and model options uses instead of the defaults: a model from scratch
# wants a higher rate than fine-tuning, and the sample is small.
SAMPLE_DEFAULTS = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 4,
    "num_warmup_steps": 0.1,
}

SPAN_METRICS = (
    "f1", "precision", "recall", "accuracy", "strict_f1", "strict_precision", "strict_recall",
    "loss",
)  # fmt: skip
POS_METRICS = ("accuracy", "macro_f1", "loss")

DEBUG_SAMPLES = 100
SECRETS = ("hub_token",)  # never written to a file, a log or a tracker

# A resumed run may change these: they name places (what lies there is compared by content),
# say how often to report, or move work between devices without changing what an update learns.
# Everything else is part of what the run is; tests/test_resume.py walks all fields.
MAY_CHANGE_ON_RESUME = frozenset(
    {
        "config", "output_dir", "overwrite_output_dir", "resume_from_checkpoint",
        "train_file", "validation_file", "test_file", "predict_file", "labels_file",
        "max_predict_samples", "do_predict", "per_device_train_batch_size",
        "per_device_eval_batch_size", "gradient_accumulation_steps", "dataloader_num_workers",
        "checkpointing_steps", "checkpoints_total_limit", "with_tracking", "report_to",
        "push_to_hub", "hub_model_id", "hub_token", "gradient_checkpointing",
        "return_entity_level_metrics",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """All options of a run, resolved. Batch sizes are in windows, all *_steps in updates."""

    # Data
    dataset_name: str | None = HfArg(
        default=None, help="Hub name of a dataset, or a folder made by save_to_disk."
    )
    dataset_config_name: str | None = HfArg(
        default=None, help="Configuration of the dataset, e.g. en_ewt."
    )
    dataset_revision: str | None = HfArg(default=None, help="Branch, tag or commit of the dataset.")
    train_file: str | None = HfArg(
        default=None, help="Training data: .json(l), .csv, .parquet, CoNLL columns or .conllu."
    )
    validation_file: str | None = HfArg(default=None, help="Data to evaluate on while training.")
    test_file: str | None = HfArg(default=None, help="Data to score and predict at the end.")
    predict_file: str | None = HfArg(
        default=None, help="Words to tag at the end; needs no tags. Replaces test in predictions.*."
    )
    text_column_name: str | None = HfArg(
        default=None, help="Column of the words (name, or index in column files)."
    )
    label_column_name: str | None = HfArg(
        default=None, help="Column of the tags (name, or index in column files)."
    )
    task_name: Literal["ner", "pos", "chunk"] = HfArg(default="ner", help="What the tags are.")
    label_scheme: Literal["IOB1", "IOB2", "IOBES", "BILOU"] | None = HfArg(
        default=None, help="Scheme of the tags in the data; detected when not given."
    )
    labels_file: str | None = HfArg(
        default=None, help="Names of integer tags, one a line, in the order of the integers."
    )
    label_all_tokens: bool = HfArg(
        default=False, help="Label every sub-token of a word instead of the first."
    )
    validation_fraction: float | None = HfArg(
        default=None, help="Share of the training data to validate on when no split is given."
    )
    max_train_samples: int | None = HfArg(default=None, help="Use the first N training sentences.")
    max_eval_samples: int | None = HfArg(default=None, help="Use the first N validation sentences.")
    max_predict_samples: int | None = HfArg(
        default=None, help="Use the first N sentences of the test and predict data."
    )
    max_length: int | None = HfArg(
        default=None,
        aliases=["--max_seq_length"],
        help="Sub-tokens in a window; longer sentences become several windows. Default: the "
        "model's limit.",
    )
    stride: int | None = HfArg(
        default=None,
        help="Sub-tokens shared by neighbouring windows of a sentence. Default: a quarter window.",
    )
    pad_to_max_length: bool = HfArg(
        default=False, help="Pad every batch to max_length (static shapes) instead of its longest."
    )

    # Model
    model_name_or_path: str | None = HfArg(default=None, help="Encoder to fine-tune.")
    config_name: str | None = HfArg(
        default=None, help="Model configuration, if not the model's own; alone: from scratch."
    )
    tokenizer_name: str | None = HfArg(default=None, help="Tokenizer, if not the model's own.")
    model_type: str | None = HfArg(
        default=None, help="Architecture to train from scratch, e.g. bert (needs tokenizer_name)."
    )
    ignore_mismatched_sizes: bool = HfArg(
        default=False, help="Start a new head where the checkpoint's has other labels."
    )
    trust_remote_code: bool = HfArg(
        default=False, help="Run model code from the hub. Read that code first."
    )

    # Training
    per_device_train_batch_size: int = HfArg(
        default=8, help="Windows in a micro-batch of one process."
    )
    per_device_eval_batch_size: int = HfArg(default=8, help="Windows in an evaluation batch.")
    gradient_accumulation_steps: int = HfArg(default=1, help="Micro-batches per update.")
    learning_rate: float = HfArg(default=5e-5, help="Peak learning rate of AdamW.")
    weight_decay: float = HfArg(default=0.0, help="Decay of weight matrices (not biases or norms).")
    max_grad_norm: float = HfArg(default=1.0, help="Clip the gradient's norm; 0: do not clip.")
    num_train_epochs: int = HfArg(default=3, help="Passes over the training data.")
    max_train_steps: int | None = HfArg(
        default=None, aliases=["--max_steps"], help="Updates in total; overrides the epochs."
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = HfArg(default="linear", help="Schedule of the learning rate.")
    num_warmup_steps: float = HfArg(
        default=0, aliases=["--warmup_steps"], help="Warm-up updates; below 1: share of the run."
    )
    group_by_length: bool = HfArg(
        default=True, help="Put sentences of similar length into a global batch."
    )
    gradient_checkpointing: bool = HfArg(
        default=False, help="Recompute activations in backward: less memory, more time."
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = HfArg(
        default=None, help="Overrides the launch file's precision."
    )
    seed: int = HfArg(default=42, help="Seed of the head, the order of the data and dropout.")
    dataloader_num_workers: int = HfArg(default=0, help="Processes that cut and pad batches.")

    # What to run
    do_train: bool = HfArg(default=False, help="Train. None of the do_ options: all data allows.")
    do_eval: bool = HfArg(default=False, help="Score the validation data.")
    do_predict: bool = HfArg(default=False, help="Score and tag the test or predict data.")
    debug: bool = HfArg(default=False, help="A small run: at most 100 sentences of every split.")

    # Evaluation, best model, logs
    return_entity_level_metrics: bool = HfArg(
        default=False, help="Report every entity type (every tag for pos) on its own, too."
    )
    eval_steps: int | None = HfArg(
        default=None, help="Evaluate every N updates instead of after every epoch."
    )
    logging_steps: int = HfArg(default=50, help="Log the loss every N updates.")
    metric_for_best_model: str | None = HfArg(
        default=None, help="Default: f1 (ner, chunk) or accuracy (pos); a loss counts downwards."
    )
    load_best_model_at_end: bool = HfArg(
        default=False, help="Save the weights of the best evaluation instead of the last."
    )
    early_stopping_patience: int | None = HfArg(
        default=None, help="Stop after N evaluations in a row without a better score."
    )

    # Output
    output_dir: str | None = HfArg(
        default=None, help="Folder of everything the run leaves. Default: a new one under runs/."
    )
    overwrite_output_dir: bool = HfArg(default=False, help="Replace the run that output_dir holds.")
    checkpointing_steps: str | None = HfArg(
        default=None, help='Save a checkpoint every N updates, or "epoch".'
    )
    checkpoints_total_limit: int | None = HfArg(
        default=None, help="Keep the newest N checkpoints (and the best one)."
    )
    resume_from_checkpoint: str | None = HfArg(
        default=None, help='A checkpoint folder, or "auto": the newest good one in output_dir.'
    )
    with_tracking: bool = HfArg(default=False, help="Report to experiment trackers.")
    report_to: str = HfArg(
        default="all", help="Tracker: tensorboard, wandb, comet_ml, clearml, ... or all."
    )
    push_to_hub: bool = HfArg(default=False, help="Upload the final model to the hub.")
    hub_model_id: str | None = HfArg(
        default=None, help="Repository on the hub. Default: the name of output_dir."
    )
    hub_token: str | None = HfArg(
        default=None, aliases=["--token"], help="Token of the hub; better in HF_TOKEN."
    )
    config: str | None = HfArg(
        default=None, help="YAML or JSON file of the same options; the command line wins."
    )

    @property
    def uses_sample_corpus(self) -> bool:
        """True when no data is named."""
        files = (self.train_file, self.validation_file, self.test_file, self.predict_file)
        return self.dataset_name is None and not any(files)

    @property
    def uses_sample_model(self) -> bool:
        """True when neither data nor a model is named: the embedded default."""
        model = (self.model_name_or_path, self.config_name, self.model_type)
        return self.uses_sample_corpus and not any(model)

    @property
    def best_metric(self) -> str:
        """The score that decides which evaluation is best."""
        default = POS_METRICS[0] if self.task_name == "pos" else SPAN_METRICS[0]
        return (self.metric_for_best_model or default).removeprefix("eval_")

    def public(self) -> dict:
        """The options as plain values, secrets left out."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in SECRETS}


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


def check_metric(config: Config, labels: list[str]) -> None:
    """Refuse a --metric_for_best_model that no evaluation of these labels has.

    Raises:
        InputError: naming those that there are.
    """
    known = list(POS_METRICS if config.task_name == "pos" else SPAN_METRICS)
    if config.return_entity_level_metrics and config.task_name == "pos":
        known += [f"{tag}_f1" for tag in labels]
    elif config.return_entity_level_metrics:
        types = sorted({tag[2:] for tag in labels if tag != "O"})
        known += [f"{type_}_{score}" for type_ in types for score in ("f1", "precision", "recall")]
    if config.best_metric not in known:
        raise InputError(
            f"--metric_for_best_model {config.metric_for_best_model}: not among {', '.join(known)}"
        )


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
