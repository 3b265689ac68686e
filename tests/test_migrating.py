"""docs/migrating.md: every flag of the scripts that users come from, parsed as the page says."""

import itertools
import re

import pytest
from flag_tables import other_than, section_of, shown
from launches import REPO

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import FIELDS, Config
from tagloop.options.reading.renamed import RENAMED
from tagloop.options.reading.suggestions import SPELLINGS

DATA = ["--train_file", "a.json", "--model_name_or_path", "m"]
SCRATCH = ["--train_file", "a.json", "--model_type", "gpt2", "--tokenizer_name", "t"]

# run_ner_no_trainer.py's flags and its defaults.
DEFAULTS = {
    "dataset_name": None,
    "dataset_config_name": None,
    "train_file": None,
    "validation_file": None,
    "text_column_name": None,
    "label_column_name": None,
    "max_length": 128,
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
    "seed": None,
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
    "seed": 7,
    "checkpointing_steps": "epoch",
    "lr_scheduler_type": "cosine_with_restarts",
    "task_name": "chunk",
    "resume_from_checkpoint": "auto",
    "report_to": "tensorboard",
}


def other_value(name: str):
    """A value that is not the default."""
    return OTHER_VALUES[name] if name in OTHER_VALUES else other_than(DEFAULTS[name])


def rows_of(section: str) -> list[list[str]]:
    """The cells of a section's tables, without marks."""
    lines = [line for line in section_of(section).splitlines() if line.startswith("|")]
    return [[re.sub("[`*]", "", cell).strip() for cell in line.split("|")[1:-1]] for line in lines]


FLAGS = [row for row in rows_of("run_ner_no_trainer.py") if len(row) == 4]
FLAGS = {row[0][2:]: row[1:] for row in FLAGS if re.match("--[a-z]", row[0])}
OTHERS = [row for row in rows_of("run_ner.py and run_flax_ner.py") if re.match("--[a-z]", row[0])]


def test_the_page_has_every_flag_of_run_ner_no_trainer():
    assert sorted(FLAGS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.medium
def test_flags_and_defaults_of_run_ner_no_trainer(name):
    """Whole, with hyphens, joined by `=`, and every abbreviation that fits one option alone."""
    there, here, differs = FLAGS[name]
    ours = getattr(Config(), name)
    assert (there, here) == (shown(DEFAULTS[name]), shown(ours))
    assert there == here or differs, "another default needs a reason"
    value = other_value(name)
    extra = [] if name == "output_dir" else ["--output_dir", "o"]
    on = [n for n, f in FIELDS.items() if "bool" in str(f.type) and f.default is not False]
    known = {*SPELLINGS, *(f"--no_{name}" for name in on)}
    spellings = [f"--{name}", f"--{name}".replace("_", "-")]
    spellings += [
        start
        for start in itertools.accumulate(f"--{name}")
        if [other for other in known if other.startswith(start)] == [f"--{name}"]
    ]
    for spelling in spellings:
        given = [[f"{spelling}={value}"], [spelling] if value is True else [spelling, str(value)]]
        for argv in given:
            assert getattr(parse_config([*DATA, *extra, *argv]), name) == value != ours, argv


def test_only_the_bold_flags_have_another_default():
    page = (REPO / "docs" / "migrating.md").read_text(encoding="utf-8")
    bold = set(re.findall(r"^\| \*\*`--(\w+)`", page, re.MULTILINE))
    assert bold == {n for n, default in DEFAULTS.items() if default != getattr(Config(), n)}


@pytest.mark.parametrize("row", [row for row in OTHERS if row[0][2:] in {n[2:] for n in SPELLINGS}])
def test_spellings_of_run_ner(row):
    alias, ours = row[0], row[1].split()[0].rstrip(";")
    assert SPELLINGS[alias] == (ours[2:] if ours.startswith("--") else alias[2:])
    assert ours in ("the", f"--{SPELLINGS[alias]}")


def test_options_of_run_ner_that_are_not_kept_are_answered_as_the_page_says():
    answers = {}
    for names, answer in (row for row in OTHERS if row[0][2:] not in {n[2:] for n in SPELLINGS}):
        answers |= dict.fromkeys(re.findall(r"--(\w+)", names), answer)
    assert answers == RENAMED
    for name, answer in answers.items():
        with pytest.raises(InputError) as caught:
            parse_config([*DATA, f"--{name}", "1"])
        assert str(caught.value) == f"unknown option --{name}; {answer}"
        named = set(re.findall(r"--(\w+)", answer)) - {"config_file", "dynamo_backend"}
        named -= {"revision", "local"}  # of `hf download`
        named -= {f"no_{option}" for option in FIELDS}
        assert named <= FIELDS.keys(), "it names an option that is none"


def test_epochs_may_be_written_as_run_ner_writes_them():
    assert parse_config([*DATA, "--num_train_epochs", "3.0"]).num_train_epochs == 3


LANGUAGE_FLAGS = [
    row for row in rows_of("run_clm_no_trainer.py and run_mlm_no_trainer.py") if len(row) == 5
]
LANGUAGE_FLAGS = {
    (task, flag): (there, here, differs)
    for flags, tasks, there, here, differs in LANGUAGE_FLAGS
    for flag in re.findall(r"--(\w+)", flags)
    for task in re.findall("clm|mlm", tasks)
}
# The flags of the scripts that run_ner_no_trainer.py does not have, or has with another meaning.
LANGUAGE_DEFAULTS = {
    "clm": {"block_size": None, "keep_linebreaks": True, "validation_split_percentage": 5},
    "mlm": {
        "max_seq_length": None, "mlm_probability": 0.15, "line_by_line": False,
        "pad_to_max_length": False, "validation_split_percentage": 5,
    },
}  # fmt: skip


@pytest.mark.parametrize(("task", "name"), LANGUAGE_FLAGS)
def test_flags_of_the_language_modelling_scripts(task, name):
    there, here, differs = LANGUAGE_FLAGS[task, name]
    argv = [*(SCRATCH if name == "config_overrides" else DATA), f"--task_name={task}"]
    if here == "refused":
        with pytest.raises(InputError) as caught:
            parse_config([*argv, f"--{name}", "1"])
        assert str(caught.value) == f"unknown option --{name}; {differs}"
        return
    field = SPELLINGS[f"--{name}"]
    default = getattr(parse_config(argv), field)
    if name in LANGUAGE_DEFAULTS[task]:
        assert LANGUAGE_DEFAULTS[task][name] == default
    if name != "train_file":  # which this command line gives
        assert (there, here) == (shown(default), shown(default))
    value = {"bool": not default, "float": 0.5, "int": 7}.get(
        next((kind for kind in ("bool", "float", "int") if kind in str(FIELDS[field].type)), ""),
        "b.json",
    )
    assert getattr(parse_config([*argv, f"--{name}={value}"]), field) == value


# The flags that both scripts share with run_ner_no_trainer.py, with its defaults.
LIKE_NER = [
    "dataset_name", "dataset_config_name", "model_name_or_path", "config_name", "tokenizer_name",
    "model_type", "per_device_train_batch_size", "per_device_eval_batch_size", "learning_rate",
    "weight_decay", "num_train_epochs", "max_train_steps", "gradient_accumulation_steps",
    "lr_scheduler_type", "num_warmup_steps", "output_dir", "seed", "push_to_hub", "hub_model_id",
    "hub_token", "trust_remote_code", "checkpointing_steps", "resume_from_checkpoint",
    "with_tracking", "report_to",
]  # fmt: skip
LANGUAGE_SCRIPTS = {  # the other flags of each
    "clm": [
        "train_file", "validation_file", "validation_split_percentage", "use_slow_tokenizer",
        "block_size", "preprocessing_num_workers", "overwrite_cache", "keep_linebreaks",
        "low_cpu_mem_usage",
    ],
    "mlm": [
        "train_file", "validation_file", "validation_split_percentage", "use_slow_tokenizer",
        "pad_to_max_length", "max_seq_length", "line_by_line", "preprocessing_num_workers",
        "overwrite_cache", "mlm_probability", "low_cpu_mem_usage",
    ],
}  # fmt: skip


@pytest.mark.parametrize("task", LANGUAGE_SCRIPTS)
@pytest.mark.parametrize("name", LIKE_NER)
def test_flags_that_the_language_modelling_scripts_share_with_run_ner(task, name):
    """The table of run_ner_no_trainer.py holds for them, as the section says."""
    there, here, _ = FLAGS[name]
    assert (task, name) not in LANGUAGE_FLAGS
    assert there == shown(DEFAULTS[name])
    argv = [*DATA, f"--task_name={task}"]
    assert shown(getattr(Config(task_name=task), name)) == here
    value = other_value(name)
    argv += [] if name == "output_dir" else ["--output_dir", "o"]
    argv += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    assert getattr(parse_config(argv), name) == value


def test_the_page_has_every_flag_of_the_language_modelling_scripts():
    for task, names in LANGUAGE_SCRIPTS.items():
        assert {(task, name) for name in names} <= LANGUAGE_FLAGS.keys()
    known = {(task, name) for task, flags in LANGUAGE_DEFAULTS.items() for name in flags}
    assert known <= LANGUAGE_FLAGS.keys()
    assert parse_config([*DATA, "--task_name=clm", "--no_keep_linebreaks"]).keep_linebreaks is False


@pytest.mark.parametrize(
    "section", ["flair", "spaCy", "SpanMarker", "GLiNER", "simpletransformers"]
)
def test_the_tables_of_other_trainers_name_options_that_exist(section):
    """On the right. Options of predict.py and of accelerate stand behind the name of a command."""
    rows = rows_of(section)
    assert len(rows) > 10
    for row in rows:
        ours = re.sub(r"tagloop predict.*|--config_file \S+", "", row[1])
        for name in re.findall(r"--(\w+)", ours):
            assert f"--{name}" in SPELLINGS, row
