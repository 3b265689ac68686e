"""The groups of parameters for AdamW: with and without weight decay."""

from torch import nn
from transformers.pytorch_utils import Conv1D

DECAYED_MODULES = (nn.Linear, nn.Embedding, nn.Conv1d, Conv1D)  # Their weights are decayed.


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict]:
    """The trained parameters of a model in two groups, as torch's optimizers take them.

    The first group has the weights of DECAYED_MODULES and decays them. The second group has all
    other parameters, such as biases and weights of norms, and does not decay them.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                is_weight = name == "weight" and isinstance(module, DECAYED_MODULES)
                (decayed if is_weight else others).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
