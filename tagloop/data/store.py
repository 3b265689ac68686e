"""Folders that one process builds and every other process on the machine opens.

    folder = build_once("corpus", {"files": "..."}, write)  # write(folder: Path) -> None

The others wait at a file lock, never inside a collective, so a long build cannot run into the
time-out of torch.distributed.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa
from filelock import FileLock

from tagloop.errors import InputError

BATCH = 1000  # rows


def cache_root() -> Path:
    """Return `$TAGLOOP_CACHE`, else a folder beside the caches of `datasets`."""
    chosen = os.environ.get("TAGLOOP_CACHE")
    return Path(chosen) if chosen else Path(datasets.config.HF_DATASETS_CACHE) / "tagloop"


def build_once(kind: str, key: Mapping, build: Callable[[Path], None]) -> Path:
    """Return the folder of `key` (anything JSON can hold), built by the first process that asks.

    `build` fills a temporary folder, which gets its name only when `build` returns: a folder that
    is there is complete, and a build that fails or is killed leaves none.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    root = cache_root()
    folder = root / f"{kind}-{digest}"
    if folder.is_dir():
        return folder
    unfinished = root / f"tmp-{kind}-{digest}"
    lock = FileLock(root / "locks" / f"{kind}-{digest}.lock")
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        if folder.is_dir():  # another process built it while this one waited
            return folder
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a build that was killed
            unfinished.mkdir()
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            build(unfinished)
            unfinished.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise _unwritable(root, error) from error
            raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()
    return folder


def source_digest(*folders: str) -> str:
    """Return a hash of the code in folders of the package ("data", "tasks/tagging").

    So edited code never reads what older code wrote.
    """
    package, digest = Path(__file__).parent.parent, hashlib.sha256()
    for folder in folders:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _unwritable(root: Path, error: OSError) -> InputError:
    return InputError(
        f"{root}: cannot write prepared data here ({error.strerror or error}); "
        "set TAGLOOP_CACHE to a folder that is writable and has room"
    )


def write_rows(path: Path, rows: Iterator[tuple], schema: pa.Schema) -> int:
    """Write rows as the Arrow stream that `Dataset.from_file` maps; return their number."""
    number = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            columns = zip(zip(*batch, strict=True), schema.types, strict=True)
            arrays = [pa.array(column, type=type_) for column, type_ in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            number += len(batch)
    return number


def stored_rows(path: Path) -> Iterator[tuple]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
