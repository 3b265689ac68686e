"""config.py: every option's name and default, where values come from, and every refusal."""

import dataclasses
import doctest
import json

import pytest
import yaml

from tagloop.config import Config
from tagloop.errors import InputError
from tagloop.options import parse_config

DATA = ["--train_file", "a.json", "--model_name_or_path", "m"]
TRAIN_AND_VALIDATION = [*DATA, "--validation_file", "b.json"]

# run_ner_no_trainer.py's, but for max_length (there 128, and what is longer is cut off) and seed
# (there none).
DEFAULTS = {
    "dataset_name": None,
    "dataset_config_name": None,
    "train_file": None,
    "validation_file": None,
    "text_column_name": None,
    "label_column_name": None,
    "max_length": None,
    "pad_to_max_length": False,
    "model_name_or_path": None,
    "config_name": None,
    "tokenizer_name": None,
    "model_type": None,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "learning_rate": 5e-5,
    "weight_decay": 0.0,
    "num_train_epochs": 3,
    "max_train_steps": None,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "num_warmup_steps": 0,
    "output_dir": None,
    "seed": 42,
    "label_all_tokens": False,
    "return_entity_level_metrics": False,
    "debug": False,
    "task_name": "ner",
    "push_to_hub": False,
    "hub_model_id": None,
    "hub_token": None,
    "trust_remote_code": False,
    "ignore_mismatched_sizes": False,
    "checkpointing_steps": None,
    "resume_from_checkpoint": None,
    "with_tracking": False,
    "report_to": "all",
}
OTHER_VALUES = {
    "max_length": 99,
    "max_train_steps": 7,
    "checkpointing_steps": "epoch",
    "lr_scheduler_type": "cosine_with_restarts",
    "task_name": "chunk",
    "resume_from_checkpoint": "auto",
    "report_to": "tensorboard",
}


def other_value(name: str):
    """A value that is not the default."""
    default = DEFAULTS[name]
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    if default is None:
        return "something"
    return default + 1 if isinstance(default, (int, float)) and default is not False else True


def refused(argv: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(argv)
    return str(caught.value)


def test_worked_examples():
    assert doctest.testmod(config_module).failed == 0


@pytest.mark.parametrize("name", DEFAULTS)
def test_run_ner_no_trainers_options_and_defaults(name):
    assert getattr(parse_config(DATA), name) == ({"train_file": "a.json", "model_name_or_path": "m"}
        .get(name, DEFAULTS[name]))  # fmt: skip
    value = other_value(name)
    extra = [] if name == "output_dir" else ["--output_dir", "o"]
    given = [f"--{name}"] if value is True else [f"--{name}", str(value)]
    assert getattr(parse_config([*DATA, *extra, *given]), name) == value


@pytest.mark.parametrize(
    "name",
    [
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
    ],
)
def test_schedules(name):
    assert parse_config([*DATA, "--lr_scheduler_type", name]).lr_scheduler_type == name


@pytest.mark.parametrize(
    ("alias", "value", "name", "expected"),
    [
        ("--max_seq_length", "77", "max_length", 77),
        ("--max_steps", "5", "max_train_steps", 5),
        ("--warmup_steps", "2", "num_warmup_steps", 2),
        ("--warmup_steps", "0.25", "num_warmup_steps", 0.25),
        ("--token", "hf_x", "hub_token", "hf_x"),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_aliases(alias, value, name, expected, joined):
    given = [f"{alias}={value}"] if joined else [alias, value]
    assert getattr(parse_config([*DATA, *given]), name) == expected


def test_grouping_by_length_is_switched_off():
    assert parse_config(DATA).group_by_length
    assert not parse_config([*DATA, "--no_group_by_length"]).group_by_length


def test_the_sample_has_its_own_defaults_and_the_command_line_wins():
    sample = parse_config([])
    assert sample.uses_sample_corpus
    assert sample.uses_sample_model
    # A model from scratch wants more than fine-tuning does.
    assert sample.learning_rate > 10 * parse_config(DATA).learning_rate
    assert sample.num_train_epochs > 3
    chosen = parse_config(["--learning_rate", "5e-5", "--num_train_epochs", "3"])
    assert (chosen.learning_rate, chosen.num_train_epochs) == (5e-5, 3)
    assert chosen.per_device_train_batch_size == sample.per_device_train_batch_size


def test_the_sample_corpus_with_a_model_is_fine_tuned_as_any():
    config = parse_config(["--model_name_or_path", "m"])
    assert config.uses_sample_corpus
    assert not config.uses_sample_model
    assert config.learning_rate == 5e-5


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_defaults_then_file_then_command_line(tmp_path, suffix):
    path = tmp_path / f"options.{suffix}"
    options = {
        "train_file": "a b.json",
        "model_name_or_path": "m",
        "learning_rate": 1e-4,
        "seed": 5,
        "group_by_length": False,
        "label_all_tokens": True,
        "max_train_steps": None,
        "checkpointing_steps": 10,
    }
    dump = json.dumps if suffix == "json" else yaml.safe_dump
    path.write_text(dump(options), encoding="utf-8")
    config = parse_config(["--config", str(path), "--seed", "6", "--train_file", "c.json"])
    assert (config.seed, config.train_file) == (6, "c.json")
    assert (config.learning_rate, config.checkpointing_steps) == (1e-4, "10")
    assert (config.group_by_length, config.label_all_tokens) == (False, True)
    assert (config.weight_decay, config.max_train_steps) == (0.0, None)
    assert parse_config(["--config", str(path)]).train_file == "a b.json"


def test_a_file_beats_the_samples_defaults(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("learning_rate: 3.0e-4\n")
    config = parse_config(["--config", str(path)])
    assert config.learning_rate == 3e-4
    assert config.num_train_epochs == parse_config([]).num_train_epochs


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "lerning_rate: 1", "did you mean learning_rate?"),
        ("a.yaml", "config: b.yaml", "unknown option 'config'"),
        ("a.yaml", "- 1", "option: value"),
        ("a.yaml", "a: [1", "not valid YAML"),
        ("a.json", "{", "not valid YAML or JSON"),
        ("a.yaml", "seed: many", "--seed"),
        ("a.yaml", "seed: -1", "--seed -1: must not be negative"),
    ],
)
def test_bad_files(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    assert says in refused(["--config", str(path)])


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "no.yaml") in refused(["--config", str(tmp_path / "no.yaml")])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lerning_rate", "1"], "unknown option --lerning_rate; did you mean --learning_rate?"),
        (["--lerning_rate=1"], "unknown option --lerning_rate; did you mean --learning_rate?"),
        (["--per_device_batch_size", "1"], "did you mean --per_device_"),
        (["--learning", "1"], "unknown option --learning"),  # no silent abbreviations
        (["--xyzzyqq", "1"], "--help lists all options"),
        (["stray"], "stray"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["--num_train_epochs", "1.5"], "invalid int value: '1.5'"),
        (["--task_name", "nerr"], "choose from 'ner', 'pos', 'chunk'"),
        (["--lr_scheduler_type", "step"], "invalid choice: 'step'"),
        (["--mixed_precision", "fp8"], "invalid choice: 'fp8'"),
        (["--label_scheme", "BIO"], "invalid choice: 'BIO'"),
    ],
)
def test_unknown_options_and_wrong_types(argv, says):
    assert says in refused(argv)


AT_LEAST_ONE = [
    "max_train_samples", "max_eval_samples", "max_predict_samples", "max_length",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "num_train_epochs", "max_train_steps", "eval_steps", "logging_steps",
    "early_stopping_patience", "checkpoints_total_limit",
]  # fmt: skip
NOT_NEGATIVE = [
    "weight_decay", "max_grad_norm", "num_warmup_steps", "seed", "dataloader_num_workers", "stride",
]  # fmt: skip


@pytest.mark.parametrize("value", ["0", "-3"])
@pytest.mark.parametrize("name", AT_LEAST_ONE)
def test_counts_are_positive(name, value):
    assert refused([f"--{name}={value}"]) == f"--{name} {value}: must be at least 1"
    assert getattr(parse_config([f"--{name}=1"]), name) == 1


@pytest.mark.parametrize("name", NOT_NEGATIVE)
def test_zero_is_the_least(name):
    assert f"--{name} -1" in refused([f"--{name}=-1"])
    assert getattr(parse_config([f"--{name}=0"]), name) == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--learning_rate", "0"], "--learning_rate 0.0: must be above 0"),
        (["--learning_rate", "-1"], "--learning_rate -1.0"),
        (["--learning_rate", "nan"], "--learning_rate nan"),
        (["--learning_rate", "inf"], "--learning_rate inf"),
        (["--weight_decay", "nan"], "--weight_decay nan"),
        (["--seed", str(2**63)], f"--seed {2**63}: must be below 2**63"),
        (["--validation_fraction", "0"], "--validation_fraction 0.0: must lie between 0 and 1"),
        (["--validation_fraction", "1"], "--validation_fraction 1.0: must lie between 0 and 1"),
        (
            [*TRAIN_AND_VALIDATION, "--validation_fraction", "0.1"],
            "--validation_fraction with --validation_file: give one of them",
        ),
        (["--checkpointing_steps", "0"], "--checkpointing_steps 0"),
        (["--checkpointing_steps", "epochs"], "--checkpointing_steps epochs"),
        (["--checkpointing_steps", "1.5"], "--checkpointing_steps 1.5"),
        (["--num_warmup_steps", "1.5"], "--num_warmup_steps 1.5: must be whole updates"),
        (["--num_warmup_steps", "inf"], "--num_warmup_steps inf"),
        (["--num_warmup_steps", "nan"], "--num_warmup_steps nan"),
        (
            ["--task_name", "pos", "--label_scheme", "IOB2"],
            "--label_scheme IOB2 with --task_name pos",
        ),
        (["--train_file", "a.json"], "give --model_name_or_path"),
        (["--dataset_name", "d"], "give --model_name_or_path"),
        (["--train_file", "a.json", "--model_type", "bert"], "needs --tokenizer_name"),
        (["--train_file", "a.json", "--config_name", "c"], "needs --tokenizer_name"),
        (["--push_to_hub", "--do_eval"], "--push_to_hub needs --do_train"),
        (
            ["--validation_file", "b.json", "--model_name_or_path", "m", "--do_train"],
            "--do_train needs --train_file",
        ),
        ([*DATA, "--do_eval"], "--do_eval needs --validation_file or --validation_fraction"),
        ([*DATA, "--do_predict"], "--do_predict needs --test_file or --predict_file"),
        (
            ["--output_dir", "o", "--overwrite_output_dir", "--resume_from_checkpoint", "auto"],
            "--overwrite_output_dir with --resume_from_checkpoint",
        ),
        (["--resume_from_checkpoint", "auto"], "--resume_from_checkpoint needs --output_dir"),
        (["--max_length", "20", "--stride", "10"], "--stride 10: must be at most half"),
        ([*DATA, "--early_stopping_patience", "2"], "--early_stopping_patience needs"),
        ([*DATA, "--load_best_model_at_end"], "--load_best_model_at_end needs an evaluation"),
        ([*DATA, "--metric_for_best_model", "f1"], "--metric_for_best_model needs"),
        (["--do_train", "--load_best_model_at_end"], "and --do_eval"),
    ],
)
def test_refusals(argv, says):
    assert says in refused(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["--checkpointing_steps", "epoch"],
        ["--checkpointing_steps", "10"],
        ["--num_warmup_steps", "0.1"],
        ["--num_warmup_steps", "100"],
        ["--max_grad_norm", "inf"],
        ["--max_length", "20", "--stride", "9"],
        ["--max_length", "1", "--stride", "0"],
        ["--task_name", "chunk", "--label_scheme", "IOBES"],
        ["--train_file", "a.json", "--model_type", "bert", "--tokenizer_name", "t"],
        ["--test_file", "c.json", "--model_name_or_path", "m", "--do_predict"],
        ["--predict_file", "c.json", "--model_name_or_path", "m"],
        [*DATA, "--validation_fraction", "0.1", "--load_best_model_at_end"],
        [*TRAIN_AND_VALIDATION, "--early_stopping_patience", "2", "--do_train", "--do_eval"],
        ["--dataset_name", "d", "--model_name_or_path", "m", "--do_eval"],
        ["--metric_for_best_model", "eval_strict_f1"],
        ["--metric_for_best_model", "loss"],
        ["--metric_for_best_model", "PER_f1", "--return_entity_level_metrics"],
        ["--task_name", "pos", "--metric_for_best_model", "macro_f1"],
        ["--output_dir", "o", "--resume_from_checkpoint", "auto"],
        ["--push_to_hub", "--do_train"],
    ],
)
def test_no_false_alarm(argv):
    config = parse_config(argv)
    assert isinstance(config, Config)


def test_all_problems_are_reported_together():
    lines = refused(
        [
            "--learning_rate=0",
            "--seed=-1",
            "--max_length=0",
            "--checkpointing_steps=x",
            "--train_file=a.json",
        ]
    ).splitlines()
    assert len(lines) == 5
    for option in ("learning_rate", "seed", "max_length", "checkpointing_steps", "model_type"):
        assert sum(f"--{option}" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("argv", "runs"),
    [
        ([], (True, True, True)),
        (DATA, (True, True, True)),
        (["--test_file", "c.json", "--model_name_or_path", "m"], (False, True, True)),
        ([*DATA, "--do_train"], (True, False, False)),
        ([*TRAIN_AND_VALIDATION, "--do_eval"], (False, True, False)),
    ],
)
def test_what_runs(argv, runs):
    config = parse_config(argv)
    assert (config.do_train, config.do_eval, config.do_predict) == runs


def test_public_holds_every_option_but_no_secret():
    config = parse_config([*DATA, "--hub_token", "hf_secret"])
    public = config.public()
    assert "hf_secret" not in json.dumps(public)
    names = {field.name for field in dataclasses.fields(Config)}
    assert names - set(public) == {"hub_token"}


def test_every_option_has_a_help_line(capsys):
    with pytest.raises(SystemExit):
        parse_config(["--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name} " in text or f"--{field.name}]" in text
        assert field.metadata["help"].strip()
