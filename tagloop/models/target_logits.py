"""Logits only where there is a target: the output layer computes those cells and no others.

    accept_target_cells(model, task.examples)       # changes the model in place
    batch = build_micro_batch(examples, ids, packing, mark_targets=True).to(device)
    logits = model(**batch.inputs).logits           # [num_targets, vocabulary]

With a vocabulary of 50,000 the output layer of a small model costs more time and memory than all
its other layers. An encoder learns 15% of the sub-tokens, and a padding cell is never learned. A
call of the model without `target_cells` returns the logits of all cells, as before.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tagloop.batches.examples import Examples
from tagloop.batches.packing import TARGET_CELLS, build_micro_batch

TOLERANCE = 1e-5  # of the largest logit; the order of float32 sums changes logits by less


class _Selection:
    """The hooks of a model and of its output layer; `cells` are those of the present call."""

    def __init__(self) -> None:
        self.cells: Tensor | None = None

    def take(self, model: nn.Module, args: tuple, inputs: dict) -> tuple[tuple, dict]:
        """Before the model: take the cells out of its inputs."""
        self.cells = inputs.pop(TARGET_CELLS, None)
        return args, inputs

    def select(self, head: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        """Before the output layer: [rows, columns, width] -> [num_targets, width]."""
        if self.cells is None or len(args) != 1 or args[0].ndim != 3:
            return None
        return (args[0].flatten(0, 1).index_select(0, self.cells),)


def accept_target_cells(model: nn.Module, splits: dict[str, Any]) -> None:
    """Make a model take the input `target_cells`, int64 [num_targets]: cells of the flattened rows.

    A model whose output layer is no module of its own, or which reshapes its logits, takes the
    input, too, and returns the logits of all cells.

    Args:
        model: in float32, on the CPU. Afterwards it is in the mode in which it was before.
        splits: the examples of every split by its name; one example goes through the model.
    """
    selection = _Selection()
    model.register_forward_pre_hook(selection.take, with_kwargs=True)
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        return
    hook = head.register_forward_pre_hook(selection.select)
    if not _selects(model, next(iter(splits.values()))):
        hook.remove()


@torch.no_grad()
def _selects(model: nn.Module, examples: Examples) -> bool:
    """True if the model returns the logits of the given cells and changes none of them."""
    weights = examples.target_weights
    ids = np.array([np.where(weights > 0, weights, np.inf).argmin()])  # the fewest targets
    batch = build_micro_batch(examples, ids, mark_targets=True)
    cells = batch.inputs[TARGET_CELLS]
    others = {name: value for name, value in batch.inputs.items() if name != TARGET_CELLS}
    was_training = model.training
    model.eval()
    try:
        every, selected = (model(**inputs).logits for inputs in (others, batch.inputs))
    except Exception:  # A model may reshape its logits, and then any error may come.
        return False
    finally:
        model.train(was_training)
    expected = every.flatten(0, 1)[cells]
    limit = TOLERANCE * float(every.abs().max())
    return selected.shape == expected.shape and torch.allclose(
        selected, expected, rtol=0, atol=limit
    )
