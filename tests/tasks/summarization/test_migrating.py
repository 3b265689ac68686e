"""docs/migrating.md: every flag of run_summarization_no_trainer.py, parsed as the page says."""

import pytest
from flag_tables import flags_of, other_than, section_of, shown

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import Config

# run_summarization_no_trainer.py's flags and its defaults.
DEFAULTS = {
    "dataset_name": None,
    "dataset_config_name": None,
    "train_file": None,
    "validation_file": None,
    "ignore_pad_token_for_loss": True,
    "max_source_length": 1024,
    "source_prefix": None,
    "preprocessing_num_workers": None,
    "max_target_length": 128,
    "val_max_target_length": None,
    "num_beams": None,
    "pad_to_max_length": False,
    "model_name_or_path": None,
    "config_name": None,
    "tokenizer_name": None,
    "text_column": None,
    "summary_column": None,
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
    "model_type": None,
    "push_to_hub": False,
    "hub_model_id": None,
    "hub_token": None,
    "trust_remote_code": False,
    "checkpointing_steps": None,
    "resume_from_checkpoint": None,
    "with_tracking": False,
    "report_to": "all",
}
OTHER_VALUES = {
    "preprocessing_num_workers": 2, "max_source_length": 200, "val_max_target_length": 64,
    "num_beams": 4, "max_train_steps": 7, "seed": 7, "lr_scheduler_type": "cosine",
    "checkpointing_steps": "epoch", "resume_from_checkpoint": "auto", "report_to": "tensorboard",
}  # fmt: skip
DATA = ["--task_name", "summarization", "--train_file", "a.json", "--model_name_or_path", "m"]
SPELLED = {"text_column": "text_column_name"}
NOT_KEPT = ("use_slow_tokenizer", "overwrite_cache")  # each is answered by a line of its own


SECTION = section_of("run_summarization_no_trainer.py and run_summarization.py")
ROWS = flags_of(SECTION)


def test_the_page_has_every_flag_of_run_summarization_no_trainer():
    assert sorted(ROWS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name != "ignore_pad_token_for_loss"])
def test_flags_and_defaults_of_run_summarization_no_trainer(name):
    there, here, differs = ROWS[name]
    option = SPELLED.get(name, name)
    ours = getattr(Config(), option)
    assert (there, here) == (shown(DEFAULTS[name]), shown(ours))
    assert there == here or differs, "another default needs a reason"
    value = OTHER_VALUES.get(name) or other_than(DEFAULTS[name])
    extra = [] if name == "output_dir" else ["--output_dir", "o"]
    argv = [f"--{name}"] if value is True else [f"--{name}", str(value)]
    assert getattr(parse_config([*DATA, *extra, *argv]), option) == value != ours


@pytest.mark.parametrize("name", NOT_KEPT)
def test_flags_that_are_not_kept_say_why(name):
    with pytest.raises(InputError, match=f"unknown option --{name}; not needed"):
        parse_config([*DATA, f"--{name}"])


def test_padding_is_never_learned():
    assert ROWS["ignore_pad_token_for_loss"][:2] == ["true", "true"]
    with pytest.raises(InputError, match="would learn to write padding"):
        parse_config([*DATA, "--ignore_pad_token_for_loss", "false"])


def test_an_empty_prefix_is_a_prefix():
    assert parse_config([*DATA, "--source_prefix", ""]).source_prefix == ""
    assert parse_config([*DATA, "--source_prefix="]).source_prefix == ""


def test_flags_of_run_summarization():
    argv = [*DATA, "--predict_with_generate", "--generation_num_beams=3", "--test_file=t.json"]
    config = parse_config([*argv, "--generation_max_length=60", "--do_predict"])
    assert (config.predict_with_generate, config.num_beams) == (True, 3)
    assert config.generation_max_length == 60
