"""A file or a folder is replaced whole and synced, or not at all: the only writer of both.

    tmp-step_20/ written -> every file synced -> renamed to step_20/ -> parent synced

What an interrupted write leaves is named tmp-...; whoever owns the folder clears it away.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

# A full disk is an OSError, a SafetensorError or, from torch.save, a RuntimeError.
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)


@dataclass(frozen=True)
class FileFacts:
    """A file as it was written."""

    size: int  # bytes
    sha256: str  # hex digest


def describe_write_error(error: Exception) -> str:
    """Why something could not be written, in the system's words.

    >>> import errno
    >>> describe_write_error(SafetensorError(f"I/O error: x (os error {errno.ENOSPC})"))
    'No space left on device'
    """
    number = re.search(r"os error (\d+)", str(error))
    in_words = os.strerror(int(number[1])) if number else str(error)
    return getattr(error, "strerror", None) or in_words


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file to write piece by piece: it replaces `path` at the end, and after an error does not.

    A file that is replaced keeps its mode. A link stays one, and what it leads to is replaced.
    Devices and pipes are written to at once.
    The folder may be the user's, so no file there is touched but this one.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    target = path.resolve()
    temporary = target.with_name(f"tmp-{os.getpid()}-{target.name}")
    try:
        file = temporary.open("x", encoding="utf-8", newline="")
        if target.exists():
            os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(path: Path) -> object:
    """The JSON values of a file.

    Raises:
        OSError: it cannot be read.
        ValueError, RecursionError: it holds no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def read_json(path: Path) -> dict:
    """A file that write_json wrote; nothing where there is none, or something else."""
    try:
        values = parse_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def real_path(path: Path) -> Path:
    """The absolute path without links. One in a circle of links stays as it is.

    Raises:
        OSError: the working directory is gone, and the path is relative.
    """
    return Path(os.path.realpath(path))


def is_plain(path: Path) -> bool:
    """True for a file that is no link, device, pipe or folder."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def remove(path: Path) -> None:
    """Delete a file, a folder with its contents, or a link, but not what the link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which appears if it is not there.

    Raises:
        OSError: it cannot be written, or `path` is a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
        file.write(line + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new, never half of it.

    A link is replaced by the file; what the link leads to stays as it is.
    """
    temporary = path.with_name(f"tmp-{path.name}")
    remove(temporary)
    with temporary.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync(path.parent)


def write_json(path: Path, values: dict) -> None:
    """Raises ValueError for NaN, which JSON does not know."""
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    write_text(path, text + "\n")


def sync_files(folder: Path) -> dict[str, dict]:
    """Bring a folder's files to the disk, readable like any other file of this user.

    Returns:
        {name: {"size": bytes, "sha256": hex digest}}, in the order of the names.
    """
    probe = folder / "tmp-mode"  # os.umask can only be read by setting it, for all threads
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    known = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():  # a tokenizer's spare templates: nothing that is read back
            shutil.rmtree(path)
            continue
        path.chmod(mode)  # safetensors makes files that nobody else may read
        fsync(path)
        known[path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    fsync(folder)
    return known


def replace_folder(
    folder: Path, write: Callable[[Path], None], may_replace: Callable[[Path], bool]
) -> None:
    """Write a folder so that it appears under its name complete, or not at all.

    Args:
        write: puts the files into the folder it is given, and syncs them.
        may_replace: tells of what lies there already whether it is ours. A link is replaced in any
            case; what it leads to stays as it is.

    Raises:
        WRITE_ERRORS: nothing was replaced; what was there before is as it was.
    """
    temporary = folder.with_name(f"tmp-{folder.name}")
    replaced = folder.with_name(f"tmp-replaced-{folder.name}")
    remove(temporary)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        if os.path.lexists(folder):
            if not folder.is_symlink() and not may_replace(folder):
                raise FileExistsError(errno.EEXIST, "something else lies there", str(folder))
            remove(replaced)
            folder.rename(replaced)
        temporary.rename(folder)
        fsync(folder.parent)
        remove(replaced)
    except BaseException:
        if os.path.lexists(replaced) and not os.path.lexists(folder):
            replaced.rename(folder)
        remove(temporary)
        raise


def replace_files(folder: Path, write: Callable[[Path], None], *, name: str) -> dict[str, dict]:
    """Put files into a folder that holds others, too; each is replaced whole, and all are synced.

    Args:
        write: puts the files into the folder it is given.
        name: of what is written; it is called tmp-NAME meanwhile.

    Returns:
        Size and sha256 of every file, as sync_files.
    """
    temporary = folder / f"tmp-{name}"
    remove(temporary)
    try:
        temporary.mkdir()
        write(temporary)
        known = sync_files(temporary)
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)
    finally:
        remove(temporary)
    fsync(folder)
    return known


def find_damage(folder: Path, known: dict[str, FileFacts]) -> str | None:
    """What is wrong with files that sync_files described; None if all are as they were."""
    for name, facts in known.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            return f"{name!r} is missing or no plain file in the folder"
        if path.stat().st_size != facts.size:
            return f"{name} has {path.stat().st_size} bytes instead of {facts.size}"
        if sha256_of(path) != facts.sha256:
            return f"{name} is not as it was written (sha256 differs)"
    return None
