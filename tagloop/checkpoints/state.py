"""What a checkpoint contains: a run's state is packed here, and unpacked into the run again.

    model.safetensors   weights of the whole model, float32
    config.json and the processors' files: the folder is a model that transformers loads
    optimizer.pt        the fields of Training
    manifest.json       the fields of Facts; checkpoint.py adds sizes and digests

The state is gathered whole, so it does not depend on the number of processes. All that is read is
compared with the run's own model before it is loaded. Nothing is unpickled with code: weights are
safetensors, optimizer.pt is read with `weights_only=True`, the manifest is JSON.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from tagloop.checkpoints.checkpoint import MANIFEST, NAME, DamagedCheckpoint, verify
from tagloop.errors import InputError, NotFinite
from tagloop.files import read_json
from tagloop.models.saving import write_model
from tagloop.models.weights import find_non_finite
from tagloop.processes.agree import on_all
from tagloop.records import known_fields, read_record
from tagloop.run import Run
from tagloop.training.progress import TrainState, upgrade_state

WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.pt"
COMPILED = "_orig_mod."  # torch.compile puts this into names of parameters; checkpoints lack it
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
# Not strict: tied weights are stored once, and a parameter without a gradient has no moments.
BROADCAST = StateDictOptions(full_state_dict=True, strict=False)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the manifest says of a run. The fields' names are the manifest's keys.

    Attributes:
        step: optimizer updates taken.
        state: where the training is.
        global_batch_size: examples that one update learns from, over all processes.
        identity: what a resumed run must share, as build_identity makes it.
        vocabulary_shrink: what weight decay has made of the rows that wait outside of the model.
    """

    step: int
    state: TrainState
    global_batch_size: int
    identity: dict[str, Any]
    vocabulary_shrink: float = 1.0


@dataclasses.dataclass(frozen=True)
class Training:
    """What optimizer.pt holds, each as its `state_dict()` gives it. The fields are the keys."""

    optimizer: dict
    lr_scheduler: dict
    scaler: dict  # empty without one


@dataclasses.dataclass(frozen=True)
class PackedState:
    """A copy of a run's state, which later updates do not change; the main process writes it."""

    model: nn.Module  # for its configuration and class; the weights are those of `weights`
    processors: list
    weights: dict[str, torch.Tensor]
    training: Training
    facts: dict

    def write(self, into: Path) -> None:
        """Put all files but the manifest into a folder."""
        write_model(into, self.model, self.weights, self.processors)
        torch.save(vars(self.training), into / OPTIMIZER)


def pack_state(run: Run) -> PackedState:
    """Copy where the training is. Every process must call this.

    The copy takes the memory of the weights and twice that for the moments, on the main process.
    """
    accelerator = run.accelerator
    weights = whole_weights(run)
    if accelerator.is_main_process:
        weights = {name: tensor.to("cpu", copy=True) for name, tensor in weights.items()}
    moments = get_optimizer_state_dict(run.model, run.optimizer.optimizer, options=WHOLE)
    training = Training(
        optimizer=run.vocabulary.pack_moments(_copy_moments(moments)),
        lr_scheduler=run.lr_scheduler.state_dict(),
        scaler=accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
    )
    facts = Facts(
        step=run.state.step,
        state=run.state,
        global_batch_size=run.global_batch_size,
        identity=run.identity,
        vocabulary_shrink=run.vocabulary.shrink,
    )
    facts = json.loads(json.dumps(dataclasses.asdict(facts), default=str))  # as they are now
    model = accelerator.unwrap_model(run.model)
    return PackedState(model, run.task.processors, weights, training, facts)


def _copy_moments(optimizer_state: dict) -> dict:
    """The same state dict with tensors of its own: torch's may be the optimizer's on a CPU.

    Only the main process has any.
    """
    state = {
        name: {key: torch.clone(value) for key, value in moments.items()}
        for name, moments in optimizer_state.get("state", {}).items()
    }
    return optimizer_state | {"state": state}


def whole_weights(run: Run) -> dict[str, torch.Tensor]:
    """The model's state dict with its whole vocabulary, on the main process. All must call this."""
    weights = _plain_names(run.accelerator.get_state_dict(run.model))
    return run.vocabulary.whole(weights) if run.accelerator.is_main_process else weights


def require_finite(run: Run) -> None:
    """Refuse weights and moments that no run can go on from. Every process must call this.

    Raises:
        NotFinite: on every process, though each may hold but a part; names a parameter.
    """
    found = [name for name in gather_object([find_non_finite(run.model, run.optimizer)]) if name]
    if found:
        raise NotFinite(f"update {run.state.step}: weights or moments of {found[0]} are not finite")


def read_facts(folder: Path) -> Facts:
    """What the manifest of a checkpoint says of its run, once every file is found to be whole.

    Raises:
        DamagedCheckpoint: what is wrong with the checkpoint.
    """
    manifest = verify(folder)
    for name in (WEIGHTS, OPTIMIZER):
        if name not in manifest["files"]:
            raise DamagedCheckpoint(f"its manifest does not list {name}")
    return _parse_facts(manifest)


def _parse_facts(manifest: dict) -> Facts:
    try:
        if isinstance(manifest.get("state"), dict):
            manifest = manifest | {"state": upgrade_state(manifest["state"])}
        facts = read_record(known_fields(manifest, Facts), Facts)
        facts.identity["options"], facts.identity["model"]
    except (ValueError, KeyError) as error:
        raise DamagedCheckpoint(f"{MANIFEST} is damaged: {error}") from None
    if facts.state.step != facts.step or facts.global_batch_size < 1:
        raise DamagedCheckpoint(f"{MANIFEST} contradicts itself")
    best = facts.state.best_checkpoint
    if best is not None and not NAME.fullmatch(best):  # never a path
        raise DamagedCheckpoint(f"{MANIFEST}: best_checkpoint {best!r} is no checkpoint's name")
    return facts


def load_weights(run: Run, folder: Path) -> None:
    """Put a checkpoint's weights into the prepared model. Every process must call this.

    Raises:
        InputError: on every process; they are not those of this model.
    """
    path = folder / WEIGHTS
    model = run.accelerator.unwrap_model(run.model)
    own, tied = _plain_names(model.state_dict()), getattr(model, "all_tied_weights_keys", {})

    def read() -> dict[str, torch.Tensor]:
        shrink = _parse_facts(read_json(folder / MANIFEST)).vocabulary_shrink
        weights = run.vocabulary.compact(load_file(path), shrink)
        _require(own.keys() - set(tied) <= weights.keys() <= own.keys(), "other weights")
        _require_shapes(weights, own)
        return weights

    weights = on_all(run.accelerator, lambda: _readable(read, path))
    set_model_state_dict(run.model, weights, options=BROADCAST)


def load_training_state(run: Run, folder: Path) -> None:
    """Put optimizer, schedule and loss scaler where the checkpoint has them. All processes.

    Raises:
        InputError: on every process; they are not those of this model.
    """
    path = folder / OPTIMIZER

    def read() -> Training:
        training = Training(**torch.load(path, map_location="cpu", weights_only=True))
        moments = run.vocabulary.unpack_moments(training.optimizer)
        _require_moments(moments, run)
        own_schedule = run.lr_scheduler.state_dict()
        _require(training.lr_scheduler.keys() <= own_schedule.keys(), "another schedule")
        return dataclasses.replace(training, optimizer=moments)

    training = on_all(run.accelerator, lambda: _readable(read, path))
    set_optimizer_state_dict(
        run.model, run.optimizer.optimizer, training.optimizer, options=BROADCAST
    )
    run.lr_scheduler.load_state_dict(training.lr_scheduler)
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(training.scaler)


def _require_moments(optimizer: dict, run: Run) -> None:
    """Compare an optimizer's state dict with the run's model. Raises ValueError."""
    model = run.accelerator.unwrap_model(run.model)
    parameters = _plain_names(dict(model.named_parameters()))
    _require(optimizer["state"].keys() <= parameters.keys(), "other parameters")
    for name, moments in optimizer["state"].items():
        _require(set(moments) == {"step", "exp_avg", "exp_avg_sq"}, f"other moments of {name}")
        _require(moments["step"].numel() == 1, "a step of another shape")
        for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
            # A fused kernel would read past the end of a moment of another shape.
            _require_shapes({name: moment}, parameters)
    groups, own_groups = optimizer["param_groups"], run.optimizer.param_groups
    sizes, own_sizes = ([len(group["params"]) for group in each] for each in (groups, own_groups))
    _require(sizes == own_sizes, "other groups")
    named = {name for group in groups for name in group["params"]}
    _require(named <= parameters.keys(), "groups of other parameters")


def _plain_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}


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


def _readable(read: Callable[[], Any], path: Path) -> Any:
    """The result of `read`; any error becomes one message."""
    try:
        return read()
    except Exception as error:  # the file vouches for itself, but it may hold anything
        first = str(error).splitlines()[0][:300] if str(error) else repr(error)
        raise InputError(
            f"{path}: cannot be loaded: {first}; move this checkpoint away, and resume with auto"
        ) from None
