"""token_loss.py: torch's cross-entropy, with the logits in memory only once."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from tagloop.models import token_loss
from tagloop.models.token_loss import token_losses


@pytest.mark.parametrize(
    ("dtype", "least"), [(torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 1e-2)]
)
@pytest.mark.parametrize("at_once", [1, 100, 10**6])
def test_losses_and_gradients_are_those_of_torch(dtype, least, at_once, monkeypatch):
    monkeypatch.setattr(token_loss, "CELLS_AT_ONCE", at_once)
    torch.manual_seed(0)
    hidden = torch.randn(3, 7, 8, dtype=dtype, requires_grad=True)
    head = torch.nn.Linear(8, 50, dtype=dtype)
    labels = torch.randint(50, (3, 7))
    labels[0, 3:] = -100
    precise = torch.promote_types(dtype, torch.float32)
    weights = torch.rand(3, 7, dtype=precise)
    expected = cross_entropy(
        head(hidden).to(precise).flatten(0, 1), labels.flatten(), reduction="none"
    ).view(3, 7)
    gradients = torch.autograd.grad((expected * weights).sum(), [hidden, head.weight])
    losses = token_losses(head(hidden), labels)
    assert losses.dtype == precise
    assert torch.allclose(losses, expected, atol=1e-6)
    assert (losses[labels == -100] == 0).all()
    own = torch.autograd.grad((losses * weights).sum(), [hidden, head.weight])
    for value, other in zip(own, gradients, strict=True):
        assert torch.allclose(value, other, atol=least, rtol=least)
    # The targets alone: the same, without a search for them.
    is_target = labels != -100
    some = token_losses(head(hidden[is_target]), labels[is_target], every=True)
    assert torch.allclose(some, expected[is_target], atol=1e-6)
    own = torch.autograd.grad((some * weights[is_target]).sum(), [hidden, head.weight])
    for value, other in zip(own, gradients, strict=True):
        assert torch.allclose(value, other, atol=least, rtol=least)


def test_an_update_holds_the_logits_once():
    """What the backward pass keeps, and what it makes, of the size of the logits."""
    hidden = torch.randn(64, 16, requires_grad=True)
    head = torch.nn.Linear(16, 5000)
    labels = torch.randint(5000, (64,))

    def kept(compute):
        storages = {}

        def keep(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = head(hidden)
            losses = compute(logits, labels)
        size = logits.untyped_storage().nbytes()
        seen = []
        logits.register_hook(lambda gradient: seen.append(gradient.untyped_storage().data_ptr()))
        where = logits.untyped_storage().data_ptr()
        losses.sum().backward()
        return sum(nbytes >= size for nbytes in storages.values()), seen == [where]

    assert kept(token_losses) == kept(partial(token_losses, every=True)) == (1, True)
    assert kept(lambda logits, y: cross_entropy(logits, y, reduction="none"))[1] is False


def test_a_model_that_needs_its_logits_again_gets_an_error_and_no_wrong_gradient():
    logits = torch.randn(2, 3, 5, requires_grad=True).tanh()
    losses = token_losses(logits, torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses.sum().backward()
