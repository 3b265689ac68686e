"""dry_pass.py: models that look at padding, parameters without gradient, batches not taken."""

import random

import numpy as np
import pytest
import tiny
import torch
from transformers import FunnelConfig, XLNetConfig

from postprocess import predict_split
from tagloop.batches.dataloader import Updates
from tagloop.batches.packing import build_micro_batch
from tagloop.errors import InputError
from tagloop.models.class_loss import CROSS_ENTROPY
from tagloop.options.config import Config
from tagloop.processes.launch import build_accelerator
from tagloop.tasks.tagging.task import Tagging
from tagloop.training.dropout import ExampleDropout
from tagloop.training.dry_pass import dry_pass

LABELS = ["O", "B-PER", "I-PER"]
LOOK = {
    "fnet": {"max_position_embeddings": 64},
    "convbert": {"embedding_size": 16, "conv_kernel_size": 9, "num_hidden_layers": 2},
    "nystromformer": {"num_landmarks": 64, "segment_means_seq_len": 64},
    "yoso": {},
    "funnel": {
        "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "block_sizes": [1, 1],
        "num_decoder_layers": 1,
    },
}  # fmt: skip
DO_NOT = ["bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "gpt2"]


def build(model_type, **overrides):
    config = tiny.model_config(model_type, LABELS, **overrides)
    return tiny.build_model(config)


def build_looking(model_type):
    if model_type == "funnel":  # which has names of its own for its sizes
        labels = dict(enumerate(LABELS))
        return tiny.build_model(FunnelConfig(vocab_size=400, id2label=labels, **LOOK["funnel"]))
    return build(model_type, **LOOK[model_type])


def windows(number=12, **options):
    tokens = tiny.sentences(5, number)
    tags = tiny.random_tags(6, tokens, LABELS)
    return tiny.build_windows(tiny.tokenizer_like("word_piece"), tokens, tags, LABELS, **options)


@pytest.mark.parametrize("model_type", LOOK)
def test_models_that_look_at_padding_are_found(model_type):
    found = dry_pass(build_looking(model_type), [windows()], dropout=False, backward=False)
    assert found.looks_across_padding
    assert "--pad_to_max_length" in found.warnings[0]


@pytest.mark.parametrize("model_type", DO_NOT)
def test_models_that_do_not_are_not(model_type):
    found = dry_pass(build(model_type), [windows()], dropout=False, backward=False)
    assert not found.looks_across_padding
    assert not found.warnings


def test_padding_that_is_always_the_same_does_no_harm():
    found = dry_pass(
        build_looking("fnet"), [windows(pad_to_max_length=True)], dropout=False, backward=False
    )
    assert not found.looks_across_padding


def test_a_split_of_one_length_does_not_hide_it():
    same = tiny.build_windows(
        tiny.tokenizer_like("word_piece"), [["x"], ["x"]], [["O"], ["O"]], LABELS
    )
    assert dry_pass(
        build_looking("fnet"), [same, windows()], dropout=False, backward=False
    ).looks_across_padding
    assert not dry_pass(
        build_looking("fnet"), [same], dropout=False, backward=False
    ).looks_across_padding


def test_unused_parameters_are_looked_for_on_demand_and_nothing_is_left_behind():
    model = build("longformer")
    state = torch.get_rng_state()
    assert not dry_pass(model, [windows()], dropout=False, backward=False).has_unused_parameters
    assert torch.equal(torch.get_rng_state(), state)
    assert dry_pass(model, [windows()], dropout=False, backward=True).has_unused_parameters
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model_type", "says"), [("xmod", "Input language unknown"), ("bros", "bbox")]
)
def test_a_model_that_wants_more_than_words_says_so_in_a_line(model_type, says):
    with pytest.raises(
        InputError, match=f"fails on a plain batch of this data.*: .*{says}"
    ) as error:
        dry_pass(build(model_type), [windows()], dropout=False, backward=False)
    assert "\n" not in str(error.value)


# What equal lengths are good for: the cut does not matter to a model that looks at padding.


def gradient(model, examples, *, num_processes, batch_size, equal_lengths):
    """Gradient of one update over all examples, from every process's share."""
    model.zero_grad(set_to_none=True)
    for process in range(num_processes):
        (update,) = Updates(
            examples,
            [np.arange(len(examples))],
            num_processes=num_processes,
            process_index=process,
            per_device_batch_size=batch_size,
            equal_lengths=equal_lengths,
        )
        for micro_batch in update.micro_batches:
            logits = model(**micro_batch.inputs).logits.flatten(0, 1)
            losses = CROSS_ENTROPY(logits, micro_batch.labels.flatten())
            (losses.sum() / update.target_weight).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.medium
@pytest.mark.parametrize("model_type", ["fnet", "convbert", "yoso"])
def test_with_equal_lengths_no_cut_changes_the_gradient(model_type):
    model, examples = build_looking(model_type), windows()
    cuts = [(1, 12), (2, 3), (1, 1), (3, 2)]

    def far_apart(*, equal_lengths):
        first, *others = (
            gradient(model, examples, num_processes=n, batch_size=b, equal_lengths=equal_lengths)
            for n, b in cuts
        )
        return max(float((other - first).norm() / first.norm()) for other in others)

    assert far_apart(equal_lengths=True) < 1e-5
    assert far_apart(equal_lengths=False) > 1e-3


@pytest.mark.medium
def test_with_equal_lengths_the_evaluation_batch_does_not_matter():
    model = build_looking("fnet")
    task = Tagging(Config(), None, None, None, {"test": windows(40)}, "f1")
    accelerator = build_accelerator(mixed_precision="no", log_with=None)

    def scores(**options):
        batches = (1, 4, 40)
        found = [
            predict_split(accelerator, model, task, "test", batch_size=size, **options)
            for size in batches
        ]
        return {(split.loss, tuple(split.predictions["label"].tolist())) for split in found}

    assert len(scores(equal_lengths=True)) == 1
    assert len(scores()) > 1


# With dropout: where the examples lie in a call is learned, and draws of other kinds are found.

XLNET = {"n_layer": 1, "n_head": 2, "d_inner": 16, "d_model": 16, "dropout": 0.3}


def same_length(number, length):
    tokens = [["x"] * length for _ in range(number)]
    tags = [["O"] * length for _ in range(number)]
    return tiny.build_windows(tiny.tokenizer_like("word_piece"), tokens, tags, LABELS)


@torch.no_grad()
def logits(model, examples, ids, calls):
    batch = build_micro_batch(examples, ids)
    with ExampleDropout(1, 2, ids, calls=calls):
        return model.train()(**batch.inputs).logits


def test_as_many_rows_as_columns_change_no_mask():
    """XLNet's tensors are [length, batch, channels]."""
    config = XLNetConfig(vocab_size=400, id2label=dict(enumerate(LABELS)), **XLNET)
    model, examples = tiny.build_model(config), same_length(12, 5)
    calls = dry_pass(model, [windows()], dropout=True, backward=False).dropout_calls
    assert 1 in [call.example_dim for call in calls]
    columns = int(examples.lengths[0])
    together = logits(model, examples, np.arange(columns), calls)
    for number in range(columns):
        alone = logits(model, examples, np.array([number]), calls)
        assert torch.allclose(together[number], alone[0], atol=1e-5)


def test_as_many_rows_as_distances_change_no_mask():
    """DeBERTa drops embeddings of 2 x 4 distances, which belong to no example."""
    options = {"relative_attention": True, "position_buckets": 4, "pos_att_type": ["p2c", "c2p"]}
    model = build("deberta-v2", hidden_dropout_prob=0.3, **options)
    examples = same_length(8, 6)
    calls = dry_pass(model, [windows()], dropout=True, backward=False).dropout_calls
    assert None in [call.example_dim for call in calls]
    together = logits(model, examples, np.arange(8), calls)
    for number in range(8):
        alone = logits(model, examples, np.array([number]), calls)
        assert torch.allclose(together[number], alone[0], atol=1e-5)


def biogpt(rate):
    return build(
        "biogpt", layerdrop=rate, num_hidden_layers=4, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, activation_dropout=0.0,
    )  # fmt: skip


@pytest.mark.medium
def test_layers_that_are_skipped_are_the_same_for_every_cut():
    model, examples = biogpt(0.5), windows()
    found = dry_pass(model, [examples], dropout=True, backward=True)
    assert not found.dropout_depends_on_cut
    assert found.has_unused_parameters, "a skipped layer has no gradient"
    outputs = set()
    for step in range(12):
        cuts = []
        for parts in (1, 4):
            rows = []
            for ids in np.array_split(np.arange(len(examples)), parts):
                batch = build_micro_batch(examples, ids)
                with torch.no_grad(), ExampleDropout(0, step, ids):
                    rows += [*model.train()(**batch.inputs).logits[:, 0]]
            cuts.append(torch.stack(rows))
        assert torch.allclose(*cuts, atol=1e-5)
        outputs.add(round(float(cuts[0].sum()), 3))
    assert len(outputs) > 3, "in other updates other layers are skipped"


@pytest.mark.parametrize("dropout", [True, False], ids=["per example", "per process"])
def test_a_layer_that_is_seldom_skipped_is_found(dropout):
    found = dry_pass(biogpt(0.01), [windows()], dropout=dropout, backward=True)
    assert found.has_unused_parameters


def test_a_rate_of_zero_skips_no_layer():
    found = dry_pass(biogpt(0.0), [windows()], dropout=True, backward=True)
    assert not found.has_unused_parameters


@pytest.mark.parametrize("draw", [lambda: torch.rand(2), lambda: np.random.rand(), random.random])
def test_a_draw_of_another_kind_is_found_though_it_seldom_matters(draw):
    model = build("bert")

    def draw_in_training(module, inputs):
        if module.training:
            draw()

    model.register_forward_pre_hook(draw_in_training)
    found = dry_pass(model, [windows()], dropout=True, backward=False)
    assert found.dropout_depends_on_cut
    assert "depend on how a batch is cut" in found.warnings[0]
