"""Flat arrays on disk: made of a dataset batch by batch, on one process or several.

    dtypes = {"input_ids": np.int32, "offsets": np.int64}
    counts = write_arrays(folder, dataset, encoder, dtypes, offsets=["offsets"])
    arrays = map_arrays(folder, dtypes)

Memory does not grow with the dataset, and the bytes written do not depend on the number of
processes.
"""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tagloop.data.storage.arrow_files import BATCH
from tagloop.errors import RunStopped
from tagloop.terminal import slow_bar

BATCHES_AT_ONCE = 10  # of a process

Arrays = dict[str, np.ndarray]


class Encoder(Protocol):
    """Makes arrays of rows. It can be pickled, as other processes get a copy of it."""

    def encode(self, table: pa.Table) -> tuple[Arrays, dict[str, int]]:
        """The arrays of some rows, each of one dimension, and counts of what is worth a report.

        In place of offsets an array has the lengths of its pieces. With `neighbours`, the method
        gets the first row and the end of the rows to encode as two more arguments; the others of
        the table are their neighbours.
        """
        ...


def write_arrays(
    folder: Path,
    dataset: datasets.Dataset,
    encoder: Encoder,
    dtypes: Mapping[str, npt.DTypeLike],
    *,
    offsets: Iterable[str],
    num_workers: int = 1,
    worth_processes: int = 0,
    rows_at_once: int | None = None,
    neighbours: int = 0,
) -> dict[str, int]:
    """Encode the rows of a dataset; write each array as `<name>.npy`.

    Args:
        dtypes: of every array, by name.
        offsets: names of the arrays that hold offsets: they begin with 0, and have one value more
            than there are pieces.
        num_workers: processes that encode.
        worth_processes: rows; with fewer, one process does all.
        rows_at_once: rows that are in memory at once; None: BATCH.
        neighbours: so many rows on each side of these the encoder sees, too.

    Returns:
        The encoder's counts, summed.

    Raises:
        RunStopped: a process was killed, most likely for want of memory.
    """
    if len(dataset) < worth_processes:
        num_workers = 1
    counts: Counter[str] = Counter()
    ends = dict.fromkeys(offsets, 0)
    with ExitStack() as stack:
        bar = stack.enter_context(slow_bar(len(dataset), "making sub-tokens"))
        files = {
            name: stack.enter_context(ArrayFile(folder / f"{name}.npy", dtype))
            for name, dtype in dtypes.items()
        }
        for name in ends:
            files[name].append(np.zeros(1))
        rows = dataset.with_format("arrow")
        for arrays, counted in _encoded(
            encoder, rows, num_workers, rows_at_once or BATCH, neighbours
        ):
            for name, values in arrays.items():
                if name in ends:
                    values = ends[name] + values.cumsum(dtype=np.int64)
                    ends[name] = values[-1] if len(values) else ends[name]
                files[name].append(values)
            counts.update(counted)
            bar.update(min(rows_at_once or BATCH, len(dataset) - bar.n))
    return dict(counts)


def map_arrays(folder: Path, names: Iterable[str]) -> Arrays:
    """Arrays that `write_arrays` wrote, memory-mapped."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


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
        """Write the header. numpy pads it, so that the final length can be filled in at the end."""
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, facts)


# --- processes ---


def _encoded(
    encoder: Encoder, dataset: datasets.Dataset, num_workers: int, size: int, neighbours: int
) -> Iterator[tuple[Arrays, dict[str, int]]]:
    """What the encoder makes of every batch, in order."""
    work = [(start, start + size) for start in range(0, len(dataset), size)]
    if num_workers == 1:
        yield from (_encode_rows(encoder, dataset, *rows, neighbours) for rows in work)
        return
    try:
        with ProcessPoolExecutor(
            num_workers,
            # A fork would copy locks that the threads of the libraries may hold.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(encoder, dataset, neighbours),
        ) as pool:
            yield from pool.map(_encode_batch, work, chunksize=BATCHES_AT_ONCE)
    except BrokenProcessPool as error:
        raise RunStopped(
            "a process that prepares data was killed, maybe for want of memory; give a smaller "
            "--preprocessing_num_workers"
        ) from error


def _encode_rows(
    encoder: Encoder, dataset: datasets.Dataset, start: int, end: int, neighbours: int
) -> tuple[Arrays, dict[str, int]]:
    if not neighbours:
        return encoder.encode(dataset[start:end])
    first, end = max(start - neighbours, 0), min(end, len(dataset))
    encode: Callable[..., tuple[Arrays, dict[str, int]]] = encoder.encode
    return encode(dataset[first : end + neighbours], start - first, end - first)


def _start_worker(encoder: Encoder, dataset: datasets.Dataset, neighbours: int) -> None:
    global _work
    _work = encoder, dataset, neighbours
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _encode_batch(rows: tuple[int, int]) -> tuple[Arrays, dict[str, int]]:
    encoder, dataset, neighbours = _work
    return _encode_rows(encoder, dataset, *rows, neighbours)
