"""Rows in Arrow streams, written piece by piece and memory-mapped by `datasets`."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

BATCH = 1000  # rows that are in memory at once
MOST_CHARACTERS = 1 << 26  # of their texts, about; Arrow numbers the bytes of a batch with 31 bits


def write_rows(path: Path, rows: Iterator[tuple], schema: pa.Schema) -> int:
    """Write rows as the Arrow stream that `Dataset.from_file` maps; return their number."""
    number = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in _batches(rows):
            columns = zip(zip(*batch, strict=True), schema.types, strict=True)
            arrays = [pa.array(column, type=type_) for column, type_ in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            number += len(batch)
    return number


def _batches(rows: Iterator[tuple]) -> Iterator[list[tuple]]:
    """The rows in lists of BATCH, or of fewer rows if their texts are long."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += sum(len(cell) for cell in row if isinstance(cell, str))
        if len(batch) == BATCH or size > MOST_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def stored_rows(path: Path) -> Iterator[tuple]:
    """Yield the rows that `write_rows` wrote."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
