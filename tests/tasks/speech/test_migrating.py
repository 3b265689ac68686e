"""docs/migrating.md: every flag of run_speech_recognition_seq2seq.py, parsed as the page says."""

import pytest
from flag_tables import flags_of, section_of, shown

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import Config

# The script's flags of model and data, and its defaults; those that are not kept stand below.
DEFAULTS = {
    "model_name_or_path": None,
    "config_name": None,
    "tokenizer_name": None,
    "feature_extractor_name": None,
    "freeze_encoder": False,
    "dataset_name": None,
    "dataset_config_name": None,
    "train_split_name": "train",
    "eval_split_name": "test",
    "preprocessing_num_workers": None,
    "max_train_samples": None,
    "max_eval_samples": None,
    "audio_column_name": "audio",
    "text_column_name": "text",
    "max_duration_in_seconds": 20.0,
    "min_duration_in_seconds": 0.0,
    "do_lower_case": True,
    "language": None,
    "whisper_task": "transcribe",
    "generation_max_length": None,
    "num_beams": None,
    "predict_with_generate": False,
}
THERE = {"whisper_task": "task", "num_beams": "generation_num_beams"}
OTHER_VALUES = {
    "preprocessing_num_workers": 2, "max_train_samples": 3, "max_eval_samples": 3,
    "max_duration_in_seconds": 9.5, "min_duration_in_seconds": 0.5, "whisper_task": "translate",
    "generation_max_length": 9, "num_beams": 2, "do_lower_case": "False", "freeze_encoder": "True",
    "predict_with_generate": "False",
}  # fmt: skip
NOT_KEPT = (
    "freeze_feature_encoder", "apply_spec_augment", "preprocessing_only",
    "forced_decoder_ids", "suppress_tokens",
)  # fmt: skip
DATA = ["--task_name", "speech", "--dataset_name", "d", "--model_name_or_path", "m"]


SECTION = section_of("run_speech_recognition_seq2seq.py")
ROWS = flags_of(SECTION)


def test_the_page_has_every_flag():
    assert sorted(ROWS) == sorted(DEFAULTS)
    assert all(f"`--{name}`" in SECTION for name in (*NOT_KEPT, *THERE.values()))


@pytest.mark.parametrize("name", DEFAULTS)
def test_flags_and_defaults_of_the_script(name):
    there, here, differs = ROWS[name]
    ours = getattr(Config(), name)
    assert (there, here) == (shown(DEFAULTS[name]), shown(ours))
    assert there == here or differs, "another default needs a reason"
    value = OTHER_VALUES.get(name, "something")
    for spelling in (name, THERE.get(name, name)):
        config = parse_config([*DATA, f"--{spelling}", str(value)])
        assert str(getattr(config, name)) == str(value) != str(ours)
        assert config.task_name == "speech"


@pytest.mark.parametrize("name", NOT_KEPT)
def test_flags_that_are_not_kept_say_why(name):
    with pytest.raises(InputError, match=rf"^unknown option --{name}; (is|not needed)"):
        parse_config([*DATA, f"--{name}", "1"])
