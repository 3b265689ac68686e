"""Reading a checkpoint into a run: everything is compared with the model before it is loaded."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from tagloop.checkpoints.checkpoint import MANIFEST, OPTIMIZER, WEIGHTS
from tagloop.errors import InputError
from tagloop.files import read_json
from tagloop.processes.agree import on_all
from tagloop.run import Run


def load_weights(run: Run, folder: Path) -> None:
    """Put a checkpoint's weights into the prepared model. Every process must call this.

    Raises:
        InputError: on every process; they are not those of this model.
    """
    path = folder / WEIGHTS
    model = run.accelerator.unwrap_model(run.model)
    own, tied = _plain(model.state_dict()), getattr(model, "all_tied_weights_keys", {})

    def read() -> dict[str, torch.Tensor]:
        shrink = read_json(folder / MANIFEST).get("vocabulary_shrink", 1.0)
        weights = run.vocabulary.compact(load_file(path), shrink)
        _require(own.keys() - set(tied) <= weights.keys() <= own.keys(), "other weights")
        _require_shapes(weights, own)
        return weights

    weights = on_all(run.accelerator, lambda: _readable(read, path))
    options = StateDictOptions(full_state_dict=True, strict=False)  # tied ones are stored once
    set_model_state_dict(run.model, weights, options=options)


def load_training_state(run: Run, folder: Path) -> None:
    """Put optimizer, schedule and loss scaler where the checkpoint has them. All processes.

    Raises:
        InputError: on every process; they are not those of this model.
    """
    path = folder / OPTIMIZER
    parameters = _plain(dict(run.accelerator.unwrap_model(run.model).named_parameters()))

    def read() -> dict:
        training = torch.load(path, map_location="cpu", weights_only=True)
        training["optimizer"] = run.vocabulary.unpack_moments(training["optimizer"])
        optimizer, own_groups = training["optimizer"], run.optimizer.param_groups
        # A parameter that never had a gradient has no state.
        _require(optimizer["state"].keys() <= parameters.keys(), "other parameters")
        for name, moments in optimizer["state"].items():
            _require(set(moments) == {"step", "exp_avg", "exp_avg_sq"}, f"other moments of {name}")
            _require(moments["step"].numel() == 1, "a step of another shape")
            for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
                # A fused kernel would read past the end of a moment of another shape.
                _require_shapes({name: moment}, parameters)
        groups = optimizer["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        _require(sizes == [len(group["params"]) for group in own_groups], "other groups")
        named = {name for group in groups for name in group["params"]}
        _require(named <= parameters.keys(), "groups of other parameters")
        _require(
            training["lr_scheduler"].keys() <= run.lr_scheduler.state_dict().keys(),
            "another schedule",
        )
        return training

    training = on_all(run.accelerator, lambda: _readable(read, path))
    # Not strict: see above.
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_optimizer_state_dict(
        run.model, run.optimizer.optimizer, training["optimizer"], options=options
    )
    run.lr_scheduler.load_state_dict(training["lr_scheduler"])
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(training["scaler"])


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefix of a compiled module, as checkpoints name them."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} than this model's")


def _require_shapes(read: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    for name, tensor in read.items():
        shape, expected = tuple(tensor.shape), tuple(own[name].shape)
        if shape != expected or tensor.dtype != own[name].dtype:
            raise ValueError(
                f"{name} is {tensor.dtype} {shape} instead of {own[name].dtype} {expected}"
            )


def _readable(read: Callable[[], dict], path: Path) -> dict:
    """What `read` returns; whatever it stumbles over is one message."""
    try:
        return read()
    except Exception as error:  # the file vouches for itself, but it may hold anything
        first = str(error).splitlines()[0][:300] if str(error) else repr(error)
        raise InputError(
            f"{path}: cannot be loaded: {first}; move this checkpoint away, and resume with auto"
        ) from None
