"""docs/migrating.md: every flag of run_t5_mlm_flax.py, parsed as the page says."""

import re

import pytest
from flag_tables import other_than, section_of, shown

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.reading.suggestions import SPELLINGS

# run_t5_mlm_flax.py's flags and its defaults.
DEFAULTS = {
    "model_name_or_path": None, "model_type": None, "config_name": None, "tokenizer_name": None,
    "cache_dir": None, "use_fast_tokenizer": True, "dtype": "float32", "dataset_name": None,
    "dataset_config_name": None, "train_file": None, "validation_file": None,
    "train_ref_file": None, "validation_ref_file": None, "overwrite_cache": False,
    "validation_split_percentage": 5, "max_seq_length": None, "preprocessing_num_workers": None,
    "mlm_probability": 0.15, "mean_noise_span_length": 3.0, "output_dir": None,
    "overwrite_output_dir": False, "do_train": False, "do_eval": False,
    "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "learning_rate": 5e-5,
    "weight_decay": 0.0, "adafactor": False, "num_train_epochs": 3, "warmup_steps": 0,
    "logging_steps": 500, "save_steps": 500, "eval_steps": None, "seed": 42, "push_to_hub": False,
    "hub_model_id": None, "hub_token": None,
}  # fmt: skip
OTHER_VALUES = {
    "max_seq_length": "99", "preprocessing_num_workers": "2", "mlm_probability": "0.3",
    "eval_steps": "7", "logging_steps": "9",
}  # fmt: skip
DATA = ["--task_name=t5_mlm", "--train_file=a.txt", "--model_name_or_path=m", "--output_dir=o"]


def rows_of_the_page() -> dict[str, list[str]]:
    section = section_of("run_t5_mlm_flax.py")
    lines = re.findall(r"^\| (`--[^|]*) \|(.*)\|$", section, re.MULTILINE)
    return {
        name: [cell.strip().strip("`") for cell in rest.split("|")]
        for flags, rest in lines
        for name in re.findall(r"--(\w+)", flags)
    }


@pytest.mark.parametrize("name", DEFAULTS)
def test_flags_and_defaults_of_run_t5_mlm_flax(name):
    there, here, differs = rows_of_the_page()[name]
    assert there == shown(DEFAULTS[name])
    if here == "refused":
        with pytest.raises(InputError) as caught:
            parse_config([*DATA, f"--{name}", "1"])
        assert str(caught.value) == f"unknown option --{name}; {differs}"
        return
    option, given = SPELLINGS[f"--{name}"], [one for one in DATA if f"--{name}=" not in one]
    ours = getattr(parse_config(DATA), option)
    if name not in ("train_file", "model_name_or_path", "output_dir", "do_train", "do_eval"):
        assert here == shown(ours)  # the others are given above, or follow from the data
    default = DEFAULTS[name]
    value = OTHER_VALUES.get(name) or str(other_than(default))
    argv = [f"--{name}"] if default is False else [f"--{name}={value}"]
    if name == "model_type":
        argv, given = ["--model_type=t5"], [*given, "--tokenizer_name=t"]
        given = [one for one in given if "model_name" not in one]
    found = getattr(parse_config([*given, *argv]), option)
    assert found is True if default is False else str(found) == argv[0].split("=")[1]


def test_the_page_has_every_flag_of_run_t5_mlm_flax():
    assert rows_of_the_page().keys() == DEFAULTS.keys()
