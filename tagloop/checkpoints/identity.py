"""The identity of a run: built, compared across processes, and compared on a resume."""

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from tagloop.checkpoints.checkpoint import checkpoint_folders
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.options.lists import options_to_share
from tagloop.processes.agree import on_all
from tagloop.records import known_fields, read_record
from tagloop.tasks.task import Task


def build_identity(config: Config, task: Task, accelerator: Accelerator) -> dict:
    """Options, data, tokenizer, model and precision as JSON values; a resume compares them."""
    return {
        "options": config.public(),
        **task.identity,
        "precision": accelerator.mixed_precision,
    }


def check_identity(identity: dict[str, Any]) -> None:
    """Refuse an identity from a file if build_identity cannot have made it.

    Raises:
        ValueError: a value has another type; the message names it.
    """
    for name in ("options", "model"):
        if not isinstance(identity.get(name), dict):
            raise ValueError(f"identity.{name} is no JSON object")
    read_record(known_fields(identity["options"], Config), Config, "identity.options")


def require_same(accelerator: Accelerator, identity: dict) -> None:
    """Refuse processes that have other data or options. Every process must call this.

    Raises:
        InputError: on every process, if one process has another identity than the main process,
            as on machines with unequal files.
    """
    main = [identity]
    broadcast_object_list(main)

    def compare() -> None:
        different = [name for name in identity if identity[name] != main[0].get(name)]
        if different:
            raise InputError(
                f"process {accelerator.process_index} has other {', '.join(different)} than the "
                "main process; give every machine the same files and options"
            )

    on_all(accelerator, compare)


def check_same_options(saved: dict, config: Config, accelerator: Accelerator, where: Path) -> None:
    """Compare options and precision, which are known before data and model are loaded.

    Args:
        saved: the identity of the earlier run.
        where: the folder of the run, for the message.

    Raises:
        InputError: an option or the precision differs; see check_same_run.
    """
    own = {"options": config.public(), "precision": accelerator.mixed_precision}
    known = {name: saved.get(name) for name in own}
    check_same_run(known | {"model": {}}, own | {"model": {}}, where=where)


def check_same_run(saved: dict, own: dict, *, where: Path) -> None:
    """Refuse a resume if it would silently be another run.

    If the checkpoint is older than an option, the option counts as the value that older versions
    acted on. Options of other tasks do not count.

    Args:
        saved: the identity of the earlier run.
        own: the identity of this run.
        where: the folder of the run, for the message.

    Raises:
        InputError: the message has every difference, with its name, old value and new value.
    """

    def named(identity: dict) -> dict:
        shared = options_to_share(identity["options"], own["options"]["task_name"])
        values = {f"--{name}": value for name, value in shared.items()}
        facts = {n: value for n, value in identity.items() if n not in ("options", "model")}
        return json.loads(json.dumps(values | facts))

    old, new = named(saved), named(own)
    # A newer transformers may describe a model with more keys; only common keys must agree.
    for key in saved["model"].keys() & own["model"].keys():
        old[f"model {key}"], new[f"model {key}"] = saved["model"][key], own["model"][key]
    lines = [
        f"{where}: {name} was {_short(old.get(name))} and is now {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if lines:
        remedy = "a resumed run goes on as it began: restore these; or "
        if (where / "config.json").exists() or checkpoint_folders(where):
            remedy += (
                f"train its model further with other options: --model_name_or_path {where} (or a "
                "checkpoint in it), a new --output_dir, and no --resume_from_checkpoint"
            )
        else:
            remedy += "begin anew: --overwrite_output_dir, and no --resume_from_checkpoint"
        raise InputError("\n".join([*lines, remedy]))


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:160]}... ({len(text)} characters)"
