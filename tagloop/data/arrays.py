"""Rows as Arrow streams and flat arrays as .npy files, written piece by piece."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BATCH = 1000  # rows


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
