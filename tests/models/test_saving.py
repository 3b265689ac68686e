"""A saved model folder: what the model was loaded with, and everything that prepares its inputs."""

import json

import pytest
import torch
from launches import SMALL, read_json
from tiny import build_model, byte_level_of_class, model_config, tokenizer_like
from transformers import AutoTokenizer, Wav2Vec2FeatureExtractor

import train_loop
from tagloop.models.saving import stop_caching, write_model


@pytest.fixture
def decoder(tmp_path):
    """A folder with configuration and tokenizer of a small GPT-2."""
    folder = tmp_path / "gpt2"
    tokenizer = byte_level_of_class("gpt2", add_prefix_space=True)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    model_config("gpt2").save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("task", ["ner", "classification"])
def test_use_cache_is_saved_as_it_was_loaded(decoder, tmp_path, use_cache, task):
    config = read_json(decoder / "config.json") | {"use_cache": use_cache}
    (decoder / "config.json").write_text(json.dumps(config))
    folder = tmp_path / "run"
    options = [
        *SMALL, f"--task_name={task}", f"--config_name={decoder}", f"--tokenizer_name={decoder}",
        "--checkpointing_steps=1", "--ignore_mismatched_sizes", f"--output_dir={folder}",
    ]  # fmt: skip
    train_loop.main([*options, "--max_train_steps=2"])
    for saved in (folder, folder / "step_1", folder / "step_2"):
        assert read_json(saved / "config.json").get("use_cache", True) is use_cache
    record = read_json(folder / "run.json")
    assert record["identity"]["model"]["use_cache"] is use_cache, "older runs compare with it"


def test_a_decoder_keeps_no_cache_while_it_trains():
    model, ids = build_model(model_config("gpt2")), torch.tensor([[5, 6, 7]])
    expected = model.transformer(input_ids=ids)
    stop_caching(model)
    found = model.transformer(input_ids=ids)
    assert expected.past_key_values is not None
    assert found.past_key_values is None
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)


def test_every_processor_is_saved(tmp_path):
    tokenizer, extractor = tokenizer_like("word_piece"), Wav2Vec2FeatureExtractor(feature_size=3)
    model = build_model(model_config("bert"))
    write_model(tmp_path, model, model.state_dict(), [tokenizer, extractor])
    assert read_json(tmp_path / "preprocessor_config.json")["feature_size"] == 3
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()
