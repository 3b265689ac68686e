"""models.py: tokenizers that keep words apart, limits, heads, refusals, and the optimizer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    CanineTokenizer,
    PreTrainedTokenizerFast,
)

from tagloop.errors import InputError
from tagloop.models.model import load_model, load_model_config, max_input_length
from tagloop.models.tokenizers import glues_words, load_tokenizer, probe_template, tokenize_words
from tagloop.options.command_line import parse_config
from tagloop.sample.model import build_sample_tokenizer
from tagloop.training.dry_pass import dry_pass
from tagloop.training.optim import parameter_groups
from tagloop.wording import first_line

REPO = Path(__file__).resolve().parents[2]
LABELS = ["B-PER", "I-PER", "O"]
HEAD = AutoModelForTokenClassification


def options(name, *more: str):
    data = ["--train_file", "a.json", "--do_train"]
    return parse_config([*data, "--model_name_or_path", str(name), *more])


def scratch(model_type: str, *more: str):
    return parse_config(
        ["--train_file", "a.json", "--model_type", model_type, "--tokenizer_name", "t", *more]
    )


def words_tokenizer(config):
    return load_tokenizer(config, [], pre_split=True)


def window_length(config, model_config, tokenizer) -> int:
    return max_input_length(config, HEAD, model_config, tokenizer)


def load(folder, labels, *more: str):
    config = options(folder, *more)
    tokenizer = words_tokenizer(config)
    model_config = load_model_config(config, HEAD, tokenizer, labels)
    return load_model(config, HEAD, model_config, tokenizer, [], has_labels=True)


@pytest.fixture
def saved(tmp_path):
    """A folder with a small trained BERT of three tags and its tokenizer."""
    model = tiny.build_model(tiny.model_config("bert", LABELS))
    model.save_pretrained(tmp_path / "bert")
    tiny.tokenizer_like("word_piece").save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


# Tokenizers


@pytest.mark.parametrize("kind", ["word_piece", "byte_level", "metaspace"])
def test_a_saved_tokenizer_loads_unchanged(tmp_path, kind):
    tokenizer = tiny.tokenizer_like(kind)
    tokenizer.save_pretrained(tmp_path)
    loaded = words_tokenizer(options(tmp_path))
    assert loaded(tiny.TEXT).input_ids == tokenizer(tiny.TEXT).input_ids


@pytest.mark.parametrize("name", ["generic", "roberta", "gpt2"])
def test_a_tokenizer_that_glues_words_is_mended(tmp_path, name):
    tokenizer = tiny.byte_level_of_class(name, add_prefix_space=False)
    tokenizer.save_pretrained(tmp_path / "given")
    loaded = words_tokenizer(options(tmp_path / "given"))

    def ids(words: list[str]) -> list[int]:
        (pieces,) = tokenize_words(loaded, [words])
        return [token_id for word in pieces for token_id in word]

    # As the model saw words in running text: with the space that stands before them.
    words = tiny.TEXT[0].split()
    running_text = tokenizer(" " + tiny.TEXT[0], add_special_tokens=False).input_ids
    assert ids(words) == running_text
    assert loaded.pad_token_id is not None

    loaded.save_pretrained(tmp_path / "trained")  # what a user of the trained model loads
    again = AutoTokenizer.from_pretrained(tmp_path / "trained")
    assert tokenize_words(again, [words]) == tokenize_words(loaded, [words])


def test_a_tokenizer_that_cannot_be_mended_is_refused(tmp_path):
    tokenizer = tiny.tokenizer_like("byte_level", add_prefix_space=False)
    backend = tokenizer.backend_tokenizer
    drop_first_space = pre_tokenizers.Split(Regex("^ +"), "removed")
    backend.pre_tokenizer = pre_tokenizers.Sequence([drop_first_space, backend.pre_tokenizer])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"glues words .*--tokenizer_name"):
        words_tokenizer(options(tmp_path))


def test_a_tokenizer_without_unknown_token_is_refused_if_it_stops_at_words(tmp_path):
    backend = Tokenizer(WordLevel({"word": 0}))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"{tmp_path.name}: .*Missing \[UNK\]"):
        words_tokenizer(options(tmp_path))


@pytest.mark.slow
def test_a_slow_tokenizer_is_refused(tmp_path):
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"slow .*--tokenizer_name"):
        words_tokenizer(options(tmp_path))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "gpt2"])
def test_a_folder_without_tokenizer_files_is_refused(tmp_path, model_type):
    """transformers makes a tokenizer of special tokens there; every word would be unknown."""
    tiny.build_model(tiny.model_config(model_type, LABELS)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"vocabulary is empty.*--tokenizer_name|says:"):
        words_tokenizer(options(tmp_path))


# What is no model


def not_there(tmp_path):
    return tmp_path / "nowhere"


def a_file(tmp_path):
    path = tmp_path / "model.txt"
    path.write_text("x")
    return path


def empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def damaged_config(tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    return tmp_path / "damaged"


def nameless_config(tmp_path):
    (tmp_path / "nameless").mkdir()
    (tmp_path / "nameless" / "config.json").write_text("{}")
    return tmp_path / "nameless"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (not_there, "no such folder"),
        (a_file, "no such folder"),
        (empty_folder, "holds no config.json"),
        (damaged_config, "not a valid JSON file"),
        (nameless_config, "model_type"),
    ],
)
def test_what_is_no_model_is_refused_by_name(tmp_path, make, says):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model_config(options(path), HEAD, None, LABELS)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    with pytest.raises(InputError, match=path.name):
        words_tokenizer(options(path))


def test_a_name_that_is_not_on_this_machine_is_refused_at_once(looked_up):
    for load in (words_tokenizer, lambda config: load_model_config(config, HEAD, None, LABELS)):
        with pytest.raises(InputError, match=r"acme/no-such-model.*couldn't"):
            load(options("acme/no-such-model"))
    assert looked_up == []


def test_a_model_without_token_classification_is_refused():
    with pytest.raises(InputError, match="no AutoModelForTokenClassification for bart"):
        load_model_config(scratch("bart"), HEAD, None, LABELS)
    with pytest.raises(InputError, match="--model_type nosuch: not known"):
        load_model_config(scratch("nosuch"), HEAD, None, LABELS)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("text", ["", "{", '{"a": 1}'])
def test_damaged_files_are_an_error_that_names_the_folder(saved, file, text):
    (saved / file).write_text(text)
    with pytest.raises(InputError, match=saved.name):
        load(saved, LABELS)


# The window's length


@pytest.mark.parametrize(
    ("model_type", "overrides", "limit"),
    [
        ("bert", {"max_position_embeddings": 512}, 512),
        ("bert", {"max_position_embeddings": 128}, 128),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("xlm-roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("mpnet", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("longformer", {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ("electra", {"max_position_embeddings": 100}, 100),
        ("distilbert", {"max_position_embeddings": 100}, 100),
        ("deberta-v2", {"max_position_embeddings": 100}, 100),
        ("modernbert", {"max_position_embeddings": 100}, 100),
        ("gpt2", {"n_positions": 90}, 90),
    ],
)
def test_a_window_fills_the_models_positions(model_type, overrides, limit):
    tokenizer = tiny.tokenizer_like("word_piece", model_max_length=10**30)
    config, model_config = options("m"), tiny.model_config(model_type, **overrides)
    length = window_length(config, model_config, tokenizer)
    assert length == limit
    model = AutoModelForTokenClassification.from_config(model_config).eval()
    ids = torch.full((1, length), 7)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape[1] == length

    asked = options("m", "--max_length", str(limit))
    assert window_length(asked, model_config, tokenizer) == limit
    above = options("m", "--max_length", str(limit + 1))
    with pytest.raises(InputError, match=rf"--max_length {limit + 1}: .* at most {limit} "):
        window_length(above, model_config, tokenizer)


def test_one_more_sub_token_than_the_window_does_not_fit_roberta():
    model_config = tiny.model_config("roberta", max_position_embeddings=34, pad_token_id=1)
    model = AutoModelForTokenClassification.from_config(model_config)
    length = window_length(options("m"), model_config, tiny.tokenizer_like("byte_level"))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, length + 1), 7))


def test_a_model_without_positions_takes_what_the_tokenizer_allows():
    model_config = tiny.model_config("t5")
    config = options("m")
    unlimited = tiny.tokenizer_like("metaspace", model_max_length=10**30)
    assert window_length(config, model_config, unlimited) >= 100_000
    assert window_length(config, model_config, tiny.tokenizer_like("metaspace")) == 512
    long = options("m", "--max_length", "4000")
    assert window_length(long, model_config, unlimited) == 4000


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_window_needs_room_for_words(length):
    config = options("m", "--max_length", str(length))
    with pytest.raises(InputError, match=f"--max_length {length}: leaves no room"):
        window_length(config, tiny.model_config("bert"), tiny.tokenizer_like("word_piece"))


@pytest.mark.parametrize("told", [2, 1, 0, -1, 0.0, 3])
def test_a_tokenizer_that_leaves_no_room_for_words_is_refused(told):
    tokenizer = tiny.tokenizer_like("word_piece", model_max_length=told)
    with pytest.raises(InputError, match=f"model_max_length {told} leaves no room for words"):
        window_length(options("m"), tiny.model_config("bert"), tokenizer)


@pytest.mark.parametrize("positions", [1, 2])
def test_a_model_that_leaves_no_room_for_words_is_refused(positions):
    model_config = tiny.model_config("bert", max_position_embeddings=positions)
    with pytest.raises(InputError, match=f"max_position_embeddings {positions} .* no room"):
        window_length(options("m"), model_config, tiny.tokenizer_like("word_piece"))


@pytest.mark.parametrize(("told", "limit"), [(64.0, 64), (float("inf"), 512), (1e30, 512)])
def test_a_tokenizers_limit_may_be_any_number(told, limit):
    tokenizer = tiny.tokenizer_like("word_piece", model_max_length=told)
    model_config = tiny.model_config("bert", max_position_embeddings=512)
    length = window_length(options("m"), model_config, tokenizer)
    assert (length, type(length)) == (limit, int)


@pytest.mark.parametrize("told", ["512", None, float("nan")])
def test_a_tokenizers_limit_that_is_no_number_is_refused(told):
    tokenizer = tiny.tokenizer_like("word_piece")
    tokenizer.model_max_length = told
    with pytest.raises(InputError, match=f"model_max_length {told!r} is no number"):
        window_length(options("m"), tiny.model_config("bert"), tokenizer)


@pytest.mark.parametrize("told", [["--max_length", "8"], []])
def test_sizes_that_do_not_go_together_are_one_line(told):
    model_config = tiny.model_config("bert", num_attention_heads=3)
    tokenizer = tiny.tokenizer_like("word_piece")
    with pytest.raises(InputError, match=r"m: transformers .*16.* not a multiple .*3") as caught:
        window_length(options("m", *told), model_config, tokenizer)
    assert "\n" not in str(caught.value)


def test_the_first_line_that_says_something_is_told():
    torch_says = "Error(s) in loading state_dict for X:\n\n\tsize mismatch for a.bias: 3, 4.\n\tb"
    assert first_line(RuntimeError(torch_says)) == "size mismatch for a.bias: 3, 4."
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError("Only this:")) == "Only this:"


def test_special_tokens_are_found_around_any_word_that_the_tokenizer_knows():
    backend = Tokenizer(BPE({"[CLS]": 0, "[SEP]": 1, "東": 2}, []))  # without an unknown token
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [("[CLS]", 0), ("[SEP]", 1)]
    backend.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    template = probe_template(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert (template.prefix, template.suffix) == ([0], [1])


def test_a_tokenizer_that_makes_nothing_of_anything_is_refused():
    backend = Tokenizer(BPE())
    with pytest.raises(InputError, match="makes no sub-token"):
        probe_template(PreTrainedTokenizerFast(tokenizer_object=backend))


# The model and its head


def tags_of(model) -> list[str]:
    return [model.config.id2label[index] for index in range(model.config.num_labels)]


def test_a_half_precision_checkpoint_trains_in_float32(saved):
    model = tiny.build_model(tiny.model_config("bert", LABELS)).half()
    model.save_pretrained(saved)
    loaded = load(saved, LABELS)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("labels", [LABELS, ["O", "I-PER", "B-PER"], ["O", "B-PER"]])
@pytest.mark.parametrize("more", [[], ["--ignore_mismatched_sizes"]])
def test_a_checkpoints_head_keeps_its_tags_and_weights(saved, labels, more):
    before = AutoModelForTokenClassification.from_pretrained(saved).classifier.weight
    model = load(saved, labels, *more)
    assert tags_of(model) == LABELS
    assert model.config.label2id == {tag: index for index, tag in enumerate(LABELS)}
    torch.testing.assert_close(model.classifier.weight, before, rtol=0, atol=0)


def test_a_tag_that_the_checkpoint_does_not_know_is_refused(saved):
    with pytest.raises(InputError) as caught:
        load(saved, ["B-LOC", "B-PER", "O"])
    message = str(caught.value)
    assert "B-LOC" in message.split("lack")[1]
    assert "--ignore_mismatched_sizes" in message


@pytest.mark.parametrize("labels", [["B-LOC", "B-PER", "O"], ["B-LOC", "B-PER", "I-PER", "O"]])
def test_a_new_head_where_it_is_asked_for(saved, labels):
    before = AutoModelForTokenClassification.from_pretrained(saved)
    model = load(saved, labels, "--ignore_mismatched_sizes")
    assert tags_of(model) == labels
    assert model.classifier.weight.shape[0] == len(labels)
    # A head of the old size fits, but its rows mean the old tags.
    rows = model.classifier.weight[:, None] - before.classifier.weight[None]
    assert (rows.abs().amax(-1) > 1e-3).all()
    body, old_body = model.bert.state_dict(), before.bert.state_dict()
    assert all(torch.equal(body[name], old_body[name]) for name in body)


def test_a_head_without_tag_names_is_replaced(saved):
    config = tiny.model_config("bert", ["LABEL_0", "LABEL_1"])
    BertForSequenceClassification(config).save_pretrained(saved)
    model = load(saved, LABELS)
    assert tags_of(model) == LABELS
    assert model.classifier.weight.shape[0] == 3


def test_from_scratch_with_the_configuration_of_another_model(saved):
    config = parse_config(
        ["--train_file", "a", "--config_name", str(saved), "--tokenizer_name", str(saved)]
    )
    tokenizer = words_tokenizer(config)
    model_config = load_model_config(config, HEAD, tokenizer, ["A", "B"])
    model = load_model(config, HEAD, model_config, tokenizer, [], has_labels=True)
    assert tags_of(model) == ["A", "B"]
    trained = AutoModelForTokenClassification.from_pretrained(saved)
    key = model.bert.encoder.layer[0].attention.self.key.weight
    assert key.shape == trained.bert.encoder.layer[0].attention.self.key.weight.shape
    assert not torch.allclose(key, trained.bert.encoder.layer[0].attention.self.key.weight)


def test_the_seed_decides_the_new_head(saved):
    config = tiny.model_config("bert", ["LABEL_0", "LABEL_1"])
    BertForSequenceClassification(config).save_pretrained(saved)
    heads = []
    for seed in ("1", "1", "2"):
        torch.rand(3)  # whatever ran before
        heads.append(load(saved, LABELS, "--seed", seed).classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


# What DDP has to be told


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("longformer", True),
        ("bert", False),
        ("distilbert", False),
        ("electra", False),
        ("roberta", False),
        ("albert", False),
        ("mpnet", False),
        ("deberta-v2", False),
        ("modernbert", False),
        ("roformer", False),  # its position table is fixed
    ],
)
def test_unused_parameters_are_found(model_type, expected):
    model = tiny.build_model(tiny.model_config(model_type, LABELS))
    tokens = [["john", "lives"], ["mary"]]
    split = tiny.build_windows(
        tiny.tokenizer_like("word_piece"), tokens, [["O"] * 2, ["O"]], LABELS
    )
    assert dry_pass(model, [split], dropout=False, backward=True).has_unused_parameters is expected
    assert all(parameter.grad is None for parameter in model.parameters())


# The optimizer


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "distilbert", "convbert", "albert", "t5"])
def test_weights_decay_and_nothing_else(model_type):
    model = tiny.build_model(tiny.model_config(model_type, LABELS))
    frozen = next(model.parameters()).requires_grad_(False)
    decays = parameter_groups(model, weight_decay=0.1)
    groups = {id(p): group["weight_decay"] for group in decays for p in group["params"]}
    listed = [id(p) for group in decays for p in group["params"]]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert sorted(listed) == sorted(trained)  # each once, tied ones, too
    assert id(frozen) not in listed
    assert {0.0, 0.1} == set(groups.values())
    # Independently of modules: vectors are biases and norms, tables are weights.
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_weight = parameter.ndim > 1 and name.endswith("weight")
            assert groups[id(parameter)] == (0.1 if is_weight else 0.0), name


def test_decay_pulls_weights_and_leaves_norms():
    model = nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.5), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if name in ("0.weight", "2.weight") else 1.0
        torch.testing.assert_close(parameter, before[name] * factor)


# The sample's


@pytest.mark.slow
def test_the_samples_tokenizer_is_the_same_in_every_process():
    script = (
        "import hashlib\n"
        "from tagloop.sample import model\n"
        "words = open(model.__file__, encoding='utf-8').read().split()\n"
        "sentences = [words[at : at + 12] for at in range(0, len(words), 12)]\n"
        "text = model.build_sample_tokenizer(sentences).backend_tokenizer.to_str()\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPO,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_samples_tokenizer_keeps_words_apart_and_knows_them():
    sentences = [line.split() for line in tiny.TEXT]
    tokenizer = build_sample_tokenizer(sentences)
    assert not glues_words(tokenizer)
    (pieces,) = tokenize_words(tokenizer, [sentences[0]])
    assert all(pieces)
    assert tokenizer.unk_token_id not in np.concatenate(pieces)
    assert tokenizer.decode(np.concatenate(pieces).tolist()) == tiny.TEXT[0]
