"""Every option that all tasks share, once; and Config, which holds these and those of each task.

A new option is one field: here or in fine_tuning.py if every task takes it, else in options.py of
its task's folder.
Command line, --config files, --help, docs/options.md, checks, the refusal of options of another
task, the model card and the comparison on resume follow from the field and its marks (marks.py).

The default of an option stands in its field. It is decided elsewhere only for the options marked
`settled` (packing, group_by_length, decoding): in settle.py, as a resumed run keeps its value.

Names, spellings and defaults follow transformers' `run_ner_no_trainer.py`; docs/migrating.md lists
the few deliberate differences. Hardware and precision belong to accelerate_configs/.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from tagloop.options.fine_tuning import FineTuningOptions
from tagloop.options.marks import option
from tagloop.options.protocol import ProtocolOptions
from tagloop.tasks import TASKS, task_module


@dataclass(frozen=True)
class SharedOptions:
    """The options that all tasks take. Batch sizes are in examples, all *_steps in updates."""

    dataset_name: str | None = option(
        None,
        "Hub name of a dataset, or a folder made by save_to_disk.",
        about="data",
        group="Data",
        is_hub_name=True,
    )
    dataset_config_name: str | None = option(
        None, "Configuration of the dataset, e.g. en_ewt.", about="data"
    )
    dataset_revision: str | None = option(
        None, "Branch, tag or commit of the dataset.", about="data"
    )
    train_file: str | None = option(
        None,
        "Training data: .json(l), .csv or .parquet; for words also CoNLL columns, .conllu or .ann; "
        "for texts without labels also .txt, a text a line.",
        about="data",
        is_path=True,
        may_change=True,
    )
    validation_file: str | None = option(
        None, "Data to evaluate on while training.", about="data", is_path=True, may_change=True
    )
    test_file: str | None = option(
        None, "Data to score and predict at the end.", about="data", is_path=True, may_change=True
    )
    predict_file: str | None = option(
        None,
        "Data to predict at the end; needs no labels. Replaces test in predictions.*.",
        about="data",
        is_path=True,
        may_change=True,
    )
    text_column_name: str | None = option(
        None, "Column of the words or the text (name, or index in column files).", about="data"
    )
    label_column_name: str | None = option(
        None,
        "Column of the tags, the class or the number (name, or index in column files).",
        about="data",
    )
    task_name: Literal[*TASKS] = option(
        next(iter(TASKS)), "The task: what is learned, predicted and scored.", about="data"
    )
    validation_fraction: float | None = option(
        None,
        "Share of the training data to validate on when no split is given: rows drawn at random.",
        about="data",
        above=0,
        below=1,
    )
    validation_split_percentage: int | None = option(
        None,
        "Percent of the training data to validate on when no split is given: its first rows.",
        about="data",
        least=0,
        unset="5 for language models, else none",
    )
    max_train_samples: int | None = option(
        None, "Use the first N training examples.", about="data", least=1
    )
    max_eval_samples: int | None = option(
        None, "Use the first N validation examples.", about="data", least=1
    )
    max_predict_samples: int | None = option(
        None,
        "Use the first N examples of the test and predict data.",
        about="data",
        least=1,
        may_change=True,
    )
    max_length: int | None = option(
        None,
        "Sub-tokens that the model sees at once; a longer sentence becomes several windows, "
        "a longer text loses its end.",
        about="data",
        aliases=("--max_seq_length",),
        least=1,
        unset="the model's limit",
    )
    preprocessing_num_workers: int | None = option(
        None,
        "Processes that make sub-tokens; only a large corpus is shared among them.",
        about="machine",
        least=1,
        unset="one",
        starts_processes=True,
        may_change=True,
    )
    pad_to_max_length: bool = option(
        False,
        "Pad every batch to max_length (static shapes) instead of its longest.",
        about="machine",
    )

    model_name_or_path: str | None = option(
        None, "Model to fine-tune.", about="model", group="Model", is_hub_name=True
    )
    config_name: str | None = option(
        None,
        "Model configuration, if not the model's own; alone: from scratch.",
        about="model",
        is_hub_name=True,
    )
    tokenizer_name: str | None = option(
        None, "Tokenizer, if not the model's own.", about="model", is_hub_name=True
    )
    model_type: str | None = option(
        None, "Architecture to train from scratch, e.g. bert (needs tokenizer_name).", about="model"
    )
    ignore_mismatched_sizes: bool = option(
        False, "Start a new head where the checkpoint's has other labels.", about="model"
    )
    allow_partial_weights: bool = option(
        False,
        "Start even if weights besides the head are missing, left over or of another size.",
        about="model",
    )
    trust_remote_code: bool = option(
        False, "Run model code from the hub. Read that code first.", about="model"
    )

    per_device_train_batch_size: int = option(
        8,
        "Examples in a micro-batch of one process.",
        about="training",
        group="Training",
        least=1,
        may_change=True,
    )
    per_device_eval_batch_size: int = option(
        8,
        "Longest examples in an evaluation batch; a batch of shorter ones holds more.",
        about="machine",
        least=1,
        may_change=True,
    )
    gradient_accumulation_steps: int = option(
        1, "Micro-batches per update.", about="training", least=1, may_change=True
    )
    auto_micro_batch: bool = option(
        False,
        "Halve micro-batches until they fit into the memory; an update learns the same.",
        about="machine",
        may_change=True,
    )
    learning_rate: float = option(5e-5, "Peak learning rate of AdamW.", about="training", above=0)
    weight_decay: float = option(
        0.0, "Decay of weight matrices (not biases or norms).", about="training", least=0
    )
    max_grad_norm: float = option(
        1.0, "Clip the gradient's norm; 0: do not clip.", about="training", least=0
    )
    num_train_epochs: float = option(
        3,
        "Passes over the training data; a fraction of one is that share of its updates.",
        about="training",
        above=0,
    )
    max_train_steps: int | None = option(
        None,
        "Updates in total; overrides the epochs.",
        about="training",
        aliases=("--max_steps",),
        least=1,
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = option("linear", "Schedule of the learning rate.", about="training")
    num_warmup_steps: float = option(
        0,
        "Warm-up updates; below 1: share of the run.",
        about="training",
        aliases=("--warmup_steps",),
        least=0,
    )
    packing: bool | None = option(
        None,
        "Lay several examples into a row of a batch instead of padding it, where the model keeps "
        "them apart.",
        about="machine",
        unset="true, but false with --pad_to_max_length; a resumed run goes on as it began",
        settled=True,  # the default is decided in settle.py
        may_change=True,
        formerly=False,
    )
    static_shapes: int | None = option(
        None,
        "At most this many shapes (rows x columns) of packed rows, for a compiler or CUDA graphs; "
        "they are chosen from the lengths of the data, and an update learns the same.",
        about="machine",
        least=1,
        unset="packed rows have as many rows and columns as they need",
        may_change=True,
    )
    group_by_length: bool | None = option(
        None,
        "Put examples of similar length into a global batch: faster where rows cannot be packed, "
        "other scores.",
        about="training",
        unset="false; a resumed run goes on as it began",
        settled=True,  # the default is decided in settle.py
        formerly=True,
    )
    gradient_checkpointing: bool = option(
        False,
        "Recompute activations in backward: less memory, more time.",
        about="machine",
        may_change=True,
    )
    dropout: Literal["per_example", "per_process"] = option(
        "per_example",
        "Masks that are the same for every cut, or torch's own (fused attention on GPUs).",
        about="training",
        formerly="per_process",
    )
    full_vocabulary: bool = option(
        False,
        "Keep rows of the input embedding that the data never shows in the model, too.",
        about="machine",
        may_change=True,
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None, "Overrides the launch file's precision.", about="training"
    )
    use_cpu: bool = option(False, "Leave GPUs alone.", about="machine", may_change=True)
    # The seed is about the data, too, because it draws the examples of --validation_fraction.
    seed: int = option(
        42, "Seed of the head, the order of the data and dropout.", about="data", least=0
    )
    dataloader_num_workers: int = option(
        0,
        "Processes that cut and pack batches; 0: a thread does it beside the batch before.",
        about="machine",
        least=0,
        starts_processes=True,
        may_change=True,
    )

    do_train: bool = option(
        False,
        "Train. None of the do_ options: all data allows.",
        about="stage",
        group="What to run",
    )
    do_eval: bool = option(False, "Score the validation data.", about="stage")
    do_predict: bool = option(
        False, "Score and predict the test or predict data.", about="stage", may_change=True
    )
    debug: bool = option(False, "A small run: at most 100 examples of every split.", about="stage")
    check_data: bool = option(
        False,
        "Look at the data instead of training: counts, and what is wrong by file and line.",
        about="stage",
        may_change=True,
    )
    show_examples: int | None = option(
        None,
        "Examples that --check_data shows, drawn at random.",
        about="report",
        least=0,
        unset="3",
        may_change=True,
    )

    eval_steps: int | None = option(
        None,
        "Evaluate every N updates.",
        about="training",
        group="Evaluation, best model, logs",
        least=1,
        unset="after every epoch",
    )
    logging_steps: int = option(50, "Log the loss every N updates.", about="report", least=1)
    metric_for_best_model: str | None = option(
        None,
        "Score that tells the best evaluation; a loss counts downwards.",
        about="training",
        unset="the first score of the task",
    )
    load_best_model_at_end: bool = option(
        False, "Save the weights of the best evaluation instead of the last.", about="training"
    )
    early_stopping_patience: int | None = option(
        None, "Stop after N evaluations in a row without a better score.", about="training", least=1
    )

    output_dir: str | None = option(
        None,
        "Folder of everything the run leaves.",
        about="place",
        group="Output",
        unset="a new one under runs/",
        is_path=True,
        may_change=True,
    )
    overwrite_output_dir: bool = option(
        False, "Replace the run that output_dir holds.", about="place", may_change=True
    )
    checkpointing_steps: str | None = option(
        None, 'Save a checkpoint every N updates, or "epoch".', about="report", may_change=True
    )
    async_checkpoints: bool = option(
        True,
        "Write checkpoints beside training; else training waits.",
        about="machine",
        may_change=True,
    )
    checkpoints_total_limit: int | None = option(
        None,
        "Keep the newest N checkpoints (and the best one).",
        about="report",
        least=1,
        may_change=True,
    )
    resume_from_checkpoint: str | None = option(
        None,
        'A checkpoint folder, or "auto": the newest good one in output_dir.',
        about="place",
        is_path=True,
        may_change=True,
    )
    profile: bool = option(
        False, "Show where the time of updates 6 to 15 went.", about="report", may_change=True
    )
    report: bool = option(
        True,
        "Write report.html at the end; it needs matplotlib and jinja2.",
        about="report",
        may_change=True,
    )
    with_tracking: bool = option(
        False,
        "Report to all experiment trackers that are installed.",
        about="report",
        may_change=True,
    )
    report_to: str = option(
        "all",
        "Trackers: tensorboard, wandb, mlflow, trackio, ... (with commas), all or none; one that "
        "is named needs no --with_tracking.",
        about="report",
        is_list=True,
        may_change=True,
    )
    push_to_hub: bool = option(
        False, "Upload the final model to the hub.", about="place", may_change=True
    )
    hub_model_id: str | None = option(
        None,
        "Repository on the hub.",
        about="place",
        unset="the name of output_dir",
        may_change=True,
    )
    hub_private_repo: bool = option(
        False,
        "Upload to a private repository; a public one of this name gets nothing.",
        about="place",
        may_change=True,
    )
    hub_token: str | None = option(
        None,
        "Token of the hub; better in HF_TOKEN.",
        about="place",
        aliases=("--token",),
        secret=True,
        may_change=True,
    )
    config: str | None = option(
        None,
        "YAML or JSON file of the same options; the command line wins.",
        about="place",
        is_path=True,
        may_change=True,
    )


_OF_ALL_TASKS = (SharedOptions, FineTuningOptions, ProtocolOptions)
OF_ALL_TASKS = {name for options in _OF_ALL_TASKS for name in options.__dataclass_fields__}
OPTIONS_OF_TASKS = {task: task_module(task, "options").Options for task in TASKS}
_OF_SOME_TASKS = [*reversed(dict.fromkeys(OPTIONS_OF_TASKS.values()))]


# A dataclass takes the fields of its last base first, so the bases stand in reverse.
@dataclass(frozen=True)
class Config(*_OF_SOME_TASKS, ProtocolOptions, FineTuningOptions, SharedOptions):
    """All options of a run, resolved: those that all tasks share, and those of each task.

    The options of the tasks that do not run keep their defaults.
    """

    @property
    def uses_sample_corpus(self) -> bool:
        """True when no data is named."""
        files = (self.train_file, self.validation_file, self.test_file, self.predict_file)
        return self.dataset_name is None and not any(files)

    @property
    def has_training_data(self) -> bool:
        """True when training is possible, as far as the options tell."""
        return self.uses_sample_corpus or bool(self.dataset_name or self.train_file)

    @property
    def uses_sample_model(self) -> bool:
        """True when neither data nor a model is named: the embedded default."""
        model = (self.model_name_or_path, self.config_name, self.model_type)
        return self.uses_sample_corpus and not any(model)

    @property
    def names_of_data(self) -> str:
        """The files and the dataset that the run reads, for a message."""
        files = (self.train_file, self.validation_file, self.test_file, self.predict_file)
        named = [name for name in (self.dataset_name, *files) if name is not None]
        return ", ".join(dict.fromkeys(named)) or "the built-in sample"

    @property
    def names_of_model(self) -> str:
        """What the model is made from, for a message."""
        scratch = self.config_name or self.model_type or "the small model of the sample"
        return self.model_name_or_path or scratch

    def public(self) -> dict:
        """The options as plain values, secrets left out."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in SECRETS}


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
SECRETS = frozenset(name for name, field in FIELDS.items() if field.metadata["secret"])
FORMERLY = {name: field.metadata["formerly"] for name, field in FIELDS.items()}
MAY_CHANGE_ON_RESUME = frozenset(n for n, field in FIELDS.items() if field.metadata["may_change"])
