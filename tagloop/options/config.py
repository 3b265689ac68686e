"""Every option, once: name, type, default, help line, bounds, and whether a resume may change it.

A new option is one field of Config; command line, --config files, --help, docs/options.md, checks
and the comparison on resume follow from it. options.py turns arguments into a checked Config.

Names, spellings and defaults follow transformers' `run_ner_no_trainer.py`; docs/migrating.md lists
the few deliberate differences. Hardware and precision belong to accelerate_configs/.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


def option(
    default: Any,
    help: str,
    *,
    group: str | None = None,
    aliases: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    secret: bool = False,
    may_change: bool = False,
    formerly: Any = ...,
) -> Any:
    """One option of Config.

    Args:
        group: opens a group of --help; the options that follow belong to it, too.
        aliases: further spellings on the command line.
        least, above, below: what a number must be at least, above or below.
        secret: never written to a file, a log or a tracker.
        may_change: a resumed run may give another value. True for what names places (what lies
            there is compared by content), says how often to report, or moves work between devices
            without changing what an update learns; all else is part of what the run is.
        formerly: what runs did before there was this option, if not the default.
    """
    bounds = {"least": least, "above": above, "below": below}
    metadata = {"help": help, "group": group, "aliases": aliases, "bounds": bounds}
    metadata |= {"secret": secret, "may_change": may_change}
    metadata["formerly"] = default if formerly is ... else formerly
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All options of a run, resolved. Batch sizes are in windows, all *_steps in updates."""

    dataset_name: str | None = option(
        None, "Hub name of a dataset, or a folder made by save_to_disk.", group="Data"
    )
    dataset_config_name: str | None = option(None, "Configuration of the dataset, e.g. en_ewt.")
    dataset_revision: str | None = option(None, "Branch, tag or commit of the dataset.")
    train_file: str | None = option(
        None,
        "Training data: .json(l), .csv, .parquet, CoNLL columns, .conllu or .ann.",
        may_change=True,
    )
    validation_file: str | None = option(
        None, "Data to evaluate on while training.", may_change=True
    )
    test_file: str | None = option(None, "Data to score and predict at the end.", may_change=True)
    predict_file: str | None = option(
        None,
        "Words to tag at the end; needs no tags. Replaces test in predictions.*.",
        may_change=True,
    )
    text_column_name: str | None = option(
        None, "Column of the words (name, or index in column files)."
    )
    text_pair_column_name: str | None = option(
        None, "Column of the second text of a pair (classification)."
    )
    label_column_name: str | None = option(
        None, "Column of the tags (name, or index in column files)."
    )
    task_name: Literal["ner", "pos", "chunk", "classification"] = option(
        "ner", "What is learned: tags of words, or a class or number of a text."
    )
    label_scheme: Literal["IOB1", "IOB2", "IOBES", "BMES", "BILOU", "IO"] | None = option(
        None, "Scheme of the tags in the data; detected when not given."
    )
    labels_file: str | None = option(
        None, "Names of integer tags, one a line, in the order of the integers.", may_change=True
    )
    misaligned: Literal["error", "drop", "widen"] = option(
        "error",
        "Spans of characters that cut a word: stop and name them, leave them out (their words "
        "have no gold tag), or take the whole words.",
    )
    label_all_tokens: bool = option(False, "Label every sub-token of a word instead of the first.")
    validation_fraction: float | None = option(
        None, "Share of the training data to validate on when no split is given.", above=0, below=1
    )
    max_train_samples: int | None = option(None, "Use the first N training sentences.", least=1)
    max_eval_samples: int | None = option(None, "Use the first N validation sentences.", least=1)
    max_predict_samples: int | None = option(
        None, "Use the first N sentences of the test and predict data.", least=1, may_change=True
    )
    max_length: int | None = option(
        None,
        "Sub-tokens in a window; longer sentences become several windows. Default: the "
        "model's limit.",
        aliases=("--max_seq_length",),
        least=1,
    )
    stride: int | None = option(
        None,
        "Sub-tokens shared by neighbouring windows of a sentence. Default: a quarter window.",
        least=0,
    )
    pad_to_max_length: bool = option(
        False, "Pad every batch to max_length (static shapes) instead of its longest."
    )
    preprocessing_num_workers: int | None = option(
        None,
        "Processes that cut words into sub-tokens; for 2 million sentences or more. Default: one.",
        least=1,
        may_change=True,
    )

    model_name_or_path: str | None = option(None, "Encoder to fine-tune.", group="Model")
    config_name: str | None = option(
        None, "Model configuration, if not the model's own; alone: from scratch."
    )
    tokenizer_name: str | None = option(None, "Tokenizer, if not the model's own.")
    model_type: str | None = option(
        None, "Architecture to train from scratch, e.g. bert (needs tokenizer_name)."
    )
    ignore_mismatched_sizes: bool = option(
        False, "Start a new head where the checkpoint's has other labels."
    )
    allow_partial_weights: bool = option(
        False, "Start even if weights besides the head are missing, left over or of another size."
    )
    trust_remote_code: bool = option(False, "Run model code from the hub. Read that code first.")

    per_device_train_batch_size: int = option(
        8, "Windows in a micro-batch of one process.", group="Training", least=1, may_change=True
    )
    per_device_eval_batch_size: int = option(
        8,
        "Longest windows in an evaluation batch; of shorter ones, as many as make no more cells.",
        least=1,
        may_change=True,
    )
    gradient_accumulation_steps: int = option(
        1, "Micro-batches per update.", least=1, may_change=True
    )
    auto_micro_batch: bool = option(
        False,
        "Halve micro-batches until they fit into the memory; an update learns the same.",
        may_change=True,
    )
    learning_rate: float = option(5e-5, "Peak learning rate of AdamW.", above=0)
    weight_decay: float = option(0.0, "Decay of weight matrices (not biases or norms).", least=0)
    max_grad_norm: float = option(1.0, "Clip the gradient's norm; 0: do not clip.", least=0)
    num_train_epochs: int = option(3, "Passes over the training data.", least=1)
    max_train_steps: int | None = option(
        None, "Updates in total; overrides the epochs.", aliases=("--max_steps",), least=1
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = option("linear", "Schedule of the learning rate.")
    num_warmup_steps: float = option(
        0, "Warm-up updates; below 1: share of the run.", aliases=("--warmup_steps",), least=0
    )
    packing: bool | None = option(
        None,
        "Lay several sentences into a row of a batch instead of padding it, where the model keeps "
        "them apart. Not given: yes, but a resumed run goes on as it began.",
        may_change=True,
        formerly=False,
    )
    group_by_length: bool | None = option(
        None,
        "Put sentences of similar length into a global batch: faster where rows cannot be packed, "
        "other scores. Not given: no, but a resumed run goes on as it began.",
        formerly=True,
    )
    gradient_checkpointing: bool = option(
        False, "Recompute activations in backward: less memory, more time.", may_change=True
    )
    dropout: Literal["per_example", "per_process"] = option(
        "per_example",
        "Masks that are the same for every cut, or torch's own (fused attention on GPUs).",
        formerly="per_process",
    )
    full_vocabulary: bool = option(
        False,
        "Keep rows of the input embedding that the data never shows in the model, too.",
        may_change=True,
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None, "Overrides the launch file's precision."
    )
    seed: int = option(42, "Seed of the head, the order of the data and dropout.", least=0)
    dataloader_num_workers: int = option(
        0, "Processes that cut and pad batches.", least=0, may_change=True
    )

    do_train: bool = option(
        False, "Train. None of the do_ options: all data allows.", group="What to run"
    )
    do_eval: bool = option(False, "Score the validation data.")
    do_predict: bool = option(False, "Score and tag the test or predict data.", may_change=True)
    debug: bool = option(False, "A small run: at most 100 sentences of every split.")
    check_data: bool = option(
        False,
        "Look at the data instead of training: counts, and what is wrong by file and line.",
        may_change=True,
    )
    show_examples: int | None = option(
        None,
        "Sentences that --check_data shows, drawn at random. Default: 3.",
        least=0,
        may_change=True,
    )

    return_entity_level_metrics: bool = option(
        False,
        "Report every entity type (every tag for pos) on its own, too.",
        group="Evaluation, best model, logs",
        may_change=True,
    )
    eval_steps: int | None = option(
        None, "Evaluate every N updates instead of after every epoch.", least=1
    )
    logging_steps: int = option(50, "Log the loss every N updates.", least=1)
    metric_for_best_model: str | None = option(
        None, "Default: f1 (ner, chunk) or accuracy (pos); a loss counts downwards."
    )
    load_best_model_at_end: bool = option(
        False, "Save the weights of the best evaluation instead of the last."
    )
    early_stopping_patience: int | None = option(
        None, "Stop after N evaluations in a row without a better score.", least=1
    )

    output_dir: str | None = option(
        None,
        "Folder of everything the run leaves. Default: a new one under runs/.",
        group="Output",
        may_change=True,
    )
    overwrite_output_dir: bool = option(
        False, "Replace the run that output_dir holds.", may_change=True
    )
    checkpointing_steps: str | None = option(
        None, 'Save a checkpoint every N updates, or "epoch".', may_change=True
    )
    async_checkpoints: bool = option(
        True, "Write checkpoints beside training; else training waits.", may_change=True
    )
    checkpoints_total_limit: int | None = option(
        None, "Keep the newest N checkpoints (and the best one).", least=1, may_change=True
    )
    resume_from_checkpoint: str | None = option(
        None, 'A checkpoint folder, or "auto": the newest good one in output_dir.', may_change=True
    )
    profile: bool = option(False, "Show where the time of updates 6 to 15 went.", may_change=True)
    report: bool = option(
        True, "Write report.html at the end (pip install -r requirements-report.txt).",
        may_change=True,
    )  # fmt: skip
    with_tracking: bool = option(
        False, "Report to all experiment trackers that are installed.", may_change=True
    )
    report_to: str = option(
        "all",
        "Trackers: tensorboard, wandb, mlflow, trackio, ... (with commas), all or none; one that "
        "is named needs no --with_tracking.",
        may_change=True,
    )
    push_to_hub: bool = option(False, "Upload the final model to the hub.", may_change=True)
    hub_model_id: str | None = option(
        None, "Repository on the hub. Default: the name of output_dir.", may_change=True
    )
    hub_token: str | None = option(
        None,
        "Token of the hub; better in HF_TOKEN.",
        aliases=("--token",),
        secret=True,
        may_change=True,
    )
    config: str | None = option(
        None, "YAML or JSON file of the same options; the command line wins.", may_change=True
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


SECRETS = frozenset(f.name for f in dataclasses.fields(Config) if f.metadata["secret"])
FORMERLY = {f.name: f.metadata["formerly"] for f in dataclasses.fields(Config)}
MAY_CHANGE_ON_RESUME = frozenset(
    f.name for f in dataclasses.fields(Config) if f.metadata["may_change"]
)
