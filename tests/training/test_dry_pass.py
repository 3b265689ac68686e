"""dry_pass.py: models that look at padding, parameters without gradient, batches not taken."""

import numpy as np
import pytest
import tiny
import torch
from transformers import FunnelConfig

from postprocess import predict_split
from tagloop.batches.dataloader import Updates
from tagloop.errors import InputError
from tagloop.processes.launch import build_accelerator
from tagloop.tasks.tagging.task import Tagging
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
            losses = Tagging.losses(None, model(**micro_batch.inputs), micro_batch)
            (losses.sum() / update.target_weight).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


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


class OneSplit:
    """Enough of a task to predict its only split."""

    losses, predict = Tagging.losses, Tagging.predict

    def __init__(self, examples):
        self.examples = {"test": examples}


def test_with_equal_lengths_the_evaluation_batch_does_not_matter():
    model, task = build_looking("fnet"), OneSplit(windows(40))
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
