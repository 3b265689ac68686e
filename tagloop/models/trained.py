"""Loads a trained model to apply it: the weights, and the facts that the training run recorded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tagloop.errors import InputError
from tagloop.files import parse_json
from tagloop.models.heads import require_names
from tagloop.models.weights import find_non_finite, refuse_adapters
from tagloop.options.scripts import command_of
from tagloop.wording import first_line, shown


def load_trained(folder: Path, auto_class: type, *, head: str, targets: str) -> PreTrainedModel:
    """Load a model of which no weight may be missing; in float32, on the CPU, for evaluation.

    Args:
        folder: the folder of the model.
        auto_class: such as AutoModelForTokenClassification.
        head: a part of the names of all architectures with this head ("TokenClass").
        targets: what the head predicts, for messages ("tags").

    Raises:
        InputError: the folder has no such model, or weights are missing or not finite.
    """
    architectures = read_config(folder).get("architectures") or ()
    try:
        model, info = auto_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,  # Without this transformers asks the standard input.
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # Damaged files raise all kinds of errors.
        raise InputError(
            f"{folder}: not a model that predicts {targets}: {first_line(error)}"
        ) from error
    refuse_adapters(str(folder), info)
    others = [name for name in architectures if head not in name]
    missing = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    if others or missing:
        reason = f"is a {others[0]}" if others else f"{min(missing)} is missing"
        raise InputError(
            f"{folder}: no trained head for {targets}, {reason}; train one first: "
            f"{command_of('train_loop.py')} --model_name_or_path {folder}"
        )
    require_finite_weights(folder, model)
    require_texts(folder, model)
    model.config.return_dict = True  # config.json may say false; the outputs would be a tuple.
    return model.eval()


def require_texts(folder: Path, model: torch.nn.Module) -> None:
    """Raise InputError if a label of the model in this folder is no text."""
    if not all(isinstance(label, str) for label in model.config.id2label.values()):
        raise InputError(f"{folder / 'config.json'}: id2label has a label that is no text")


def require_finite_weights(folder: Path, model: torch.nn.Module) -> None:
    """Raise InputError if a weight of the model in this folder is not finite."""
    if bad_name := find_non_finite(model):
        raise InputError(f"{folder}: weights of {bad_name} are not finite; train again")


def read_config(folder: Path) -> dict:
    """The values of a model folder's config.json. Raises InputError if it cannot be read."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the output folder of a training run")
    path = folder / "config.json"
    try:
        values = parse_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: holds no config.json, so it is no saved model; name the output folder of "
            "a training run that has ended"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: is no JSON object; put back the file that the model came with")
    require_names(values.get("architectures"), str(folder))
    return values


def read_record(folder: Path, known: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """The values in config.json that a training run wrote for applying the model to new data.

    The result is empty if another program trained the model.

    Args:
        known: for every name a function that is True for a value which a training run may write;
            it gets a string, an integer or None.

    Raises:
        InputError: no training run writes this value.
    """
    record = read_config(folder).get("tagloop")
    if record is None:
        return {}
    if not isinstance(record, dict):
        raise InputError(f"{folder / 'config.json'}: tagloop has to be an object, not {record!r}")
    for name, is_valid in known.items():
        if name in record and not (
            isinstance(record[name], str | int | None) and is_valid(record[name])
        ):
            raise InputError(
                f"{folder / 'config.json'}: tagloop.{name} is {shown(record[name])}, which no "
                "training run writes; put back the file that the run wrote"
            )
    return record
