"""Replaces a file or a folder as a whole and syncs it, or leaves it as it was.

    tmp-step_20/ written -> every file synced -> renamed to step_20/ -> parent synced

No other file of this project replaces files or folders. An interrupted write leaves a file or
folder named tmp-...; the next run in the same folder deletes it.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError

# A full disk raises an OSError, a SafetensorError or, in torch.save, a RuntimeError.
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)


@dataclass(frozen=True)
class FileFacts:
    """Size and digest of a file at the time when it was written."""

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
    """The sha256 of a file, as hex digits. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a temporary file, which replaces `path` at the end of the block.

    After an error in the block `path` is as it was. The new file keeps the mode of the old one. If
    `path` is a link, the file that it leads to is replaced. If `path` is a device or a pipe, the
    block writes into it at once. No other file in the folder is changed, because the folder may
    belong to the user.

    Raises:
        OSError: the file cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    target = path.resolve()
    # A number alone may be that of a killed process, whose file is left: in a container, always 1.
    temporary = target.with_name(f"tmp-{secrets.randbits(48)}-{target.name}")
    try:
        file = temporary.open("x", encoding="utf-8", newline="")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(path: Path) -> object:
    """The JSON values in a file.

    Raises:
        OSError: the file cannot be read, or the path leads to a pipe or a device, which would be
            read for ever.
        ValueError, RecursionError: the file holds no JSON.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return json.loads(path.read_text(encoding="utf-8"))


def read_json(path: Path) -> dict:
    """The values in a file that write_json wrote; {} if the file is missing or holds no object."""
    try:
        values = parse_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def real_path(path: Path) -> Path:
    """The absolute path without links. A path in a circle of links is returned unchanged.

    Raises:
        OSError: the path is relative, and the working directory was deleted.
    """
    return Path(os.path.realpath(path))


def is_plain(path: Path) -> bool:
    """True if a path is a file, and not a link, device, pipe or folder."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_no_page(path: Path) -> bool:
    """True for a file with something else in it than a page of HTML, which a page may replace."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(100)
    return head != b"" and not head.lower().startswith(b"<!doctype html")


def remove(path: Path) -> None:
    """Delete a file, a folder with its contents, or a link, but not the target of the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file; a file that does not exist is made.

    Raises:
        OSError: the file cannot be written, or `path` is a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
        file.write(line + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new text, and never a part.

    If `path` is a link, the file replaces the link; the target of the link stays as it is.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f"tmp-{path.name}")
    remove(temporary)
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        remove(temporary)
        raise
    fsync(path.parent)


def write_json(path: Path, values: dict) -> None:
    """Replace a file by JSON values, as write_text does.

    Raises:
        OSError: the file cannot be written.
        ValueError: a value is NaN or infinite, which JSON does not know.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    write_text(path, text + "\n")


def sync_file(path: Path) -> dict:
    """Bring a file to the disk, with the mode that a new file has in its folder.

    Returns:
        {"size": bytes, "sha256": hex digest}
    """
    # safetensors writes files that only this user may read. The folder, which is new, too, shows
    # what others may do; os.umask would have to set the mode to read it, for all threads.
    path.chmod(path.parent.stat().st_mode & 0o666)
    fsync(path)
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def sync_files(folder: Path, known: dict[str, dict] | None = None) -> dict[str, dict]:
    """Bring the files of a new folder to the disk, with the mode of any new file of this user.

    Folders inside of the folder are deleted.

    Args:
        known: the results of `sync_file` for files on which it was called.

    Returns:
        {name: {"size": bytes, "sha256": hex digest}}, in the order of the names.

    Raises:
        OSError: a file cannot be read, or a file of `known` is gone.
    """
    facts, known = {}, known or {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():  # A tokenizer may write further templates here, which no run reads.
            shutil.rmtree(path)
            continue
        facts[path.name] = known.get(path.name) or sync_file(path)
    for name in known.keys() - facts.keys():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / name))
    fsync(folder)
    return facts


def replace_folder(
    folder: Path, write: Callable[[Path], None], may_replace: Callable[[Path], bool]
) -> None:
    """Write a folder so that it appears under its name complete, or not at all.

    Args:
        write: writes the files into a given folder, and syncs them.
        may_replace: says whether an earlier file or folder of this name belongs to this project
            and may be deleted. A link is always replaced; the target of the link stays.

    Raises:
        WRITE_ERRORS: the folder could not be written; an earlier folder is as it was.
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
    """Write files into a folder that also holds other files; each file is replaced as a whole.

    Args:
        write: writes the files into a given folder.
        name: the files are first written into the folder tmp-NAME.

    Returns:
        Size and sha256 of every file, as sync_files returns them.

    Raises:
        WRITE_ERRORS: a file could not be written.
    """
    temporary = folder / f"tmp-{name}"
    remove(temporary)
    try:
        temporary.mkdir()
        write(temporary)
        facts = sync_files(temporary)
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)
    finally:
        remove(temporary)
    fsync(folder)
    return facts


def find_damage(folder: Path, known: dict[str, FileFacts]) -> str | None:
    """Compare files with their sizes and digests; None if all are as they were written.

    Args:
        known: size and digest by name, as sync_files returned them.

    Returns:
        The first difference, as the end of a sentence.

    Raises:
        OSError: a file cannot be read.
    """
    for name, facts in known.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            return f"{name!r} is missing or no plain file in the folder"
        if path.stat().st_size != facts.size:
            return f"{name} has {path.stat().st_size} bytes instead of {facts.size}"
        if sha256_of(path) != facts.sha256:
            return f"{name} is not as it was written (sha256 differs)"
    return None
