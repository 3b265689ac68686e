"""Which rows of a stored split a run uses."""

import hashlib
from pathlib import Path

import datasets
import numpy as np

from tagloop.errors import InputError
from tagloop.options.config import Config


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
