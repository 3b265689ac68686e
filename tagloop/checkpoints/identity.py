"""What makes a run this run: made, compared across processes, and refused when it differs."""

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.options.lists import options_to_share
from tagloop.processes.agree import on_all
from tagloop.records import known_fields, read_record
from tagloop.tasks.task import Task


def build_identity(config: Config, task: Task, accelerator: Accelerator) -> dict:
    """Options, data, tokenizer, model and precision: what a resumed run must share."""
    return {
        "options": config.public(),
        **task.identity,
        "precision": accelerator.mixed_precision,
    }


def check_identity(identity: dict[str, Any]) -> None:
    """Refuse an identity, read from a file, that build_identity cannot have made.

    Raises:
        ValueError: names what is of another type.
    """
    for name in ("options", "model"):
        if not isinstance(identity.get(name), dict):
            raise ValueError(f"identity.{name} is no JSON object")
    read_record(known_fields(identity["options"], Config), Config, "identity.options")


def require_same(accelerator: Accelerator, identity: dict) -> None:
    """Refuse processes that read other data or options than the main one. All must call this.

    Raises:
        InputError: on every process (machines of a cluster with unequal files).
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
    """check_same_run as far as it is known before data and model are loaded."""
    asked = {"options": config.public(), "precision": accelerator.mixed_precision}
    known = {name: saved.get(name) for name in asked}
    check_same_run(known | {"model": {}}, asked | {"model": {}}, where=where)


def check_same_run(saved: dict, asked: dict, *, where: Path) -> None:
    """Refuse a resume that would silently be another run.

    Args:
        saved, asked: identities. An option younger than the checkpoint is what runs did before;
            options of another task do not matter.

    Raises:
        InputError: every difference, with its name, old and new value.
    """

    def named(identity: dict) -> dict:
        shared = options_to_share(identity["options"], asked["options"]["task_name"])
        values = {f"--{name}": value for name, value in shared.items()}
        facts = {n: value for n, value in identity.items() if n not in ("options", "model")}
        return json.loads(json.dumps(values | facts))

    old, new = named(saved), named(asked)
    # A younger transformers may describe a model with more keys; those of both must agree.
    for key in saved["model"].keys() & asked["model"].keys():
        old[f"model {key}"], new[f"model {key}"] = saved["model"][key], asked["model"][key]
    lines = [
        f"{where}: {name} was {_short(old.get(name))} and is now {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if lines:
        remedy = (
            "a resumed run goes on as it began: restore these; or train its model further with "
            f"other options: --model_name_or_path {where} (or a checkpoint in it), a new "
            "--output_dir, and no --resume_from_checkpoint"
        )
        raise InputError("\n".join([*lines, remedy]))


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:160]}... ({len(text)} characters)"
