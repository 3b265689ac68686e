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
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from tagloop.config import Config
from tagloop.errors import InputError
from tagloop.files import fsync, read_json, write_json

BATCH = 1000  # rows
SIZES = "sizes.json"


def cache_root() -> Path:
    """Return `$TAGLOOP_CACHE`, else a folder beside the caches of `datasets`."""
    chosen = os.environ.get("TAGLOOP_CACHE")
    return Path(chosen) if chosen else Path(datasets.config.HF_DATASETS_CACHE) / "tagloop"


def build_once(kind: str, key: Mapping, build: Callable[[Path], None]) -> Path:
    """Return the folder of `key` (anything JSON can hold), built by the first process that asks.

    `build` fills a temporary folder, which is synced and gets its name only when `build` returns: a
    build that fails or is killed leaves none. A folder whose files have not the sizes they were
    written with (a full disk, a copy that broke off) is built again.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    root = cache_root()
    folder = root / f"{kind}-{digest}"
    if _is_complete(folder):
        return folder
    unfinished = root / f"tmp-{kind}-{digest}"
    lock = FileLock(root / "locks" / f"{kind}-{digest}.lock")
    try:
        (root / "locks").mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        if _is_complete(folder):  # another process built it while this one waited
            return folder
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a build that was killed
            if folder.is_dir():  # damaged; a process that has it open keeps its files
                shutil.rmtree(folder)
            unfinished.mkdir()
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            build(unfinished)
            _seal(unfinished)
            unfinished.rename(folder)
            fsync(root)
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
    """Put every file on the disk, and write down their sizes."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for name in sizes:
        fsync(folder / name)
    write_json(folder / SIZES, sizes)
    fsync(folder)


def _is_complete(folder: Path) -> bool:
    sizes = read_json(folder / SIZES)
    try:
        return bool(sizes) and all((folder / n).stat().st_size == sizes[n] for n in sizes)
    except OSError:
        return False


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


class ArrayFile:
    """A .npy file of one dimension that grows; what it holds in the end, np.save would write.

    with ArrayFile(path, np.int32) as file:
        file.append(values)
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike):
        self.dtype, self.length, self.file = np.dtype(dtype), 0, path.open("wb")
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Write values behind the others, in the file's dtype."""
        self.file.write(values.astype(self.dtype, copy=False).tobytes())
        self.length += len(values)

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *_: object) -> None:
        with self.file:
            self.file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        """The length is known last; numpy pads the header so that one of any length fits."""
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, facts)


def select_rows(totals: dict[str, int], options: Config) -> dict[str, tuple[str, np.ndarray]]:
    """Return (split it is stored in, row numbers in order) for every split of the run."""
    rows = {split: (split, np.arange(total)) for split, total in totals.items()}
    if options.validation_fraction and "train" in rows and "validation" not in rows:
        total = totals["train"]
        if total < 2:
            raise InputError("--validation_fraction: the training split has only one sentence")
        held_out = min(max(1, round(total * options.validation_fraction)), total - 1)
        shuffled = np.random.default_rng(options.seed).permutation(total)
        rows["train"] = ("train", np.sort(shuffled[held_out:]))
        rows["validation"] = ("train", np.sort(shuffled[:held_out]))
    limits = {
        "train": options.max_train_samples,
        "validation": options.max_eval_samples,
        "test": options.max_predict_samples,
        "predict": options.max_predict_samples,
    }
    return {split: (source, kept[: limits[split]]) for split, (source, kept) in rows.items()}


def take_rows(path: Path, fingerprint: str, rows: np.ndarray) -> tuple[datasets.Dataset, str]:
    """Map the chosen rows of a stored split; return them and their fingerprint."""
    dataset = datasets.Dataset.from_file(str(path))
    if len(rows) == len(dataset):
        return dataset, fingerprint
    digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
    return dataset.select(rows), hashlib.sha256((fingerprint + digest).encode()).hexdigest()
