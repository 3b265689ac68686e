"""The content of a checkpoint: packs the state of a run, and unpacks it into a run.

    model.safetensors   weights of the whole model, float32
    config.json and the files of processors: transformers can load the folder as a model
    optimizer.safetensors   moments of the parameters
    optimizer.json      groups of parameters with their options, schedule, loss scaler
    trained.safetensors     only with --ema_decay: the weights that training goes on with, as
                        model.safetensors has their average
    manifest.json       the fields of Facts; checkpoint.py adds sizes and digests

Tensors are whole, so a checkpoint does not depend on the number of processes. Under FSDP2 each
process writes some of the tensors, into model-00001-of-00002.safetensors and
optimizer-00001-of-00002.safetensors, and model.safetensors.index.json tells transformers which file
has which weight. The values of a checkpoint are compared with the run's own model and options
before they are loaded. No file can contain code. Earlier versions wrote optimizer.pt instead of the
two optimizer files; it is read with `weights_only=True`.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from tagloop.checkpoints.checkpoint import (
    MANIFEST,
    MOMENTS,
    OLD_OPTIMIZER,
    OPTIMIZER,
    TRAINED,
    files_of,
)
from tagloop.checkpoints.facts import Facts, parse_facts
from tagloop.checkpoints.share import plain_names
from tagloop.errors import InputError, NotFinite
from tagloop.files import parse_json, read_json, write_json
from tagloop.models.saving import WEIGHTS
from tagloop.models.weights import find_non_finite
from tagloop.processes.agree import on_all
from tagloop.records import is_like, read_record
from tagloop.run import Run
from tagloop.training.vocabulary import ROWS
from tagloop.wording import first_line

VALUES = "values"  # The key, in optimizer.json, for the numbers of a state that are no tensors.
# Loading is not strict, because tied weights are stored once, and a parameter without a gradient
# has no moments.
BROADCAST = StateDictOptions(full_state_dict=True, strict=False)


@dataclasses.dataclass(frozen=True)
class Training:
    """Optimizer, schedule and loss scaler, each as its `state_dict()` gives it.

    The names of the fields are the keys of optimizer.json; earlier optimizer.pt had them, too.

    Attributes:
        optimizer: "state": {parameter: {moment: tensor}}, "param_groups", and the rows of the
            input embedding that have moments. "values": {parameter: {name: number}}, if the
            optimizer keeps plain numbers, too.
        scaler: empty for a run without a loss scaler.
    """

    optimizer: dict
    lr_scheduler: dict
    scaler: dict

    def write_moments(self, path: Path) -> None:
        """Write the tensors into a new file."""
        tensors = {k: v.contiguous() for k, v in flat(self.optimizer["state"]).items()}
        if ROWS in self.optimizer:
            tensors[ROWS] = self.optimizer[ROWS]
        save_file(tensors, path)

    def write_values(self, path: Path) -> None:
        """Write all values but the tensors as JSON into a new file."""
        values = {k: v for k, v in self.optimizer.items() if k not in ("state", ROWS)}
        write_json(path, vars(self) | {"optimizer": values})


def split_state(state: dict[str, dict[str, Any]]) -> tuple[dict, dict]:
    """The tensors and the plain values of an optimizer's state, each {parameter: {name: value}}.

    Raises:
        InputError: a value is neither a tensor nor a plain number, text or truth value.
    """
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    values: dict[str, dict[str, Any]] = {}
    for name, each in state.items():
        for key, value in each.items():
            if torch.is_tensor(value):
                tensors.setdefault(name, {})[key] = value
            elif isinstance(value, bool | int | float | str):
                values.setdefault(name, {})[key] = value
            elif value is not None:
                raise InputError(
                    f"--optimizer: it keeps a {type(value).__name__} ({key}) for each parameter, "
                    "which no checkpoint can hold; name another"
                )
    return tensors, values


def flat(state: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """{parameter: {moment: tensor}} as {"moment/parameter": tensor}, as a file names them."""
    return {
        f"{moment}/{name}": tensor
        for name, moments in state.items()
        for moment, tensor in moments.items()
    }


def nested(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The reverse of flat."""
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        moment, _, name = key.partition("/")
        state.setdefault(name, {})[moment] = tensor
    return state


def _load_files(folder: Path, file: str) -> dict[str, torch.Tensor]:
    """The tensors of the weights, or of the moments, from all files that hold them."""
    names = read_json(folder / MANIFEST)["files"]
    tensors: dict[str, torch.Tensor] = {}
    for name in files_of(file, names):
        tensors |= load_file(folder / name)  # The values stay in the file until they are read.
    return tensors


def read_training(folder: Path) -> Training:
    """Read the optimizer files of a checkpoint of this version or of an earlier version.

    Raises:
        ValueError, OSError and others: the files have another content.
    """
    if (folder / OLD_OPTIMIZER).exists():
        values = torch.load(folder / OLD_OPTIMIZER, map_location="cpu", weights_only=True)
        training = read_record(values, Training)
        _require_plain(values)
        return training
    training = read_record(parse_json(folder / OPTIMIZER), Training)
    tensors = _load_files(folder, MOMENTS)
    rows = {ROWS: tensors.pop(ROWS)} if ROWS in tensors else {}
    state: dict[str, dict[str, Any]] = nested(tensors)
    for name, values in training.optimizer.pop(VALUES, {}).items():
        state.setdefault(name, {}).update(values)
    optimizer = training.optimizer | {"state": state} | rows
    return dataclasses.replace(training, optimizer=optimizer)


def _require_plain(value: object) -> None:
    """Refuse tensors whose shape needs more memory than their storage has.

    A tensor in a pickled file may be built in this way, and would be read beyond the end of its
    storage.

    Args:
        value: a tensor, or dicts, lists and tuples that contain tensors.

    Raises:
        ValueError: a tensor is of this kind, or not a plain tensor on the CPU.
    """
    if isinstance(value, torch.Tensor):
        plain = type(value) is torch.Tensor and value.layout == torch.strided
        plain = plain and value.device.type == "cpu" and value.is_contiguous()
        needed = (value.storage_offset() + value.numel()) * value.element_size() if plain else 0
        if not plain or value.untyped_storage().nbytes() < needed:
            raise ValueError("a tensor is no plain one in memory of its own")
    elif isinstance(value, dict):
        for each in value.values():
            _require_plain(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _require_plain(each)


def require_finite(run: Run) -> None:
    """Refuse weights and moments that are not finite. Every process must call this.

    Raises:
        NotFinite: on every process, even if only one process holds the value; the message names
            the parameter.
    """
    own = find_non_finite(run.model, run.optimizer) or run.vocabulary.find_non_finite()
    names = [name for name in gather_object([own]) if name]
    if names:
        raise NotFinite(f"update {run.state.step}: weights or moments of {names[0]} are not finite")


def load_weights(run: Run, folder: Path) -> None:
    """Load the weights of a checkpoint into the prepared model. Every process must call this.

    With --ema_decay they are the averaged weights.

    Raises:
        InputError: on every process, if the weights cannot be read or belong to another model.
    """
    _load_weights(run, folder, WEIGHTS)


def load_trained_weights(run: Run, folder: Path) -> None:
    """Load the weights that training goes on with, and their average. Every process must call this.

    Raises:
        InputError: as `load_weights` raises it.
    """
    load_weights(run, folder)
    if run.average is None:
        return
    run.average.restart()
    facts = _load_weights(run, folder, TRAINED)
    averaged, shrink = facts.average_shrink, facts.vocabulary_shrink
    if averaged is not None:
        # If the waiting rows were set anew, their factor is 1: divide the average by the saved one.
        run.average.shrink = averaged if run.vocabulary.shrink == shrink else averaged / shrink


def _load_weights(run: Run, folder: Path, file: str) -> Facts:
    """Load one of the two files with weights; returns the facts of the checkpoint."""
    model = run.accelerator.unwrap_model(run.model)
    own, tied = plain_names(model.state_dict()), getattr(model, "all_tied_weights_keys", {})
    # transformers saves neither tied weights nor those that the model computes again.
    missing = {*tied, *(getattr(model, "_keys_to_ignore_on_save", None) or ())}

    def read() -> tuple[Facts, dict[str, torch.Tensor]]:
        (folder / MANIFEST).stat()
        facts = parse_facts(read_json(folder / MANIFEST))
        averaged = facts.average_shrink if file == WEIGHTS else None
        shrink = facts.vocabulary_shrink if averaged is None else averaged
        weights = run.vocabulary.compact(_load_files(folder, file), shrink)
        _require(own.keys() - missing <= weights.keys() <= own.keys(), "other weights")
        _require_shapes(weights, own)
        return facts, weights

    facts, weights = on_all(run.accelerator, lambda: _readable(read, folder / file))
    set_model_state_dict(run.model, weights, options=BROADCAST)
    return facts


def load_training_state(run: Run, folder: Path) -> None:
    """Load the state of optimizer, schedule and loss scaler. Every process must call this.

    Raises:
        InputError: on every process, if the state cannot be read or belongs to another run.
    """

    # torch creates the state of another optimizer only by a step with zero gradients, as here.
    is_other = run.config.optimizer != "AdamW"
    own = get_optimizer_state_dict(run.model, run.optimizer.optimizer) if is_other else None

    def read() -> Training:
        training = read_training(folder)
        moments = run.vocabulary.unpack_moments(training.optimizer)
        step = parse_facts(read_json(folder / MANIFEST)).step
        _require_groups(moments["param_groups"], run)
        _require_schedule(training, run, step)
        if own is None:
            _require_moments(moments["state"], run, step)
        else:
            _require_state(moments["state"], own["state"])
        return dataclasses.replace(training, optimizer=moments)

    old = (folder / OLD_OPTIMIZER).exists()
    path = folder / (OLD_OPTIMIZER if old else OPTIMIZER)
    training = on_all(run.accelerator, lambda: _readable(read, path))
    # torch finds no device in a state without tensors, as SGD without momentum has it.
    has_tensors = any(map(torch.is_tensor, flat(training.optimizer["state"]).values()))
    set_optimizer_state_dict(
        run.model,
        run.optimizer.optimizer,
        training.optimizer,
        options=BROADCAST if has_tensors else StateDictOptions(strict=False),
    )
    run.lr_scheduler.load_state_dict(training.lr_scheduler)
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(training.scaler)


def _require_moments(state: dict[str, dict[str, torch.Tensor]], run: Run, step: int) -> None:
    """Compare moments with the model and the updates taken. Raises ValueError if they differ."""
    parameters = _parameters(run)
    _require(state.keys() <= parameters.keys(), "other parameters")
    for name, moments in state.items():
        _require(set(moments) == {"step", "exp_avg", "exp_avg_sq"}, f"other moments of {name}")
        _require(moments["step"].numel() == 1, "a step of another shape")
        # With fp16 all updates so far may have been skipped.
        first = 0 if run.accelerator.scaler else 1
        _require(float(moments["step"]) in range(first, step + 1), f"another step of {name}")
        for moment in (moments["exp_avg"], moments["exp_avg_sq"]):
            # A fused kernel would read past the end of a moment of another shape.
            _require_shapes({name: moment}, parameters)


def _require_state(state: dict[str, dict[str, Any]], own: dict[str, dict[str, Any]]) -> None:
    """Compare the state of another optimizer than AdamW with a fresh one of this run.

    Raises:
        ValueError: a parameter has a state that is not like that of the run.
    """
    _require(state.keys() <= own.keys(), "other parameters")
    for name, values in state.items():
        known = {key: value for key, value in own[name].items() if value is not None}
        _require(values.keys() == known.keys(), f"another state of {name}")
        tensors = {key: value for key, value in values.items() if torch.is_tensor(value)}
        _require_shapes(tensors, known)
        rest = values.keys() - tensors.keys()
        _require(all(is_like(values[key], known[key]) for key in rest), f"another state of {name}")


def _require_groups(groups: list[dict], run: Run) -> None:
    """Compare the parameter groups of a checkpoint, and their options, with those of the run.

    The learning rate is not compared, because it belongs to the schedule. An option is compared
    only if both versions of torch have it; an option that this version lacks is left out. Another
    optimizer than AdamW may count in its options, so only their types are compared.

    Raises:
        ValueError: a group or an option differs.
    """
    name_of = {id(parameter): name for name, parameter in _parameters(run).items()}
    own_groups = run.optimizer.param_groups
    _require(len(groups) == len(own_groups), "other groups")
    for group, own in zip(groups, own_groups, strict=True):
        names = [name_of.get(id(parameter)) for parameter in own["params"]]
        _require(group["params"] == names, "groups of other parameters")
        for option in group.keys() - own.keys():
            del group[option]
        for option in (group.keys() & own.keys()) - {"params", "lr"}:
            if isinstance(own[option], tuple):
                group[option] = tuple(group[option])  # JSON has lists, but no tuples.
            same = group[option] == own[option]
            if run.config.optimizer != "AdamW" and option != "weight_decay":
                same = type(group[option]) is type(own[option])
            _require(same, f"{option} {group[option]} instead of {own[option]}: another optimizer")


def _require_schedule(training: Training, run: Run, step: int) -> None:
    """Compare the schedule of a checkpoint with that of the run, and with the number of updates.

    A loss scaler skips some updates, and the schedule does not count those. Raises ValueError.
    """
    saved, own = training.lr_scheduler, run.lr_scheduler.state_dict()
    for name, value in saved.items():
        _require(name in own and is_like(value, own[name]), f"another {name}")
    scaler = run.accelerator.scaler
    _require(scaler is None or is_like(training.scaler, scaler.state_dict()), "another scaler")
    updates = saved["last_epoch"]
    _require(updates >= 0, "another schedule")
    fits = updates <= step if training.scaler else updates == step
    if not fits or not 0 <= step <= run.timetable.num_updates:
        raise ValueError(f"its schedule counts {updates} updates, its manifest {step}")
    _require(saved["base_lrs"] == own["base_lrs"], "another learning rate")
    factors = [factor_of(updates) for factor_of in run.lr_scheduler.lr_lambdas]
    for group, rate, factor in zip(
        training.optimizer["param_groups"], own["base_lrs"], factors, strict=True
    ):
        _require(math.isclose(group["lr"], rate * factor, rel_tol=1e-6), "another learning rate")


def _parameters(run: Run) -> dict[str, nn.Parameter]:
    return plain_names(dict(run.accelerator.unwrap_model(run.model).named_parameters()))


def _require(holds: bool, difference: str) -> None:
    if not holds:
        raise ValueError(f"{difference} than this model's")


def _require_shapes(read: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    for name, tensor in read.items():
        shape, expected = tuple(tensor.shape), tuple(own[name].shape)
        if shape != expected or tensor.dtype != own[name].dtype:
            raise ValueError(
                f"{name} is {tensor.dtype} {shape} instead of {own[name].dtype} {expected}"
            )


def _readable(read: Callable[[], Any], path: Path) -> Any:
    """Call `read` and return its result; any error becomes an InputError of one line."""
    try:
        return read()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or path}: is not there; put it back. All machines must share the "
            "output folder"
        ) from None
    except Exception as error:  # The file has the right digest, but its content may be anything.
        raise InputError(
            f"{path}: cannot be loaded: {first_line(error)}; move this checkpoint away, and resume "
            "with auto"
        ) from None
