"""docs/migrating.md: every flag of run_qa_no_trainer.py, parsed as the page says."""

import re

import pytest
from flag_tables import flags_of, other_than, section_of, shown

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import Config

# run_qa_no_trainer.py's flags and its defaults.
DEFAULTS = {
    "dataset_name": None,
    "dataset_config_name": None,
    "train_file": None,
    "preprocessing_num_workers": 1,
    "do_predict": False,
    "validation_file": None,
    "test_file": None,
    "max_seq_length": 384,
    "pad_to_max_length": False,
    "model_name_or_path": None,
    "config_name": None,
    "tokenizer_name": None,
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
    "doc_stride": 128,
    "n_best_size": 20,
    "null_score_diff_threshold": 0.0,
    "version_2_with_negative": False,
    "max_answer_length": 30,
    "max_train_samples": None,
    "max_eval_samples": None,
    "max_predict_samples": None,
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
    "preprocessing_num_workers": 2, "max_seq_length": 200, "max_train_steps": 7, "seed": 7,
    "max_train_samples": 3, "max_eval_samples": 3, "max_predict_samples": 3,
    "lr_scheduler_type": "cosine", "checkpointing_steps": "epoch",
    "resume_from_checkpoint": "auto", "report_to": "tensorboard", "doc_stride": 64,
}  # fmt: skip
DATA = ["--task_name", "qa", "--train_file", "a.json", "--model_name_or_path", "m"]
SPELLED = {"max_seq_length": "max_length"}
NOT_KEPT = ("use_slow_tokenizer", "overwrite_cache")  # each is answered by a line of its own


SECTION = section_of("run_qa_no_trainer.py and run_qa.py")
ROWS = flags_of(SECTION)


def test_the_page_has_every_flag_of_run_qa_no_trainer():
    assert sorted(ROWS) == sorted(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_flags_and_defaults_of_run_qa_no_trainer(name):
    there, here, differs = ROWS[name]
    option = SPELLED.get(name, name)
    ours = getattr(Config(), option)
    assert (there, here) == (shown(DEFAULTS[name]), shown(ours))
    assert there == here or differs, "another default needs a reason"
    value = OTHER_VALUES.get(name) or other_than(DEFAULTS[name])
    extra = [] if name == "output_dir" else ["--output_dir", "o"]
    if name == "do_predict":
        extra += ["--test_file", "t.json"]
    argv = [f"--{name}"] if value is True else [f"--{name}", str(value)]
    assert getattr(parse_config([*DATA, *extra, *argv]), option) == value != ours


def test_the_page_has_the_flags_that_are_not_kept():
    (row,) = re.findall(r"^\| (.*) \| `false` \| refused \|", SECTION, re.MULTILINE)
    assert tuple(re.findall(r"--(\w+)", row)) == NOT_KEPT


@pytest.mark.parametrize("name", NOT_KEPT)
def test_flags_that_are_not_kept_say_why(name):
    with pytest.raises(InputError, match=f"unknown option --{name}; not needed"):
        parse_config([*DATA, f"--{name}"])
