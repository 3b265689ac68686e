"""Divides the training rows into the parts of --folds. Pure, but for the reading of rows."""

from collections.abc import Sequence

import datasets
import numpy as np

from tagloop.errors import InputError

DOCUMENT = "document"  # The column of prepared words that numbers documents.


def groups_of(dataset: datasets.Dataset, rows: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """For each of these rows the number of its group; the rows of a group stay together.

    A group is a document. In data without several documents it is the rows with the same text:
    a model that has learned one of these has seen the others, too.

    Args:
        dataset: all stored rows of a split.
        rows: numbers of rows, int64 [num_rows].
        texts: the columns that make the text of a row; without any, every row is a group.

    Returns:
        int64 [num_rows], from 0 to the number of groups.
    """
    if DOCUMENT in dataset.column_names:
        documents = np.asarray(dataset.with_format("numpy")[DOCUMENT])[rows]
        numbers, groups = np.unique(documents, return_inverse=True)
        if len(numbers) > 1:
            return groups
    if not texts:
        return np.arange(len(rows))
    known: dict[str, int] = {}
    chosen = dataset.select(rows).select_columns([*texts])
    cells = (repr(row) for batch in chosen.iter(1000) for row in zip(*batch.values(), strict=True))
    return np.array([known.setdefault(cell, len(known)) for cell in cells], np.int64)


def divide(groups: np.ndarray, num_parts: int, *, seed: int) -> np.ndarray:
    """Deal groups of rows to parts of about the same number of rows.

    The groups are shuffled; then the largest group comes first, and each group goes to the part
    that has the fewest rows so far.

    Args:
        groups: int64 [num_rows], from 0 to the number of groups.

    Returns:
        The part of every row, int64 [num_rows], from 0 to num_parts.

    Raises:
        InputError: there are fewer groups than parts.

    >>> divide(np.array([0, 0, 1, 2]), 2, seed=1).tolist()
    [0, 0, 1, 1]
    """
    sizes = np.bincount(groups)
    if len(sizes) < num_parts:
        raise InputError(
            f"--folds {num_parts}: the training data has {len(sizes)} documents (or different "
            "texts), and every part needs one; give a smaller number"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of, filled = np.zeros(len(sizes), np.int64), np.zeros(num_parts, np.int64)
    for group in order:
        part = int(filled.argmin())
        part_of[group] = part
        filled[part] += sizes[group]
    return part_of[groups]
