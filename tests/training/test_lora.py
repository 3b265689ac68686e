"""Adapters beside projections: where they are put, what merging gives, and what is refused."""

import pytest
import tiny
import torch
import transformers

from tagloop.errors import InputError
from tagloop.models.weights import refuse_adapters
from tagloop.training.lora import add_adapters, merge_adapters

pytest.importorskip("peft")
IDS = torch.tensor([[5, 6, 7, 8]])


def build(model_type):
    return tiny.build_model(tiny.model_config(model_type)).eval()


def add(model, targets=None):
    add_adapters(model, rank=2, alpha=None, targets=targets, seed=1)


@pytest.mark.parametrize(
    ("model_type", "targets", "beside"),
    [
        ("bert", None, {"query", "value"}),
        ("roberta", None, {"query", "value"}),
        ("deberta-v2", None, {"query_proj", "value_proj"}),
        ("gpt2", None, {"c_attn"}),
        ("t5", None, {"q", "v"}),
        ("distilbert", "q_lin,v_lin", {"q_lin", "v_lin"}),
        ("mpnet", "all-linear", {"q", "k", "v", "o", "dense"}),
    ],
)
@torch.no_grad()
def test_merged_adapters_are_the_model_under_its_own_names(model_type, targets, beside):
    model = build(model_type)
    names, first = set(model.state_dict()), model(input_ids=IDS).logits
    add(model, targets)
    torch.testing.assert_close(model(input_ids=IDS).logits, first, rtol=0, atol=1e-5)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {name for name in trained if "lora_" in name}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in adapters} == beside
    assert trained - adapters == {"classifier.weight", "classifier.bias"}
    for name in adapters:
        torch.nn.init.normal_(model.get_parameter(name))
    learned = model(input_ids=IDS).logits
    assert not torch.allclose(learned, first, atol=0.1)
    merge_adapters(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(input_ids=IDS).logits, learned, rtol=1e-4, atol=1e-4)


def test_a_head_of_several_layers_learns_as_a_whole():
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    add(model := transformers.BertForMaskedLM(config), "all-linear")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    head = {name for name in trained if "lora_" not in name}
    assert head == {name for name, _ in model.named_parameters() if name.startswith("cls.")}
    assert not any(name.startswith("cls.") for name in trained - head)


@pytest.mark.parametrize(
    ("model_type", "targets", "says"),
    [
        (
            "mpnet",
            None,
            "--lora_rank: peft knows no projections of mpnet; name modules of MPNetFor",
        ),
        ("bert", "quarry", "--lora_target_modules quarry: No modules were targeted"),
    ],
)
def test_a_model_without_such_projections_is_refused(model_type, targets, says):
    with pytest.raises(InputError, match=says):
        add(build(model_type), targets)


def test_a_checkpoint_with_adapters_is_no_model():
    with pytest.raises(
        InputError, match=r"runs/x/step_5: is a checkpoint of a run with --lora_rank"
    ):
        refuse_adapters("runs/x/step_5", {"unexpected_keys": {"layer.0.query.base_layer.weight"}})
    refuse_adapters("runs/x", {"unexpected_keys": {"layer.12.query.weight"}})


def test_what_was_frozen_before_stays_frozen():
    model = build("bert")
    model.classifier.bias.requires_grad_(False)
    attention = model.bert.encoder.layer[0].attention.self
    attention.query.requires_grad_(False)
    add(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "classifier.bias" not in trained
    assert "classifier.weight" in trained
    assert not any(p.requires_grad for p in attention.query.parameters())
    assert any(p.requires_grad for p in attention.value.parameters())
