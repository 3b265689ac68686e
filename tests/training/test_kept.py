"""kept.py: masks that are hashed together have the bits of masks hashed one by one."""

import numpy as np
import pytest
import tiny
import torch
from exact import OWNERS, POSITIONS, Operations, same_bits
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import XLNetConfig

from tagloop.batches.packing import Layout, Packing, build_micro_batch
from tagloop.training import dropout
from tagloop.training.dropout import DropoutCall, ExampleDropout, recompute_alike
from tagloop.training.dry_pass import dry_pass
from tagloop.training.masks import kept

LABELS = ["O", "B-PER", "I-PER"]
LAYOUT = Layout(Packing(0, 1, 7), OWNERS, POSITIONS, torch.zeros(5, 4, dtype=torch.int64))
PADDED = [((5, 7, 9), 0), ((7, 5, 9), 1), ((6, 7), None), ((5, 2, 7, 7), 0)]
PACKED = [((2, 7, 9), 0), ((2, 3, 7, 7), 0), ((6, 7), None)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def calls_of(number: int, example_dim: int | None) -> list[DropoutCall]:
    """Of a forward pass whose calls are all alike."""
    return [DropoutCall(example_dim, tuple(range(number)))] * number


def forward_and_backward(inputs, calls, *, layout=None, rates=(0.3, 0.3, 0.3)):
    """Outputs and gradients of a call for each rate."""
    inputs = inputs.clone().requires_grad_()
    with ExampleDropout(3, 4, range(5), layout, calls=calls) as mode:
        outputs = [F.dropout(inputs * 2, rate) for rate in rates]
    weights = torch.linspace(-1, 1, inputs.numel()).view(inputs.shape).to(inputs.dtype)
    gradients = [torch.autograd.grad(output, inputs, weights)[0] for output in outputs]
    return [*outputs, *gradients], mode


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "example_dim", "layout"),
    [(*each, None) for each in PADDED] + [(*each, LAYOUT) for each in PACKED],
)
def test_the_bits_are_the_same(shape, example_dim, layout, dtype):
    inputs = (torch.randn(shape) * 3).to(dtype)
    inputs.view(-1)[:3] = torch.tensor([torch.inf, torch.nan, -0.0])
    if example_dim is None or layout:
        one_by_one = forward_and_backward(inputs, (), layout=layout)[0]
    else:
        singles = [DropoutCall(example_dim, ()) for _ in range(3)]
        one_by_one = forward_and_backward(inputs, singles, layout=layout)[0]
    kept, mode = forward_and_backward(inputs, calls_of(3, example_dim), layout=layout)
    assert mode.kept.made
    assert all(map(same_bits, kept, one_by_one))


def test_a_call_is_one_operation_forward_and_one_backward():
    inputs, weights = torch.randn(5, 7, 9, requires_grad=True), torch.randn(5, 7, 9)
    with ExampleDropout(0, 0, range(5), calls=calls_of(9, 0)):
        F.dropout(inputs, 0.3)  # makes the masks of all nine
        with Operations() as operations:
            output = F.dropout(inputs, 0.3)
    assert operations.names == ["aten.mul.out"]
    with Operations() as operations:
        torch.autograd.grad(output, inputs, weights)
    assert operations.names == ["aten.mul.out"]


@pytest.mark.parametrize("rates", [(0.3, 0.1, 0.3), (0.1, 0.3, 0.3)])
def test_calls_that_turn_out_otherwise_are_hashed_by_themselves(rates):
    inputs = torch.randn(5, 7, 9)
    kept, _ = forward_and_backward(inputs, calls_of(3, 0), rates=rates)
    expected, _ = forward_and_backward(inputs, (), rates=rates)
    assert all(map(same_bits, kept, expected))


def test_calls_whose_shapes_turn_out_otherwise():
    """Calls are left out, so that the others move up; and a pass has more calls than expected."""

    def outputs(calls):
        with ExampleDropout(0, 0, range(5), calls=calls):
            return [F.dropout(torch.ones(5, 4, size), 0.3) for size in (9, 8, 9, 9, 8)]

    known = [DropoutCall(0, (0, 1, 3)), *calls_of(2, 0)[:1], DropoutCall(0, (2,))]
    known.append(DropoutCall(0, (0, 1, 3)))
    assert all(map(same_bits, outputs(known), outputs(())))


def test_masks_that_are_too_large_are_not_kept(monkeypatch):
    inputs = torch.randn(5, 7, 9)
    expected, _ = forward_and_backward(inputs, calls_of(3, 0))
    monkeypatch.setattr(kept, "MOST_BYTES", 3 * inputs.numel() * 4 - 1)
    found, mode = forward_and_backward(inputs, calls_of(3, 0))
    assert not mode.kept.made
    assert all(map(same_bits, found, expected))


def test_layers_that_are_recomputed():
    layer, gradients = torch.nn.Linear(8, 8), []

    def forward(x):
        return F.dropout(F.dropout(layer(x), 0.3).tanh(), 0.3)

    for again, calls in ((False, ()), (False, calls_of(6, 0)), (True, calls_of(6, 0))):
        x = torch.linspace(-1, 1, 2 * 3 * 8).view(2, 3, 8)
        with ExampleDropout(0, 0, [4, 5], calls=calls):
            for _ in range(3):
                options = {"use_reentrant": False, "context_fn": recompute_alike}
                x = checkpoint(forward, x, **options) if again else forward(x)
        gradients.append(torch.autograd.grad(x.square().sum(), layer.weight)[0])
    assert same_bits(gradients[0], gradients[1])
    assert same_bits(gradients[0], gradients[2])


def windows():
    tokens = tiny.sentences(5, 12)
    tags = tiny.random_tags(6, tokens, LABELS)
    return tiny.build_windows(tiny.tokenizer_like("word_piece"), tokens, tags, LABELS)


@pytest.mark.medium
@pytest.mark.parametrize("model_type", ["bert", "modernbert", "deberta-v2", "xlnet", "biogpt"])
@pytest.mark.parametrize("autocast", [False, True])
def test_models_have_the_gradients_that_they_had(model_type, autocast):
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "mlp_dropout", "dropout")
    if model_type == "xlnet":
        config = XLNetConfig(
            vocab_size=400, n_layer=2, n_head=2, d_inner=16, d_model=16, dropout=0.3,
            id2label=dict(enumerate(LABELS)),
        )  # fmt: skip
    else:
        options = {"num_hidden_layers": 3, "layerdrop": 0.5} | dict.fromkeys(rates, 0.2)
        config = tiny.model_config(model_type, LABELS, **options)
    model, examples = tiny.build_model(config), windows()
    found = dry_pass(model, [examples], dropout=True, backward=False, pack_to_multiple_of=1)
    assert any(len(call.group) > 1 for call in found.dropout_calls)
    model.train()
    for packing in {None, found.packing}:
        for step in range(3):
            gradients = []
            singly = [dropout.DropoutCall(call.example_dim, ()) for call in found.dropout_calls]
            for calls in (found.dropout_calls, singly):
                model.zero_grad(set_to_none=True)
                ids = np.arange(len(examples))
                batch = build_micro_batch(examples, ids, packing).to(torch.device("cpu"))
                with (
                    ExampleDropout(0, step, ids, batch.layout, calls=calls),
                    torch.autocast("cpu", torch.bfloat16, enabled=autocast),
                ):
                    logits = model(**batch.inputs).logits
                logits.float().sin().sum().backward()
                grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
                gradients.append(torch.cat(grads))
            assert same_bits(*gradients)
