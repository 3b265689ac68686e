"""A saved model folder: what the model was loaded with, and everything that prepares its inputs."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from launches import REPO, SMALL, read_json
from tiny import build_model, byte_level_of_class, model_config, tokenizer_like
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertLMHeadModel,
    MixtralForTokenClassification,
    T5Config,
    T5ForConditionalGeneration,
    Wav2Vec2FeatureExtractor,
)

import train_loop
from tagloop.models.saving import stop_caching, write_model
from tagloop.models.tensor_file import TensorInParts
from tagloop.training.vocabulary import compact_vocabulary


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


def test_a_t5_keeps_no_cache_either_though_its_decoder_has_a_configuration_of_its_own():
    config = T5Config(vocab_size=9, d_model=8, d_ff=8, num_layers=1, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).eval()
    ids = {"input_ids": torch.tensor([[5, 6]]), "decoder_input_ids": torch.tensor([[0, 7]])}
    assert model(**ids).past_key_values is not None
    stop_caching(model)
    assert model(**ids).past_key_values is None
    assert config.use_cache
    assert model.loaded_use_cache


def test_every_processor_is_saved(tmp_path):
    tokenizer, extractor = tokenizer_like("word_piece"), Wav2Vec2FeatureExtractor(feature_size=3)
    model = build_model(model_config("bert"))
    write_model(tmp_path, model, model.state_dict(), [tokenizer, extractor])
    assert read_json(tmp_path / "preprocessor_config.json")["feature_size"] == 3
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


def mixtral():
    """A model whose experts are stacked here, and lie one by one in files on the hub."""
    sizes = {"num_key_value_heads": 1, "num_local_experts": 3, "head_dim": 8}
    return MixtralForTokenClassification(model_config("mixtral", **sizes))


MODELS = {
    "bert": lambda: build_model(model_config("bert")),
    "gpt2": lambda: build_model(model_config("gpt2")),
    "deberta-v2": lambda: build_model(model_config("deberta-v2")),
    "t5": lambda: build_model(model_config("t5")),
    "tied": lambda: BertLMHeadModel(model_config("bert", is_decoder=True)),
    "experts": mixtral,
}


def files_of(folder) -> dict[str, bytes]:
    """The content of every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("size", [10**12, 20_000], ids=["one file", "several files"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_written_as_transformers_writes_it(name, size, in_parts, tmp_path):
    model = MODELS[name]()
    weights = model.state_dict()
    model.save_pretrained(tmp_path / "expected", state_dict=dict(weights), max_shard_size=size)
    (tmp_path / "found").mkdir()
    if in_parts:
        weights = {
            name: TensorInParts(tuple(value.shape), value.dtype, lambda value=value: [value])
            for name, value in weights.items()
        }
    write_model(tmp_path / "found", model, weights, [], original_names=True, max_file_size=size)
    assert files_of(tmp_path / "found") == files_of(tmp_path / "expected")
    assert (tmp_path / "found" / "model.safetensors").exists() == (size > 10**9)


def test_names_of_an_older_checkpoint_are_written_again(tmp_path):
    """bert-base-cased on the hub calls LayerNorm's parameters gamma and beta."""
    first = build_model(model_config("bert"))
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma"): value
        for name, value in first.state_dict().items()
    }
    first.save_pretrained(tmp_path / "old", state_dict=old, save_original_format=False)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "old")
    model.save_pretrained(tmp_path / "expected")
    (tmp_path / "found").mkdir()
    write_model(tmp_path / "found", model, model.state_dict(), [], original_names=True)
    assert files_of(tmp_path / "found") == files_of(tmp_path / "expected")
    assert b"LayerNorm.gamma" in files_of(tmp_path / "found")["model.safetensors"]


@pytest.mark.parametrize("original_names", [False, True])
def test_a_table_with_waiting_rows_is_written_whole(original_names, tmp_path):
    model = build_model(model_config("bert", vocab_size=20_000))
    table = model.get_input_embeddings().weight.detach().clone()
    vocabulary = compact_vocabulary(model, [np.arange(5, 20_000, 3)])
    vocabulary.shrink = 0.75
    for folder in ("found", "expected"):
        (tmp_path / folder).mkdir()
    weights = vocabulary.whole(model.state_dict())
    write_model(tmp_path / "found", model, weights, [], original_names=original_names)
    table[vocabulary.absent] *= 0.75
    weights = model.state_dict() | {vocabulary.name: table}
    options = {} if original_names else {"save_original_format": False}
    model.save_pretrained(tmp_path / "expected", state_dict=weights, **options)
    assert files_of(tmp_path / "found") == files_of(tmp_path / "expected")


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak of memory")
def test_writing_a_large_table_is_no_peak_of_memory(tmp_path):
    """The table takes 384 MiB. A process that puts the table together would need that again."""
    code = f"""
import re, sys
from pathlib import Path
sys.path[:0] = [{str(REPO)!r}, {str(REPO / "tests")!r}]
import numpy as np
from tiny import build_model, model_config
from tagloop.models.saving import write_model
from tagloop.training.vocabulary import compact_vocabulary

model = build_model(model_config("bert", vocab_size=393_216, hidden_size=256))
vocabulary = compact_vocabulary(model, [np.arange(100)])
def number(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(name + r":\\s+(\\d+)", status)[1])
small = build_model(model_config("bert"))  # loads what writing needs
write_model(Path({str(tmp_path)!r}), small, small.state_dict(), [], original_names=True)
before = number("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
weights = vocabulary.whole(model.state_dict())
assert vocabulary.find_non_finite() is None
write_model(Path({str(tmp_path)!r}), model, weights, [], original_names=True)
print((number("VmHWM") - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").stat().st_size > 384 * 2**20
    assert int(done.stdout) < 192, "MiB"
