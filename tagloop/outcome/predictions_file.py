"""predictions.npz: what the run predicted for one split, kept for its report.

Members: `split` and `fingerprint` (strings), and one array `value_NAME` for every output that the
task names, in the order of the split's rows. numpy alone reads it, and nothing in it is pickled.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tagloop.files import replace_files

PREDICTIONS_FILE = "predictions.npz"
OUTPUT = "value_"  # before the names that the task chose: none is taken for a member of ours
ROUNDING = 1e-3  # a softmax in float32 may end above 1
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every member: equal predictions are equal bytes


class Predictions(NamedTuple):
    """What a run predicted for one split.

    Attributes:
        split: "test" or "validation".
        fingerprint: of the rows that were predicted, as the data rooms compute it.
        outputs: by name, an array that holds every row of the split in order; a tagged split has
            one value for every word.
    """

    split: str
    fingerprint: str
    outputs: dict[str, np.ndarray]

    def fit(self, name: str, *, number: int, num_labels: int) -> bool:
        """Whether an output holds ids of labels, each with a `probability`.

        Args:
            number: of words or rows that the split has.
            num_labels: of the model.
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
        split: whose rows were predicted.
        fingerprint: of these rows.
        outputs: by name, numbers [num_values] in the order of the rows.

    Raises:
        OSError: the file cannot be written.
        ValueError: an array holds Python objects.
    """
    members = {"split": np.array(split), "fingerprint": np.array(fingerprint)}
    members |= {OUTPUT + name: values for name, values in outputs.items()}

    def write(into: Path) -> None:
        with zipfile.ZipFile(into / PREDICTIONS_FILE, "w") as archive:
            for name, values in members.items():
                entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)

    replace_files(folder, write, name=PREDICTIONS_FILE)


def read_predictions_file(folder: Path) -> tuple[Predictions | None, str]:
    """The predictions that write_predictions_file left in a folder.

    Returns:
        The predictions and "", or None and why there are none: no file is there, it is damaged,
        or another program wrote it.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None, f"{PREDICTIONS_FILE} is missing"
    try:
        with np.load(path, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        split, fingerprint = (_text(members.pop(name)) for name in ("split", "fingerprint"))
        outputs = {name.removeprefix(OUTPUT): values for name, values in members.items()}
        if not all(name.startswith(OUTPUT) for name in members):
            raise ValueError("another program wrote it")
        if not all(values.ndim == 1 and values.dtype.kind in "if" for values in outputs.values()):
            raise ValueError("it holds something else than numbers in a row")
    except Exception as error:  # a damaged archive raises errors of many kinds
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        return None, f"{PREDICTIONS_FILE} cannot be read: {reason}"
    return Predictions(split, fingerprint, outputs), ""


def _text(member: np.ndarray) -> str:
    if member.dtype.kind != "U" or member.ndim:
        raise ValueError("another program wrote it")
    return str(member)
