"""What AdamW decays, and what it does not."""

from torch import nn
from transformers.pytorch_utils import Conv1D

DECAYED_MODULES = (nn.Linear, nn.Embedding, nn.Conv1d, Conv1D)  # not biases, not norms


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict]:
    """The model's parameters in two groups: decayed weights of layers, and all others."""
    decayed, others, seen = [], [], set()
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
