"""Options: names and defaults, where values come from, every refusal, --help and its page."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from typing import get_args

import pytest
import yaml
from launches import REPO

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import FIELDS, MAY_CHANGE_ON_RESUME, SECRETS, Config
from tagloop.options.groups import groups
from tagloop.options.lists import tasks_of
from tagloop.options.marks import About
from tagloop.options.page import options_page
from tagloop.options.reading.suggestions import SPELLINGS
from tagloop.options.settle import SETTLED, settle
from tagloop.tasks import TASKS, sample_defaults, task_module

DATA = ["--train_file", "a.json", "--model_name_or_path", "m"]
TRAIN_AND_VALIDATION = [*DATA, "--validation_file", "b.json"]


def refused(argv: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(argv)
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], None), (["--no_group_by_length"], False), (["--no-group-by-length"], False)]
    + [(["--group_by_length", word], False) for word in ("false", "no", "0", "False", "off")]
    + [([f"--group-by-length={word}"], True) for word in ("true", "yes", "1")]
    + [(["--no_group_by_length", "--group_by_length"], True)],
)
def test_switches(given, expected):
    assert parse_config([*DATA, *given]).group_by_length is expected


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (["--max-train-steps", "5"], "max_train_steps", 5),
        (["--output-dir=a-b_c"], "output_dir", "a-b_c"),  # the value stays as it is
        (["--learning", "1e-3"], "learning_rate", 1e-3),
        (["--max-train-st=6"], "max_train_steps", 6),
        (["--token", "t"], "hub_token", "t"),  # whole names come before --tokenizer_name
        (["--label_scheme", "BMES"], "label_scheme", "BMES"),
        (["--label_scheme", "IO"], "label_scheme", "IO"),
        (["--seed", "1", "--seed", "2"], "seed", 2),
    ],
)
def test_spellings(given, name, expected):
    assert getattr(parse_config([*DATA, *given]), name) == expected


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
    ("line", "name", "expected"),
    [
        ("mixed_precision: no", "mixed_precision", "no"),  # YAML alone: False
        ("mixed_precision: false", "mixed_precision", "no"),
        ("mixed_precision: bf16", "mixed_precision", "bf16"),
        ("mixed_precision: null", "mixed_precision", None),
        ("mixed_precision:", "mixed_precision", None),
        ("learning_rate: 5e-6", "learning_rate", 5e-6),  # a text
        ("seed: 010", "seed", 10),  # 8
        ("dataset_revision: 1.10", "dataset_revision", "1.10"),  # 1.1
        ("dataset_revision: 2024-01-02", "dataset_revision", "2024-01-02"),  # a date
        ("text_column_name: 0", "text_column_name", "0"),
        ("text_column_name: 'null'", "text_column_name", "null"),
        ("debug: yes", "debug", True),
        ("group_by_length: off", "group_by_length", False),
        ("max-seq-length: 77", "max_length", 77),
    ],
)
def test_what_yaml_means(tmp_path, line, name, expected):
    path = tmp_path / "options.yaml"
    path.write_text(f"\ufefftrain_file: a.json\nmodel_name_or_path: m\n{line}\n", encoding="utf-8")
    assert getattr(parse_config(["--config", str(path)]), name) == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('{"mixed_precision": false}', "mixed_precision", "no"),
        ('{"learning_rate": 1e-3}', "learning_rate", 1e-3),
        ('{"group_by_length": false}', "group_by_length", False),
        ('{"dataset_revision": 1.10}', "dataset_revision", "1.10"),
    ],
)
def test_what_json_means(tmp_path, text, name, expected):
    path = tmp_path / "options.json"
    path.write_text(text, encoding="utf-8")
    assert getattr(parse_config(["--config", str(path), *DATA]), name) == expected


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.yaml",
            "lerning_rate: 1",
            "unknown option --lerning_rate; did you mean --learning_rate?",
        ),
        ("a.yaml", "config: b.yaml", "--config: a file cannot name another one"),
        ("a.yaml", "- 1", "option: value"),
        ("a.yaml", "", "option: value"),
        ("a.yaml", "a: [1", "a.yaml:1:6: not valid YAML"),
        (
            "a.yaml",
            "seed: 1\n\tdebug: true",
            "a.yaml:2:1: not valid YAML or JSON: found character '\\t'",
        ),
        ("a.yaml", "seed: 1\ndebug: \x01", "a.yaml:2:8: not valid YAML or JSON: a control"),
        ("a.yaml", "[" * 5000, "not valid YAML or JSON"),
        ("a.yaml", "seed: !!int x", "not valid YAML or JSON"),
        ("a.yaml", "seed: !!timestamp x", "not valid YAML or JSON"),
        ("a.yaml", "debug: !!bool maybe", "not valid YAML or JSON"),
        ("a.yaml", "max_steps: 1\nmax_train_steps: 2", "stands there twice, in two spellings"),
        (
            "a.yaml",
            "seed: 1\ndebug: true\nseed: 2",
            "a.yaml:3:1: not valid YAML or JSON: an option",
        ),
        ("a.json", '{"seed": 1, "seed": 2}', "an option stands there twice"),
        ("a.json", "{", "a.json:1:2: not valid YAML or JSON"),
        ("a.json", "[" * 100_000, "not valid YAML or JSON"),
        ("a.yaml", "seed: many", "a.yaml: --seed many: must be a whole number"),
        ("a.yaml", "seed: -1", "--seed -1: must be at least 0"),
        ("a.yaml", "train_file: [a, b]", "--train_file: must be one value, not a list"),
        ("a.yaml", "train_file: {a: b}", "--train_file: must be one value, not a mapping"),
        ("a.json", '{"train_file": true}', "--train_file: must be text, not true"),
        ("a.json", '{"learning_rate": NaN}', "--learning_rate nan: must be a finite number"),
        ("a.json", '{"seed": 1.5}', "--seed 1.5: must be a whole number"),
        ("a.yaml", "label_scheme: no", "--label_scheme no: must be one of IOB1, IOB2"),
    ],
)
def test_bad_files(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert says in refused(["--config", str(path)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "report_to: [tensorboard, wandb]"),
        ("a.yaml", "report_to:\n- tensorboard\n- wandb\n"),
        ("a.json", '{"report_to": ["tensorboard", "wandb"]}'),
    ],
)
def test_a_list_of_names_may_be_written_as_a_list(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert parse_config(["--config", str(path)]).report_to == "tensorboard,wandb"
    (tmp_path / "b.json").write_text('{"report_to": [["wandb"]]}')
    assert "--report_to: must be a list of names" in refused([f"--config={tmp_path / 'b.json'}"])


@pytest.mark.parametrize("name", ["dataloader_num_workers", "preprocessing_num_workers"])
def test_no_more_processes_than_the_machine_bears(name):
    message = refused([f"--{name}=9999"])
    assert re.search(rf"--{name} 9999: must be at most \d+, as this machine has \d+ core", message)
    assert getattr(parse_config([f"--{name}=4"]), name) == 4
    marked = {n for n, field in FIELDS.items() if field.metadata["starts_processes"]}
    assert marked == {n for n in FIELDS if n.endswith("_workers")}


@pytest.mark.parametrize("value", ["9" * 4300, "9" * 5000, "-" + "9" * 4300, "1e400", "\ud800"])
@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if re.search("int|float", str(field.type))]
)
def test_numbers_that_no_machine_can_use(name, value):
    message = refused([f"--{name}={value}"])
    assert message.startswith(f"--{name} ")
    assert len(message) < 600


def test_all_problems_of_a_file_are_reported_together(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: many\nlerning_rate: 1\nstride: [1]\n", encoding="utf-8")
    lines = refused(["--config", str(path)]).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"--config {path}: ") for line in lines)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("seed: 1\n# Zürich".encode("latin-1"))
    assert refused(["--config", str(path)]) == f"--config {path}: is not UTF-8 at offset 11"
    assert refused(["--config", str(tmp_path)]) == f"--config {tmp_path}: is not a file"


SECRET = "hf_oNlyAtEsT"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", f"hub_token: {SECRET}\n  seed: 1\n"),
        ("a.yaml", f"hub_token: {SECRET}: 1\n"),
        ("a.yaml", f'hub_token: "{SECRET}\n'),
        ("a.yaml", f"hub_token: *{SECRET}\n"),
        ("a.yaml", f"hub_token: !{SECRET} x\n"),
        ("a.yaml", f"hub_token: !{SECRET}!x y\n"),
        ("a.yaml", f"a: &{SECRET} 1\nb: &{SECRET} 2\nc: *no\n"),
        ("a.yaml", f"hub_token: [{SECRET}]\n"),
        ("a.yaml", f"hub_token:{SECRET}\nseed: 1\n"),
        ("a.yaml", f"{{hub_token:{SECRET}}}\n"),
        ("a.yaml", f"hub_token:{SECRET}\n"),
        ("a.yaml", f"hub_token: {SECRET}\nseed: many\n"),
        ("a.yaml", f'hub_token: "{SECRET}\\0"\n'),
        ("a.json", f'{{"hub_token": "{SECRET}}}'),
        ("a.json", f'{{"hub_token": {SECRET}}}'),
    ],
)
def test_a_bad_file_does_not_print_the_token(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert SECRET not in refused(["--config", str(path)])


@pytest.mark.parametrize(
    "argv",
    [
        [f"--hub_tokn={SECRET}"],
        ["--hub_tokn", SECRET],
        [f"--hub_={SECRET} could match"],
        ["--hub_token=", SECRET],
        [f"--hub_token:{SECRET}"],
        ["--hub_token", f"{SECRET}\0"],
        ["--hub_token", SECRET, "--seed", "x"],
    ],
)
def test_a_bad_command_line_does_not_print_the_token(argv):
    assert SECRET not in refused(argv)


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "no.yaml") in refused(["--config", str(tmp_path / "no.yaml")])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lerning_rate", "1"], "unknown option --lerning_rate; did you mean --learning_rate?"),
        (["--lerning_rate=1"], "unknown option --lerning_rate; did you mean --learning_rate?"),
        (["--lerning-rate=1"], "unknown option --lerning_rate; did you mean --learning_rate?"),
        (["-learning_rate", "1"], "did you mean --learning_rate?"),
        (["--per_device_batch_size", "1"], "did you mean --per_device_"),
        (["--max_t", "1"], "ambiguous option: --max_t"),  # steps or samples
        (["--xyzzyqq", "1"], "--help lists all options"),
        (["stray"], "stray: is no option"),
        (["--seed"], "--seed: expected one argument"),
        (["--seed", "x"], "--seed x: must be a whole number"),
        (["--seed", "9" * 5000], "must be a whole number"),
        (["--learning_rate", "much"], "--learning_rate much: must be a number"),
        (["--num_train_epochs", "many"], "--num_train_epochs many: must be a number"),
        (["--debug", "maybe"], "--debug maybe: must be true or false"),
        (["--task_name", "nerr"], "--task_name nerr: must be one of ner, pos, chunk"),
        (["--lr_scheduler_type", "step"], "--lr_scheduler_type step: must be one of linear"),
        (["--mixed_precision", "fp8"], "--mixed_precision fp8: must be one of no, bf16, fp16"),
        (["--mixed_precision", "yes"], "--mixed_precision yes: must be one of"),
        (["--label_scheme", "BIO"], "--label_scheme BIO: must be one of IOB1"),
    ],
)
def test_unknown_options_and_wrong_types(argv, says):
    assert says in refused(argv)


def test_unknown_options_and_wrong_types_are_reported_together():
    argv = ["--lerning_rate", "1", "--seed", "x", "--outputdir=o", "--stride", "half"]
    assert len(refused(argv).splitlines()) == 4


AT_LEAST_ONE = [
    "max_train_samples", "max_eval_samples", "max_predict_samples", "max_length",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "max_train_steps", "eval_steps", "logging_steps",
    "early_stopping_patience", "checkpoints_total_limit",
]  # fmt: skip
NOT_NEGATIVE = [
    "weight_decay", "max_grad_norm", "num_warmup_steps", "seed", "dataloader_num_workers", "stride",
    "context_tokens",
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


def test_every_number_has_a_bound():
    numbers = {name for name, field in FIELDS.items() if re.search("int|float", str(field.type))}
    bounded = {n for n, f in FIELDS.items() if set(f.metadata["bounds"].values()) != {None}}
    assert numbers == bounded


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if "float" in str(field.type)]
)
def test_numbers_are_finite(name, value):
    argv = [f"--task_name={tasks_of(name)[0]}", f"--{name}={value}"]
    assert refused(argv) == f"--{name} {float(value)}: must be a finite number"


@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if "int" in str(field.type)]
)
def test_whole_numbers_fit_into_64_bits(name):
    assert f"--{name} {2**63}: must be below 2**63" in refused([f"--{name}={2**63}"])


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, f in FIELDS.items()
        if f.type in (str, str | None)
        and n not in ("config", "hub_token")
        and not f.metadata["may_be_empty"]
    ],
)
def test_texts_are_texts(name):
    assert f"--{name} : is empty" in refused([f"--{name}="])  # an unset variable of a script
    assert f"--{name} a\0: must not hold a NUL" in refused([f"--{name}=a\0"])
    assert f"--{name} \udcff: must be UTF-8" in refused([f"--{name}=\udcff"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--learning_rate", "0"], "--learning_rate 0.0: must be above 0"),
        (["--learning_rate", "-1"], "--learning_rate -1.0"),
        (["--num_train_epochs", "0"], "--num_train_epochs 0: must be above 0"),
        (["--num_train_epochs", "-0.5"], "--num_train_epochs -0.5: must be above 0"),
        (["--max_grad_norm", "inf"], "--max_grad_norm inf"),  # 0 turns clipping off
        (["--seed", str(2**63)], f"--seed {2**63}: must be below 2**63"),
        (["--validation_fraction", "0"], "--validation_fraction 0.0: must be above 0"),
        (["--validation_fraction", "1"], "--validation_fraction 1.0: must be below 1"),
        (
            [*TRAIN_AND_VALIDATION, "--validation_fraction", "0.1"],
            "--validation_fraction with --validation_file: give one of them",
        ),
        (["--checkpointing_steps", "0"], "--checkpointing_steps 0"),
        (["--checkpointing_steps", "epochs"], "--checkpointing_steps epochs"),
        (["--checkpointing_steps", "1.5"], "--checkpointing_steps 1.5"),
        (["--num_warmup_steps", "1.5"], "--num_warmup_steps 1.5: must be whole updates"),
        (
            ["--task_name", "pos", "--label_scheme", "IOB2"],
            "--label_scheme is for ner, chunk; --task_name pos does not take it",
        ),
        (
            ["--task_name", "classification", "--label_scheme", "IO"],
            "--label_scheme is for ner, chunk; --task_name classification does not take it",
        ),
        (
            ["--task_name", "classification", "--labels_file", "l"],
            "--labels_file is for ner, pos, chunk; --task_name classification does not take it",
        ),
        (
            ["--text_pair_column_name", "b"],
            "--text_pair_column_name is for classification; --task_name ner does not take it",
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
        (["--max_length", "20", "--stride", "10"], "--stride 10: must be at most 9, half"),
        ([*DATA, "--early_stopping_patience", "2"], "--early_stopping_patience needs"),
        (["--dataset_config_name", "en_ewt"], "--dataset_config_name: needs --dataset_name"),
        (["--seeds", "1" * 5000], "must be whole numbers with commas between them"),
        (
            ["--lr_scheduler_type", "polynomial", "--learning_rate", "1e-7"],
            "--lr_scheduler_type polynomial: falls to 1e-07",
        ),
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
        ["--max_length", "20", "--stride", "9"],
        ["--max_length", "1", "--stride", "0"],
        ["--task_name", "chunk", "--label_scheme", "IOBES"],
        ["--task_name", "classification", "--text_pair_column_name", "b"],
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
        [*DATA, "--folds", "3", "--output_dir", "o", "--do_train", "--do_predict"],
        ["--optimizer", "__main__:Mine"],
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


NEEDED = {  # by an option: other options, without which it says nothing
    "config_overrides": ["--model_type=gpt2", "--tokenizer_name=x"],
    "train_split_name": ["--dataset_name=x", "--model_name_or_path=x"],
    "eval_split_name": ["--dataset_name=x", "--model_name_or_path=x"],
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", [n for n in FIELDS if len(tasks_of(n)) < len(TASKS)])
def test_an_option_of_another_task_is_refused_and_an_own_one_taken(name, task):
    kinds = {
        bool: "true",
        bool | None: "true",
        int: "3",
        int | None: "3",
        float: "0.5",
        float | None: "0.5",
    }
    value = kinds.get(FIELDS[name].type, "x")
    choices = {
        "label_scheme": "IO",
        "misaligned": "drop",
        "unmarked_split": "document",
        "stride": "3",
        "mean_noise_span_length": "2.0",
        "whisper_task": "translate",
        "decoding": "legal",
    }
    value = choices.get(name, value)
    argv = [f"--task_name={task}", f"--{name}={value}"]
    if task in tasks_of(name):
        argv += NEEDED.get(name, [])
        assert str(getattr(parse_config(argv), name)).lower() == value.lower()
    else:
        takers = ", ".join(tasks_of(name))
        refusal = f"--{name} is for {takers}; --task_name {task} does not take it"
        assert refused(argv) == refusal


def test_options_of_another_task_are_reported_with_all_else(tmp_path):
    argv = ["--task_name=classification", "--stride=3", "--label_all_tokens=false", "--seed=-1"]
    lines = refused(argv).splitlines()
    assert [line.split()[0] for line in lines] == ["--seed", "--stride", "--label_all_tokens"]
    path = tmp_path / "options.yaml"
    path.write_text("task_name: classification\nmisaligned: drop\nstride:\n", encoding="utf-8")
    assert refused(["--config", str(path)]).startswith("--misaligned is for ner, pos, chunk, qa;")


def test_an_option_has_one_definition():
    """Two tasks that take the same option share its definition, else all tasks do."""
    for task in TASKS:
        for field in dataclasses.fields(task_module(task, "options").Options):
            assert FIELDS[field.name] is field, f"--{field.name} is defined twice"
    assert all(field.metadata["about"] in get_args(About) for field in FIELDS.values())


@pytest.mark.parametrize("task", TASKS)
def test_a_task_brings_its_defaults_of_the_sample(task):
    sample = parse_config([f"--task_name={task}"])
    for name, value in sample_defaults(task).items():
        assert getattr(sample, name) == value


@pytest.mark.parametrize("padded", [False, True])
def test_settled_options_have_a_value_and_the_help_says_which(padded):
    config = settle(parse_config([*DATA, f"--pad_to_max_length={padded}"]), None)
    assert {*SETTLED} == {"packing", "group_by_length", "decoding"}
    assert (config.packing, config.group_by_length) == (not padded, False)
    assert config.decoding == "legal"
    told = {name: FIELDS[name].metadata["unset"] for name in SETTLED}
    assert told["packing"].startswith("true, but false with --pad_to_max_length;")
    assert told["group_by_length"].startswith("false;")
    assert told["decoding"].startswith("legal for a training;")
    unsettled = settle(Config(), {"packing": False, "group_by_length": True})
    assert (unsettled.packing, unsettled.group_by_length) == (False, True)
    assert unsettled.decoding is None  # An older run, which had the best labels, goes on with them.


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


def test_help_shows_every_option_in_its_group(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_config(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name, field in FIELDS.items():
        assert f"\n  --{name} " in text
        assert field.metadata["help"].strip()
    for title, fields in groups().items():
        assert f"\n{title}:\n  --{fields[0].name} " in text
    assert text.index("\nModel:") < text.index("--model_type") < text.index("\nTraining:")
    assert text.index("\nOnly for ner, pos, chunk:") < text.index("\n  --stride ")
    assert all(spelling in text for spelling in SPELLINGS)


def test_secrets_and_what_a_resume_may_change():
    """What is secret and what a resume may change follows from the fields."""
    assert {"hub_token"} == SECRETS
    assert MAY_CHANGE_ON_RESUME.isdisjoint({"seed", "learning_rate", "task_name", "max_length"})
    assert {"train_file", "gradient_accumulation_steps", "hub_token"} <= MAY_CHANGE_ON_RESUME
    page = (REPO / "docs" / "resume.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## What may change\n(.*?)Every other option", page, re.DOTALL)
    files = {f"{name}_file" for name in ("train", "validation", "test", "predict", "labels")}
    assert MAY_CHANGE_ON_RESUME - files == set(re.findall(r"`(\w+)`", section))


def test_the_page_of_options_is_current():
    page = (REPO / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == options_page(), "run: python -m tagloop.options.page > docs/options.md"


@pytest.fixture
def no_slow_imports(tmp_path):
    """An environment in which importing torch and the like ends the program."""
    for name in ("torch", "numpy", "accelerate", "transformers", "datasets", "evaluate"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imports {name}')\n")
    return {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"}


def run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, env=environment, capture_output=True, text=True
    )  # fmt: skip


@pytest.mark.medium
def test_help_and_bad_options_answer_before_the_slow_imports(no_slow_imports):
    told = run("train_loop.py", "--help", environment=no_slow_imports)
    assert (told.returncode, told.stderr) == (0, "")
    assert "--learning_rate" in told.stdout
    bad = ["train_loop.py", "--seed=-1", "--stride=-1"]
    refusal = run(*bad, environment=no_slow_imports)
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert [line[:10] for line in refusal.stderr.splitlines()] == ["error: --s"] * 2
    other = run(*bad, environment=no_slow_imports | {"LOCAL_RANK": "1"})
    assert (other.returncode, other.stderr) == (2, "")  # the first process has said it
    good = run("train_loop.py", "--seed=1", environment=no_slow_imports)
    assert "imports" in good.stderr  # so the others would have been seen


THIRD_TASK = '''
from dataclasses import dataclass

from tagloop.options.marks import option

SAMPLE_DEFAULTS = {"learning_rate": 0.5}
EXPORT_FORMATS = ()


@dataclass(frozen=True)
class Options:
    """Of a third task."""

    beam_width: int = option(4, "Hypotheses that are kept.", about="data", least=1)


def find_problems(config):
    if config.beam_width > 9:
        yield "--beam_width: too wide"
'''


@pytest.mark.medium
def test_a_third_task_is_a_folder_and_a_line_of_the_table(tmp_path, no_slow_imports):
    """Choices, help, bounds, refusals and sample defaults follow without another edit."""
    copy = tmp_path / "copy"
    shutil.copytree(REPO / "tagloop", copy / "tagloop")
    shutil.copy(REPO / "train_loop.py", copy)
    folder = copy / "tagloop" / "tasks" / "summaries"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "options.py").write_text(THIRD_TASK)
    table = copy / "tagloop" / "tasks" / "__init__.py"
    lines = table.read_text(encoding="utf-8").replace(
        "\n}\n", '\n    "summary": "summaries",\n}\n', 1
    )
    table.write_text(lines, encoding="utf-8")

    def run_copy(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "train_loop.py", *arguments], cwd=copy, capture_output=True, text=True,
            env=no_slow_imports, check=False,
        )  # fmt: skip

    told = run_copy("--help").stdout
    assert "\nOnly for summary:\n  --beam_width N" in told
    bad = run_copy("--task_name=summary", "--stride=3", "--beam_width=10", "--seed=-1").stderr
    assert bad.splitlines() == [
        "error: --seed -1: must be at least 0",
        "error: --stride is for ner, pos, chunk; --task_name summary does not take it",
        "error: --beam_width: too wide",
    ]
    other = run_copy("--beam_width=3").stderr
    assert other == "error: --beam_width is for summary; --task_name ner does not take it\n"
    show = "from tagloop.options.command_line import parse_config as p; import sys; "
    show += "c = p(sys.argv[1:]); print(c.task_name, c.learning_rate, c.beam_width, c.stride)"
    done = subprocess.run(
        [sys.executable, "-c", show, "--task_name=summary", "--beam_width=3"], cwd=copy,
        capture_output=True, text=True, env=no_slow_imports, check=True,
    )  # fmt: skip
    assert done.stdout == "summary 0.5 3 None\n"
