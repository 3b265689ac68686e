"""Every option, once: its name, default, help line, checks, and whether a resume may change it.

    config = parse_config(["--train_file", "a.conll", "--model_name_or_path", "bert-base-cased"])

Names, spellings and defaults follow transformers' `run_ner_no_trainer.py`; README.md lists the few
deliberate differences. Precedence: defaults < sample defaults < --config FILE < command line.
Hardware and precision belong to the launch file in accelerate_configs/.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from transformers.hf_argparser import HfArg

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
    task_name: Literal["ner", "pos", "chunk", "classification"] = HfArg(
        default="ner", help="What the tags are."
    )
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

    def public(self) -> dict:
        """The options as plain values, secrets left out."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in SECRETS}
