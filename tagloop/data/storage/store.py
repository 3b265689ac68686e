"""Folders that one process builds and every other process on the machine opens.

    folder = build_once("corpus", {"files": "..."}, write)  # write(folder: Path) -> None

The others wait at a file lock, never inside a collective, so a long build cannot run into the
time-out of torch.distributed.
"""

import ast
import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import datasets
import pyarrow as pa
from filelock import FileLock

from tagloop.errors import InputError
from tagloop.files import (
    FileFacts,
    fsync,
    is_plain,
    read_json,
    sha256_of,
    write_json,
)

SEAL = "sizes.json"  # size and digest of every file


ROWS_AT_ONCE = 256  # Rows of a dataset may be recordings.


def cache_root() -> Path:
    """Return `$TAGLOOP_CACHE`, else a folder beside the caches of `datasets`."""
    chosen = os.environ.get("TAGLOOP_CACHE")
    return Path(chosen) if chosen else Path(datasets.config.HF_DATASETS_CACHE) / "tagloop"


def build_once(kind: str, key: Mapping, build: Callable[[Path], None]) -> Path:
    """Return the folder of `key` (anything JSON can hold), built by the first process that asks.

    `build` fills a temporary folder, which is synced and gets its name only when `build` returns: a
    build that fails or is killed leaves none. A folder whose files are not what was written (a full
    disk, a copy that broke off, an edit) is built again. To see that, the first process that opens
    a folder on a machine reads it once (about a second for a GB); later ones compare what the
    file system says of the files.

    Raises:
        InputError: the cache cannot be written; and what `build` raises.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    root = cache_root()
    folder = root / f"{kind}-{digest}"
    checked = root / "locks" / f"{kind}-{digest}.{platform.node()}.checked"
    if _is_known(folder, checked):
        return folder
    unfinished = root / f"tmp-{kind}-{digest}"
    lock = FileLock(root / "locks" / f"{kind}-{digest}.lock")
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        if _is_known(folder, checked):  # Another process built it while this one waited.
            return folder
        if _is_whole(folder):
            _note_checked(folder, checked)
            return folder
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # A build was killed.
            if folder.is_dir():  # It is damaged. A process that has it open keeps its files.
                shutil.rmtree(folder)
            unfinished.mkdir()
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            build(unfinished)
            _seal(unfinished)
            unfinished.rename(folder)
            fsync(root)
            _note_checked(folder, checked)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise _unwritable(root, error) from error
            raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()
    return folder


def _seal(folder: Path) -> None:
    """Put every file on the disk, and write down its size and digest."""
    facts = {path.name: [path.stat().st_size, sha256_of(path)] for path in folder.iterdir()}
    for name in facts:
        fsync(folder / name)
    write_json(folder / SEAL, facts)
    fsync(folder)


def _read_seal(folder: Path) -> dict[str, FileFacts]:
    """Size and digest of every file by name; {} if a name is not that of a plain file in there."""
    try:
        facts = {name: FileFacts(*fact) for name, fact in read_json(folder / SEAL).items()}
        names_are_plain = all(Path(name).name == name and is_plain(folder / name) for name in facts)
    except (TypeError, ValueError):  # Another program wrote the file.
        return {}
    return facts if names_are_plain else {}


def _is_whole(folder: Path) -> bool:
    """Whether every file holds what was written."""
    facts = _read_seal(folder)
    try:
        return bool(facts) and all(
            fact == FileFacts((folder / name).stat().st_size, sha256_of(folder / name))
            for name, fact in facts.items()
        )
    except OSError:
        return False


def _is_known(folder: Path, checked: Path) -> bool:
    """Whether the files are those that this machine has read and found whole."""
    marks = read_json(checked)
    return bool(marks) and marks == _marks(folder)


def _note_checked(folder: Path, checked: Path) -> None:
    with suppress(OSError):  # another machine's folder may be read-only; then it is read each time
        write_json(checked, _marks(folder))


def _marks(folder: Path) -> dict[str, list[int]]:
    """What the file system says of every file; a change of content changes the last one."""
    marks = {}
    for name in (SEAL, *_read_seal(folder)):
        try:
            facts = (folder / name).stat()
        except OSError:
            return {}
        marks[name] = [facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
    return marks


def content_digest(rows: datasets.Dataset) -> str:
    """The sha256, as hex digits, of the columns and the rows of a dataset.

    The fingerprint of a dataset follows from how its rows were made: where a function of `map`
    reads a file or draws at random, other rows have the same fingerprint.
    """
    digest = hashlib.sha256(repr(rows.features).encode())
    for part in rows.with_format("arrow").iter(ROWS_AT_ONCE):
        whole, sink = part.combine_chunks(), pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, whole.schema.remove_metadata()) as writer:
            writer.write_table(whole.replace_schema_metadata(None))
        digest.update(sink.getvalue())
    return digest.hexdigest()


def source_digest(builder: str) -> str:
    """A hash of the code that builds prepared data: edited code never reads what older code wrote.

    Args:
        builder: a module of this package, "tagloop.tasks.tagging.encoding". Its own code counts,
            and that of every module of the package that it imports, directly or through others.
            The options are left out: the values that matter are in the key of what is built.
    """
    digest, modules, waiting = hashlib.sha256(), set(), [builder]
    while waiting:
        path = _source_of(module := waiting.pop())
        if module in modules or path is None or module.startswith("tagloop.options"):
            continue
        modules.add(module)
        waiting += _imports_of(path.read_text(encoding="utf-8"))
    for module in sorted(modules):
        digest.update(module.encode() + _source_of(module).read_bytes())
    return digest.hexdigest()


@cache  # A run asks several times, and to parse takes longer than all else.
def _imports_of(code: str) -> list[str]:
    """The modules that a source file may import from, by their whole names."""
    return [
        name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{imported.name}" for imported in node.names))
    ]


def _source_of(module: str) -> Path | None:
    """The file of a module of this package; None if there is no such module."""
    package, *inner = module.split(".")
    root = Path(__file__).parent.parent.parent
    if package != root.name:
        return None
    path = root.joinpath(*inner)
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _unwritable(root: Path, error: OSError) -> InputError:
    return InputError(
        f"{root}: cannot write prepared data here ({error.strerror or error}); "
        "set TAGLOOP_CACHE to a folder that is writable and has room"
    )
