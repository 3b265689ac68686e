"""Which rows of a stored split a run uses."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np

from tagloop.data.storage.folds import DOCUMENT, divide, groups_of
from tagloop.errors import InputError
from tagloop.options.config import Config


class Selected(NamedTuple):
    """The rows that a run uses.

    Attributes:
        splits: per split, its rows, memory-mapped.
        fingerprints: per split, a hash of its rows.
        stored: per split, the split that its rows are stored in, and their numbers there. With
            --train_on_validation the added rows of the training data are not among them.
    """

    splits: dict[str, datasets.Dataset]
    fingerprints: dict[str, str]
    stored: dict[str, tuple[str, np.ndarray]]


def select(
    folder: Path,
    totals: dict[str, int],
    fingerprints: dict[str, str],
    options: Config,
    *,
    texts: Sequence[str],
) -> Selected:
    """Map the rows of a run that are stored in a folder as `<split>.arrow`.

    Args:
        totals: number of rows of every stored split.
        fingerprints: a hash of the rows of every stored split.
        texts: columns; rows are the same if these are, and the same rows stay in one fold.

    Raises:
        InputError: too few rows, or no validation data for --train_on_validation.
    """
    stored = select_rows(totals, options)
    if options.folds is not None and options.fold is not None and "train" in stored:
        source, rows = stored["train"]
        whole = datasets.Dataset.from_file(str(folder / f"{source}.arrow"))
        parts = divide(groups_of(whole, rows, texts), options.folds, seed=options.seed)
        is_out = parts == options.fold - 1  # These rows are the test data of the run.
        stored |= {"train": (source, rows[~is_out]), "test": (source, rows[is_out])}
    taken = {
        split: take_rows(folder / f"{source}.arrow", fingerprints[source], rows)
        for split, (source, rows) in stored.items()
    }
    if options.train_on_validation and "train" in taken:
        if "validation" not in taken:
            raise InputError(
                "--train_on_validation: the data has no validation split; leave the option out, as "
                "all rows are trained on then"
            )
        (train, first), (validation, second) = taken["train"], taken.pop("validation")
        del stored["validation"]
        both = hashlib.sha256((first + second).encode()).hexdigest()
        taken["train"] = datasets.concatenate_datasets([train, _behind(train, validation)]), both
    splits = {split: rows for split, (rows, _) in taken.items()}
    return Selected(splits, {split: digest for split, (_, digest) in taken.items()}, stored)


def _behind(train: datasets.Dataset, validation: datasets.Dataset) -> datasets.Dataset:
    """Validation data whose documents have other numbers than those of the training data."""
    if DOCUMENT not in train.column_names:
        return validation
    both = [data.with_format("numpy")[DOCUMENT] for data in (train, validation)]
    of_train, own = map(np.asarray, both)
    numbers = (own + of_train.max(initial=-1) + 1).astype(own.dtype)
    return validation.remove_columns(DOCUMENT).add_column(DOCUMENT, numbers)


def select_rows(totals: dict[str, int], options: Config) -> dict[str, tuple[str, np.ndarray]]:
    """Return (split it is stored in, row numbers in order) for every split of the run.

    Args:
        totals: number of rows of every stored split.

    Raises:
        InputError: too few rows for --validation_fraction or --validation_split_percentage.
    """
    rows = {split: (split, np.arange(total)) for split, total in totals.items()}
    percentage = options.validation_split_percentage
    share = options.validation_fraction or (percentage or 0) / 100
    if share and "train" in rows and "validation" not in rows:
        total = totals["train"]
        if total < 2 and options.validation_fraction:
            raise InputError("--validation_fraction: the training split has only one sentence")
        if total < 2:
            raise InputError(
                f"--validation_split_percentage {percentage}: the training split has only one "
                "row; give --validation_file, or 0 for a run without validation"
            )
        held_out = min(max(1, round(total * share)), total - 1)
        order = np.arange(total)
        if options.validation_fraction:
            order = np.random.default_rng(options.seed).permutation(total)
        rows["train"] = ("train", np.sort(order[held_out:]))
        rows["validation"] = ("train", np.sort(order[:held_out]))
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
