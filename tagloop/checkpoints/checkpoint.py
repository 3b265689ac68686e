"""A checkpoint's folder is whole or not there: publish, verify, list and prune.

A checkpoint is a folder that appears under its name only when every byte of it is on disk:

    tmp-step_20/ written -> fsync -> manifest.json (size and sha256 of every file) -> fsync
    -> renamed to step_20/ -> parent fsync -> only then older ones pruned

state.py says what the files contain.
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
from tagloop.records import known_fields, read_record

FORMAT_VERSION = 1
NAME = re.compile(r"(step|epoch)_\d+")
MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"
MOMENTS, OPTIMIZER, OLD_OPTIMIZER = "optimizer.safetensors", "optimizer.json", "optimizer.pt"
# What JSON that somebody else wrote may raise; "[" 100,000 times or 1e999, for two.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Header:
    """What every manifest says, whatever the checkpoint contains. The fields are its keys."""

    format_version: int
    step: int
    files: dict[str, FileFacts]


class DamagedCheckpoint(Exception):
    """A folder that is no whole checkpoint of a version this code reads; says why."""


def publish(folder: Path, write: Callable[[Path], None], facts: dict) -> None:
    """Write a checkpoint so that it appears under its name complete, or not at all.

    Args:
        write: puts the files into the folder it is given.
        facts: JSON values for the manifest.

    Raises:
        WRITE_ERRORS: nothing was published; what was there before is as it was.
    """

    def write_with_manifest(into: Path) -> None:
        write(into)
        manifest = {"format_version": FORMAT_VERSION, **facts, "files": sync_files(into)}
        manifest["sha256"] = _digest(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(into / MANIFEST, text)  # no byte is idle: a shorter one is a damaged one

    replace_folder(folder, write_with_manifest, is_ours)


def verify(folder: Path) -> dict:
    """The manifest of a checkpoint whose every file is as it was written.

    Raises:
        DamagedCheckpoint: what is wrong with it.
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
    """Published checkpoints by step, good or damaged; those that do not tell their step last."""
    found = [path for path in output_dir.iterdir() if NAME.fullmatch(path.name)]
    folders = [path for path in found if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: (step_of(path), path))


def is_ours(folder: Path) -> bool:
    """True if `publish` wrote a folder, damaged or not: nothing else may be replaced or deleted.

    The manifest tells. Where it is damaged, the names of the files beside it do.
    """
    if folder.is_symlink() or not is_plain(folder / MANIFEST):
        return False
    if {"format_version", "step", "files"} <= read_json(folder / MANIFEST).keys():
        return True
    names = {path.name for path in folder.iterdir()}
    return WEIGHTS in names and bool(names & {MOMENTS, OLD_OPTIMIZER})


def best_of(folder: Path) -> str | None:
    """The name of the best checkpoint so far that a checkpoint's manifest tells, unverified."""
    state = read_json(folder / MANIFEST).get("state")
    return state.get("best_checkpoint") if isinstance(state, dict) else None


def step_of(folder: Path) -> float:
    """The step that a checkpoint's manifest tells, unverified; infinity if it does not."""
    try:
        return int(json.loads((folder / MANIFEST).read_bytes())["step"])
    except (OSError, *UNREADABLE):
        return math.inf


def prune(
    output_dir: Path, *, keep: int | None, spare: Iterable[str | None], say: Callable[[str], None]
) -> None:
    """Delete the oldest checkpoints but `keep` (None: all).

    Those named in `spare` stay, and so does the best checkpoint of each that is kept: a run that
    goes on from there needs it.
    """
    if keep is None:
        return
    # A damaged one does not count: it is not ours to judge, and no run can be resumed from it.
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
        doomed = folder.with_name(f"tmp-pruned-{folder.name}")  # a half-deleted one has no name
        try:
            folder.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            say(f"{folder}: could not be pruned: {error.strerror}")


def _digest(manifest: dict) -> str:
    """sha256 of a manifest's values, its own digest left out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
