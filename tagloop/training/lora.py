"""LoRA (--lora_rank): small matrices beside frozen projections learn, and the head.

    add_adapters(model, rank=8, alpha=None, targets=None, seed=42)   # before the dry pass
    merge_adapters(model)                                    # before the model is scored and saved

A projection W x becomes W x + (alpha / rank) B A x, with matrices A [rank, in] and B [out, rank]
(Hu et al. 2021, https://arxiv.org/abs/2106.09685). B begins at zero, so the model begins as it was.
The library peft puts the matrices in; peft knows the projections of many architectures. Checkpoints
hold the frozen weights, too, under the names that peft gives them. The saved model holds the merged
weights under their own names, so that it needs no peft.
"""

import warnings

import torch
from torch import nn

from tagloop.errors import InputError
from tagloop.processes.sharding import reshard
from tagloop.training.depth import find_depths
from tagloop.wording import first_line


def add_adapters(
    model: nn.Module, *, rank: int, alpha: int | None, targets: str | None, seed: int
) -> None:
    """Put matrices beside the attention's projections; they and the head learn, all else is frozen.

    What was frozen before stays frozen, as are the matrices beside a frozen projection.

    Args:
        model: changed in place.
        rank: of the product of the two matrices.
        alpha: the factor of the product is alpha / rank; None: 2 * rank, so that the factor is 2.
        targets: names of the projections with commas between them, as the modules are called;
            "all-linear": every linear layer but the head; None: those that peft knows.
        seed: of the first values.

    Raises:
        InputError: peft is not installed, does not know the architecture, or finds no such module.
    """
    try:
        from peft import LoraConfig, LoraModel
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise InputError(f"--lora_rank: needs peft, pip install peft ({error})") from error

    frozen = {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    head = find_depths(model).head
    heads = [
        name
        for name, module in model.named_modules()
        if any(parameter is own for own in module.parameters(recurse=False) for parameter in head)
    ]
    names = targets.split(",") if targets and targets != "all-linear" else targets
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules=names,
        exclude_modules=heads or None,  # The head learns as a whole.
    )
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            # peft warns that the weights of GPT-2's Conv1D are transposed, and handles them.
            warnings.simplefilter("ignore")
            LoraModel(model, config, "default")
    except ValueError as error:
        kind = getattr(model.config, "model_type", type(model).__name__)
        reason = f"--lora_rank: peft knows no projections of {kind}"
        if targets:
            reason = f"--lora_target_modules {targets}: {first_line(error).split('. ')[0]}"
        raise InputError(
            f"{reason}; name modules of {type(model).__name__} with --lora_target_modules, or give "
            "all-linear"
        ) from error
    for parameter in head:
        parameter.requires_grad_(id(parameter) not in frozen)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and id(module.get_base_layer().weight) in frozen:
            module.requires_grad_(False)


def merge_adapters(model: nn.Module) -> None:
    """Add what the matrices learned to the projections beside them, and take the matrices out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    reshard(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
