"""Which parameters learn, how fast, and what is refused."""

import dataclasses
import sys

import pytest
import tiny
import torch
import transformers

from tagloop.errors import InputError
from tagloop.options.command_line import parse_config
from tagloop.options.config import Config
from tagloop.options.settle import settle
from tagloop.training.optim import build_optimizer, choose_trained

LAYERS = {  # model type -> the word in front of the number of a layer
    "bert": "encoder.layer.", "roberta": "encoder.layer.", "deberta-v2": "encoder.layer.",
    "mpnet": "encoder.layer.", "distilbert": "transformer.layer.", "gpt2": "h.", "t5": "block.",
}  # fmt: skip
LAST = ("transformer.ln_f.", "transformer.encoder.final_layer_norm.")  # behind the last layer
CONFIG = Config(do_train=True, learning_rate=1e-3, weight_decay=0.1)


def build(model_type: str = "bert", num_layers: int = 3):
    config = tiny.model_config(model_type)
    config.num_layers = config.num_hidden_layers = num_layers
    return tiny.build_model(config)


def rates_of(model, **options) -> dict[str, float]:
    """The learning rate by the name of a trained parameter."""
    optimizer = build_optimizer(dataclasses.replace(CONFIG, **options), model)
    rate_of = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rate_of[p] for name, p in model.named_parameters() if p.requires_grad}


def depth_of(name: str, model_type: str) -> int:
    """0 for the embeddings, 1 to 3 for the layers, 4 for the head: by the words of a name."""
    mark, rest = name.partition(LAYERS[model_type])[1:]
    if name.startswith("classifier."):
        return 4
    return int(rest.split(".")[0]) + 1 if mark else 3 * name.startswith(LAST)


@pytest.mark.parametrize("model_type", LAYERS)
def test_a_layer_learns_slower_than_the_layer_above_it(model_type):
    found = rates_of(model := build(model_type), layerwise_lr_decay=0.5, head_learning_rate=7e-3)
    expected = [1.25e-4, 2.5e-4, 5e-4, 1e-3, 7e-3]
    assert found == {
        name: pytest.approx(expected[depth_of(name, model_type)])
        for name, _ in model.named_parameters()
    }
    assert len(set(found.values())) == 5


@pytest.mark.parametrize("model_type", LAYERS)
@pytest.mark.parametrize("option", ["freeze_embeddings", "freeze_layers"])
def test_the_first_layers_are_frozen_and_nothing_else(model_type, option):
    model, number = build(model_type), 2 if option == "freeze_layers" else 0
    choose_trained(dataclasses.replace(CONFIG, **{option: number or True}), model)
    left = {name for name, p in model.named_parameters() if p.requires_grad}
    names = {name for name, _ in model.named_parameters()}
    assert left == {name for name in names if depth_of(name, model_type) > number}
    assert rates_of(model).keys() == left < names


def test_an_encoder_lies_below_its_decoder():
    config = transformers.T5Config(
        vocab_size=50, d_model=8, d_kv=4, num_heads=2, d_ff=8, num_layers=2, num_decoder_layers=1
    )
    found = rates_of(transformers.T5ForConditionalGeneration(config), layerwise_lr_decay=0.1)
    powers = {
        "shared.weight": 3, "encoder.block.0.layer.0.SelfAttention.q.weight": 2,
        "encoder.block.1.layer.0.SelfAttention.q.weight": 1,
        "decoder.block.0.layer.0.SelfAttention.q.weight": 0, "decoder.final_layer_norm.weight": 0,
    }  # fmt: skip
    for name, power in powers.items():
        assert found[name] == pytest.approx(1e-3 * 0.1**power), name


def headless():
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=2)
    )


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (headless, {"head_learning_rate": 1.0}, "--head_learning_rate: GPT2LMHeadModel has no"),
        (headless, {"freeze_layers": 1}, "--freeze_layers 1: nothing is left to learn"),
        (build, {"freeze_layers": 4}, "--freeze_layers 4: the model has 3 layers"),
        (lambda: build("xlm"), {"freeze_embeddings": True}, "XLMForTokenClassification has no"),
        (lambda: build("xlm"), {"layerwise_lr_decay": 0.9}, "XLMForTokenClassification has no"),
    ],
)
def test_what_a_model_does_not_have_is_refused(make, options, says):
    def begin(config, model):
        choose_trained(config, model)
        build_optimizer(config, model)

    with pytest.raises(InputError, match=says):
        begin(dataclasses.replace(CONFIG, **options), make())


def test_without_the_options_there_are_two_groups_as_ever():
    model = build()
    groups = build_optimizer(CONFIG, model).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-3, 0.1), (1e-3, 0.0)]
    assert all(torch.is_tensor(p) for group in groups for p in group["params"])


class NoOptimizer:
    def __init__(self, groups, lr):
        pass


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("torch.optim:Nope", "has no attribute 'Nope'"),
        ("torch.optim.LBFGS", "LBFGS doesn't support"),
        ("torch.nn:Linear", "TypeError"),
        ("test_optim:NoOptimizer", "is no optimizer of torch"),
    ],
)
def test_what_is_no_optimizer_is_refused_in_one_line(path, says, monkeypatch):
    monkeypatch.setitem(sys.modules, "test_optim", sys.modules[__name__])
    with pytest.raises(InputError, match=says) as refusal:
        build_optimizer(dataclasses.replace(CONFIG, optimizer=path), build())
    assert str(refusal.value).startswith(f"--optimizer {path}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--optimizer=Lion", "--optimizer Lion: must be AdamW, or an import path such as torch.op"),
        ("--optimizer=nowhere.to:Find", "there is no package nowhere; install it, or"),
        ("--lora_alpha=8", "--lora_alpha: needs --lora_rank"),
        ("--ema_decay=1", "--ema_decay 1.0: must be below 1"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_loaded(typed, says):
    with pytest.raises(InputError, match=says):
        parse_config([typed])


def test_another_optimizer_keeps_the_whole_vocabulary():
    assert settle(parse_config(["--optimizer=torch.optim:SGD"]), None).full_vocabulary
    assert not settle(parse_config([]), None).full_vocabulary
