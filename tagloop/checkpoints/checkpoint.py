"""The folders of checkpoints: publish, verify, list and prune.

A checkpoint is a folder that gets its name only when every byte of it is on the disk:

    tmp-step_20/ written -> fsync -> manifest.json (size and sha256 of every file) -> fsync
    -> renamed to step_20/ -> parent fsync -> only then older checkpoints pruned

state.py describes the content of the files.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tagloop.files import (
    FileFacts,
    find_damage,
    is_plain,
    read_json,
    replace_folder,
    sync_files,
    write_text,
)
from tagloop.models.saving import INDEX, WEIGHTS
from tagloop.records import known_fields, read_record

FORMAT_VERSION = 1
NAME = re.compile(r"(step|epoch)_\d+")
MANIFEST = "manifest.json"
MOMENTS, OPTIMIZER, OLD_OPTIMIZER = "optimizer.safetensors", "optimizer.json", "optimizer.pt"
TRAINED = "trained.safetensors"  # the weights beside their average
# Errors that unexpected JSON may raise: "[" 100,000 times or 1e999, for example.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Header:
    """The part of a manifest that does not depend on the content of the checkpoint.

    The names of the fields are keys of the manifest.

    Attributes:
        format_version: FORMAT_VERSION of the program that wrote the checkpoint.
        step: the number of updates taken.
        files: size and digest of every file of the checkpoint but the manifest, by name.
    """

    format_version: int
    step: int
    files: dict[str, FileFacts]


class DamagedCheckpoint(Exception):
    """A folder is no complete checkpoint of a format that this version reads; says why."""


def publish(folder: Path, write: Callable[[Path], dict[str, dict]], facts: dict) -> None:
    """Write a checkpoint so that it appears under its name complete, or not at all.

    Args:
        write: writes the files into a given folder. The result has the facts about those files
            that are synced already, as `sync_file` returns them.
        facts: JSON values for the manifest.

    Raises:
        WRITE_ERRORS: the checkpoint could not be written; an earlier folder is as it was.
    """

    def write_with_manifest(into: Path) -> None:
        files = sync_files(into, write(into))
        manifest = {"format_version": FORMAT_VERSION, **facts, "files": files}
        manifest["sha256"] = _digest(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(into / MANIFEST, text)  # Without a final newline every lost byte is noticed.

    replace_folder(folder, write_with_manifest, is_ours)


def file_of_process(file: str, index: int, num_files: int) -> str:
    """The name of one of the files that together hold the weights, or the moments.

    >>> file_of_process("model.safetensors", 0, 1)
    'model.safetensors'
    >>> file_of_process("model.safetensors", 0, 2)
    'model-00001-of-00002.safetensors'

    Args:
        file: WEIGHTS, MOMENTS or TRAINED.
        index: of the process that writes the file.
        num_files: the number of processes that write such a file.
    """
    if num_files == 1:
        return file
    stem, ending = file.split(".")
    return f"{stem}-{index + 1:05}-of-{num_files:05}.{ending}"


def files_of(file: str, names: Iterable[str]) -> list[str]:
    """The files among `names` that together hold the weights, or the moments.

    Args:
        file: WEIGHTS, MOMENTS or TRAINED.

    Raises:
        DamagedCheckpoint: one of them is missing.
    """
    found, needed = _of_processes(file, names), [file]
    if found and file not in names:
        num_files = int(found[-1].split("-of-")[1].split(".")[0])
        needed = [file_of_process(file, index, num_files) for index in range(num_files)]
    for name in needed:
        if name not in names:
            raise DamagedCheckpoint(f"its manifest does not list {name}")
    return needed


def _of_processes(file: str, names: Iterable[str]) -> list[str]:
    """The names that file_of_process gives to the files of several processes, in their order."""
    stem, ending = file.split(".")
    form = re.compile(rf"{stem}-\d{{5}}-of-\d{{5}}\.{ending}")
    return sorted(name for name in names if form.fullmatch(name))


def verify(folder: Path) -> dict:
    """Read the manifest of a checkpoint, and check that every file is as it was written.

    Returns:
        The values of the manifest, without its own digest.

    Raises:
        DamagedCheckpoint: a file is missing or changed; the message says which.
    """
    try:
        if (folder / MANIFEST).is_symlink():
            raise DamagedCheckpoint(f"{MANIFEST} is a link")
        manifest = json.loads((folder / MANIFEST).read_bytes())
        version = manifest["format_version"]
        if version != FORMAT_VERSION:
            raise DamagedCheckpoint(f"is of format {version}; this tagloop reads {FORMAT_VERSION}")
        if manifest.pop("sha256") != _digest(manifest):
            raise DamagedCheckpoint(f"{MANIFEST} is not as it was written (sha256 differs)")
        header = read_record(known_fields(manifest, Header), Header)
        if damage := find_damage(folder, header.files):
            raise DamagedCheckpoint(damage)
    except OSError as error:
        raise DamagedCheckpoint(f"{Path(error.filename).name}: {error.strerror}") from None
    except UNREADABLE:
        raise DamagedCheckpoint(f"{MANIFEST} is damaged") from None
    return manifest


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Folders with a checkpoint's name, by step; those without a readable step come last.

    The checkpoints may be damaged.
    """
    paths = [path for path in output_dir.iterdir() if NAME.fullmatch(path.name)]
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: (step_of(path), path))


def is_ours(folder: Path) -> bool:
    """True if `publish` wrote the folder, even if the checkpoint is damaged now.

    Only these folders may be replaced or deleted. The manifest shows who wrote the folder. If the
    manifest is damaged, the names of the other files show it.
    """
    if folder.is_symlink() or not is_plain(folder / MANIFEST):
        return False
    if {"format_version", "step", "files"} <= read_json(folder / MANIFEST).keys():
        return True
    names = {path.name for path in folder.iterdir()}
    has_moments = names & {MOMENTS, OLD_OPTIMIZER} or _of_processes(MOMENTS, names)
    return bool(names & {WEIGHTS, INDEX} and has_moments)


def best_of(folder: Path) -> str | None:
    """The name of the best checkpoint, as the manifest of a later checkpoint gives it.

    The manifest is not verified; None if it names no checkpoint.
    """
    state = read_json(folder / MANIFEST).get("state")
    return state.get("best_checkpoint") if isinstance(state, dict) else None


def step_of(folder: Path) -> float:
    """The step in the manifest of a checkpoint, not verified; infinity if it cannot be read."""
    try:
        return int(json.loads((folder / MANIFEST).read_bytes())["step"])
    except (OSError, *UNREADABLE):
        return math.inf


def prune(
    output_dir: Path, *, keep: int | None, spare: Iterable[str | None], say: Callable[[str], None]
) -> None:
    """Delete old checkpoints.

    Args:
        keep: how many of the newest checkpoints stay; None: all.
        spare: names of further checkpoints that stay. The best checkpoint that a remaining
            checkpoint names stays, too, because a run that resumes there needs it.
        say: called with a message if a checkpoint cannot be deleted.
    """
    if keep is None:
        return
    # A damaged checkpoint is not counted and not deleted, because no run can be resumed from it.
    countable = [
        folder
        for folder in checkpoint_folders(output_dir)
        if step_of(folder) < math.inf and is_ours(folder)
    ]
    old, kept = countable[: max(len(countable) - keep, 0)], countable[-keep:]
    kept += [folder for folder in old if folder.name in spare]
    needed = {*spare, *(folder.name for folder in kept), *map(best_of, kept)}
    for folder in old:
        if folder.name in needed:
            continue
        try:
            delete(folder)
        except OSError as error:
            say(f"{folder}: could not be pruned: {error.strerror}")


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint. If this is interrupted, what is left is no checkpoint.

    Raises:
        OSError: it cannot be deleted.
    """
    to_delete = checkpoint.with_name(f"tmp-pruned-{checkpoint.name}")
    shutil.rmtree(to_delete, ignore_errors=True)  # what an interrupted call left
    checkpoint.rename(to_delete)
    shutil.rmtree(to_delete)


def _digest(manifest: dict) -> str:
    """The sha256 of the values of a manifest that has no digest yet."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
