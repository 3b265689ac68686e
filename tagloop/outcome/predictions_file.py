"""predictions.npz: the predictions of a run for one split, which its report reads.

The members are `split` and `fingerprint` (strings), and one array `value_NAME` for every output
that the task names, in the order of the rows of the split. An output with several values a row is
named `table_NAME`. numpy can read the file; nothing is pickled.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tagloop.files import replace_files
from tagloop.wording import first_line

PREDICTIONS_FILE = "predictions.npz"
OUTPUT = "value_"  # With this prefix an output cannot have the name of another member.
TABLE = "table_"  # The prefix of an output of two dimensions.
ROUNDING = 1e-3  # A softmax in float32 may be larger than 1 by rounding.
EPOCH = (1980, 1, 1, 0, 0, 0)  # All members have one date, so equal predictions are equal bytes.


class Predictions(NamedTuple):
    """The predictions of a run for one split.

    Attributes:
        split: "test" or "validation".
        fingerprint: the hash of the rows of this split.
        outputs: arrays by name, [num_values] in the order of the split. A tagged split has one
            value for every word, other splits have one value for every row. An array with several
            values for every row, [num_rows, num_values], has the name `table_NAME`.
    """

    split: str
    fingerprint: str
    outputs: dict[str, np.ndarray]

    def fit(self, name: str, *, number: int, num_labels: int) -> bool:
        """True if an output has ids of labels, and the output `probability` fits to it.

        Args:
            name: the name of the output.
            number: the number of words or rows of the split.
            num_labels: the number of labels of the model.
        """
        ids, shares = self.outputs.get(name), self.outputs.get("probability")
        return (
            ids is not None
            and shares is not None
            and len(ids) == len(shares) == number
            and ids.dtype.kind == "i"
            and bool(((ids >= 0) & (ids < num_labels)).all())
            and bool(((shares >= 0) & (shares <= 1 + ROUNDING)).all())
        )


def write_predictions_file(
    folder: Path, split: str, fingerprint: str, outputs: Mapping[str, np.ndarray]
) -> None:
    """Replace predictions.npz in a folder, as a whole. Equal predictions give equal bytes.

    Args:
        split: the split that was predicted.
        fingerprint: the hash of the rows of the split.
        outputs: numbers by name, [num_values] or [num_rows, num_values] in the order of the rows.

    Raises:
        OSError: the file cannot be written.
        ValueError: an array holds Python objects.
    """
    members = {"split": np.array(split), "fingerprint": np.array(fingerprint)}
    for name, values in outputs.items():
        members[(TABLE if values.ndim == 2 else OUTPUT) + name] = values

    def write(into: Path) -> None:
        with zipfile.ZipFile(into / PREDICTIONS_FILE, "w") as archive:
            for name, values in members.items():
                entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)

    replace_files(folder, write, name=PREDICTIONS_FILE)


def read_predictions_file(folder: Path) -> tuple[Predictions | None, str]:
    """Read the predictions that write_predictions_file wrote into a folder.

    Returns:
        The predictions and ""; or None and a reason: the file is missing or damaged, or another
        program wrote it.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None, f"{PREDICTIONS_FILE} is missing"
    try:
        with np.load(path, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        split, fingerprint = (_text(members.pop(name)) for name in ("split", "fingerprint"))
        outputs = {name.removeprefix(OUTPUT): values for name, values in members.items()}
        if not all(name.startswith((OUTPUT, TABLE)) for name in members):
            raise ValueError("another program wrote it")
        if not all(
            values.ndim == 1 + name.startswith(TABLE) and values.dtype.kind in "if"
            for name, values in outputs.items()
        ):
            raise ValueError("it holds something else than numbers in a row")
    except Exception as error:  # A damaged archive raises errors of many kinds.
        return None, f"{PREDICTIONS_FILE} cannot be read: {first_line(error)}"
    return Predictions(split, fingerprint, outputs), ""


def _text(member: np.ndarray) -> str:
    if member.dtype.kind != "U" or member.ndim:
        raise ValueError("another program wrote it")
    return str(member)
