"""The options that say which weights of a model learn, and how; all tasks take them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from tagloop.options.marks import option


@dataclass(frozen=True)
class FineTuningOptions:
    """Options beyond the learning rate; they combine with each other."""

    head_learning_rate: float | None = option(
        None,
        "Peak learning rate of the head, which the pretrained model does not bring.",
        about="training",
        group="Which weights learn, and how",
        above=0,
        unset="that of the last layer",
    )
    layerwise_lr_decay: float | None = option(
        None,
        "Each layer learns with the rate of the layer above it times this number, the embeddings "
        "below all of them slowest (Howard & Ruder 2018, as in ELECTRA); try 0.9.",
        about="training",
        above=0,
        unset="all layers learn with one rate",
    )
    freeze_embeddings: bool = option(
        False, "Leave the embeddings, and all below the first layer, untrained.", about="training"
    )
    freeze_layers: int | None = option(
        None,
        "Leave the first N layers untrained, and the embeddings.",
        about="training",
        least=1,
        unset="all layers learn",
    )
    optimizer: str = option(
        "AdamW",
        "AdamW, or another class by its import path, such as torch.optim:NAdam; it is called with "
        "the groups of parameters and lr.",
        about="training",
    )
    ema_decay: float | None = option(
        None,
        "Evaluate and save an average of the weights over updates, which keeps this share of "
        "itself in each update (Polyak & Juditsky 1992); try 0.999.",
        about="training",
        above=0,
        below=1,
        unset="the weights of the last update count",
    )
    lora_rank: int | None = option(
        None,
        "Train matrices of this rank beside the attention's frozen projections, and the head "
        "(LoRA, Hu et al. 2021), with a --learning_rate of 1e-4 to 1e-3; needs peft. The saved "
        "model is whole.",
        about="training",
        least=1,
        unset="the weights themselves learn",
    )
    lora_alpha: int | None = option(
        None,
        "The matrices of --lora_rank count by this number / lora_rank.",
        about="training",
        least=1,
        unset="twice --lora_rank",
    )
    lora_target_modules: str | None = option(
        None,
        "Modules that get matrices: query,value for example, or all-linear.",
        about="training",
        is_list=True,
        unset="the projections that peft knows for the architecture",
    )


def find_fine_tuning_problems(config: FineTuningOptions) -> Iterator[str]:
    """Messages about these options, as far as they need no model."""
    if problem := find_optimizer_problem(config.optimizer):
        yield f"--optimizer {config.optimizer}: {problem}"
    if config.lora_rank and find_spec("peft") is None:
        yield "--lora_rank needs the package peft; pip install peft"
    for name in ("lora_alpha", "lora_target_modules"):
        if getattr(config, name) and not config.lora_rank:
            yield f"--{name}: needs --lora_rank"


def find_optimizer_problem(name: str) -> str | None:
    """Why --optimizer cannot be imported, as far as that is known without importing it."""
    if name == "AdamW":
        return None
    module, mark, attribute = split_import_path(name)
    if not (mark and all(part.isidentifier() for part in (*module.split("."), attribute))):
        return "must be AdamW, or an import path such as torch.optim:NAdam"
    package = module.split(".")[0]
    if package not in sys.modules and find_spec(package) is None:
        return f"there is no package {package}; install it, or put its folder into PYTHONPATH"
    return None


def split_import_path(name: str) -> tuple[str, str, str]:
    """The module, the mark and the name of a class.

    >>> split_import_path("torch.optim:NAdam")
    ('torch.optim', ':', 'NAdam')
    >>> split_import_path("torch.optim.NAdam")
    ('torch.optim', '.', 'NAdam')
    """
    return name.partition(":") if ":" in name else name.rpartition(".")
