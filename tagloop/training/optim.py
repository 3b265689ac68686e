"""Which parameters are trained, with which learning rate and decay, and by which optimizer."""

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.options.fine_tuning import split_import_path
from tagloop.training.depth import Depths, find_depths, require_layers
from tagloop.training.lora import add_adapters
from tagloop.wording import first_line

DECAYED_MODULES = (nn.Linear, nn.Embedding, nn.Conv1d, Conv1D)  # Their weights are decayed.


def choose_trained(config: Config, model: nn.Module) -> None:
    """Put adapters into a model, and freeze what is not to be trained; changes it in place.

    This comes before the dry pass, which tells DDP which parameters stay without gradient. Dropout
    in frozen layers goes on. A frozen parameter is in no group of the optimizer, has no moments,
    does not decay, and is saved as it was.

    Raises:
        InputError: the model has no layers, or not so many, or nothing would be left to learn; or
            as `add_adapters` raises it.
    """
    if not config.do_train:
        return
    if config.lora_rank:
        add_adapters(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            targets=config.lora_target_modules,
            seed=config.seed,
        )
    if config.freeze_embeddings or config.freeze_layers:
        _freeze(model, config.freeze_layers or 0)


def _freeze(model: nn.Module, number: int) -> None:
    """Freeze the first layers, and the embeddings. Raises InputError as `choose_trained`."""
    option = f"freeze_layers {number}" if number else "freeze_embeddings"
    depths = find_depths(model)
    require_layers(model, depths, option)
    if number > depths.num_layers:
        raise InputError(f"--{option}: the model has {depths.num_layers} layers; give fewer")
    for parameter, depth in depths.of.items():
        if depth <= number:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"--{option}: nothing is left to learn; give fewer layers")


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer, with a learning rate for each group of parameters.

    Raises:
        InputError: the model has no head or no layers for an option that sets their rates; or the
            class that --optimizer names cannot be imported or called.
    """
    rate_of = None
    if config.do_train and (config.head_learning_rate or config.layerwise_lr_decay):
        rate_of = learning_rates(config, model, find_depths(model))
    groups = parameter_groups(model, weight_decay=config.weight_decay, rate_of=rate_of)
    if config.optimizer == "AdamW" or not config.do_train:
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return _build_other(config.optimizer, groups, lr=config.learning_rate)


def _build_other(path: str, groups: list[dict], *, lr: float) -> torch.optim.Optimizer:
    """Import the class that --optimizer names, and call it."""
    module, _, name = split_import_path(path)
    try:
        made_by = getattr(import_module(module), name)
        optimizer = made_by(groups, lr=lr)
    except Exception as error:  # A module of the user may raise anything.
        raise InputError(
            f"--optimizer {path}: cannot be imported and called with groups and lr: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(f"--optimizer {path}: is no optimizer of torch")
    closure = signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is Parameter.empty:
        raise InputError(f"--optimizer {path}: needs a closure for each step; name another")
    return optimizer


def learning_rates(
    config: Config, model: nn.Module, depths: Depths
) -> Callable[[nn.Parameter], float]:
    """The learning rate of a parameter before the schedule.

    A parameter with n layers above it learns with learning_rate * layerwise_lr_decay**n: slower
    towards the embeddings, which have all layers above them (discriminative fine-tuning, Howard &
    Ruder 2018, https://arxiv.org/abs/1801.06146; the decay by layer of ELECTRA, Clark et al. 2020,
    https://arxiv.org/abs/2003.10555). The head has a rate of its own if --head_learning_rate is
    given, and else that of the last layer.

    Raises:
        InputError: the model has no head, or no layers.
    """
    head = set(depths.head)
    if config.head_learning_rate and not head:
        raise InputError(
            f"--head_learning_rate: {type(model).__name__} has no head beside its pretrained "
            "weights; leave the option out"
        )
    if config.layerwise_lr_decay:
        require_layers(model, depths, "layerwise_lr_decay")
    decay = config.layerwise_lr_decay or 1.0

    def rate_of(parameter: nn.Parameter) -> float:
        if parameter in head:
            return config.head_learning_rate or config.learning_rate
        return config.learning_rate * decay ** depths.layers_above(parameter)

    return rate_of


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    rate_of: Callable[[nn.Parameter], float] | None = None,
) -> list[dict]:
    """The trained parameters of a model in groups, as torch's optimizers take them.

    Weights of DECAYED_MODULES decay. All other parameters, such as biases and weights of norms, do
    not.

    Args:
        rate_of: the learning rate of a parameter; None: all have that of the optimizer.

    Returns:
        Two groups, with and without decay; with `rate_of` such a pair for each learning rate, in
        the order in which the model has them, but no group without parameters.
    """
    pairs: dict[float | None, tuple[list[nn.Parameter], list[nn.Parameter]]] = {}
    seen: set[int] = set()
    if rate_of is None:
        pairs[None] = [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                is_weight = name == "weight" and isinstance(module, DECAYED_MODULES)
                pair = pairs.setdefault(rate_of(parameter) if rate_of else None, ([], []))
                pair[not is_weight].append(parameter)
    return [
        {"params": parameters, "weight_decay": decay} | ({} if rate is None else {"lr": rate})
        for rate, pair in pairs.items()
        for parameters, decay in zip(pair, (weight_decay, 0.0), strict=True)
        if parameters or rate is None
    ]
