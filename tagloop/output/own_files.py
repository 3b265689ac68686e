"""Which names in an output folder are those of files that a run writes."""

import re

from tagloop.checkpoints.checkpoint import NAME
from tagloop.models.saving import is_model_file
from tagloop.output.lock import LOCK

CARD = "README.md"
RECORD = "run.json"
PAGES = ("metrics.jsonl", "report.html")
PREDICTIONS = "predictions.npz"
RESULTS = tuple(f"{part}_results.json" for part in ("all", "train", "eval", "test"))


def is_own_file(name: str, prediction_files: tuple[str, ...]) -> bool:
    """True for the name of a file that a run writes, but for the card, which may be the user's.

    Args:
        prediction_files: those of the task.
    """
    return name in (RECORD, PREDICTIONS, *PAGES, *RESULTS, *prediction_files) or is_model_file(name)


def is_leftover(name: str, prediction_files: tuple[str, ...]) -> bool:
    """True for a name that only an interrupted write or a killed run leaves."""
    rest = re.sub(r"^tmp-(\d+-|replaced-|pruned-)?", "", name)
    ours = is_own_file(rest, prediction_files) or rest in (CARD, "model") or NAME.fullmatch(rest)
    return name == LOCK or (name.startswith("tmp-") and bool(ours))
