"""The facts about a run in the manifest of a checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

from tagloop.checkpoints.checkpoint import (
    MANIFEST,
    MOMENTS,
    NAME,
    OLD_OPTIMIZER,
    OPTIMIZER,
    DamagedCheckpoint,
    files_of,
    verify,
)
from tagloop.checkpoints.identity import check_identity
from tagloop.models.saving import WEIGHTS
from tagloop.records import known_fields, read_record
from tagloop.training.progress import TrainState, upgrade_state

CONTENT = (WEIGHTS, MOMENTS, OPTIMIZER)


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts about a run in a manifest. The names of the fields are keys of the manifest.

    Attributes:
        step: the number of updates taken.
        state: the progress of the training.
        global_batch_size: examples that one update learns from, over all processes.
        identity: the result of build_identity; a resumed run must have an equal identity.
        vocabulary_shrink: the factor by which weight decay has multiplied the waiting rows of the
            input embedding, see `Vocabulary.shrink`.
        average_shrink: the average of this factor with --ema_decay; None without.
    """

    step: int
    state: TrainState
    global_batch_size: int
    identity: dict[str, Any]
    vocabulary_shrink: float = 1.0
    average_shrink: float | None = None


def read_facts(folder: Path) -> Facts:
    """Read the facts in the manifest of a checkpoint, after all of its files were verified.

    Raises:
        DamagedCheckpoint: the checkpoint is damaged; the message says which part.
    """
    manifest = verify(folder)
    files = manifest["files"]
    for file in (WEIGHTS, OLD_OPTIMIZER) if OLD_OPTIMIZER in files else CONTENT:
        files_of(file, files)
    return parse_facts(manifest)


def parse_facts(manifest: dict) -> Facts:
    """Take the facts from a manifest's values. Raises DamagedCheckpoint if they are damaged."""
    try:
        if isinstance(manifest.get("state"), dict):
            manifest = manifest | {"state": upgrade_state(manifest["state"])}
        facts = read_record(known_fields(manifest, Facts), Facts)
        check_identity(facts.identity)
    except (ValueError, OverflowError, RecursionError) as error:
        raise DamagedCheckpoint(f"{MANIFEST} is damaged: {error}") from None
    if facts.state.step != facts.step or facts.global_batch_size < 1:
        raise DamagedCheckpoint(f"{MANIFEST} contradicts itself")
    best = facts.state.best_checkpoint
    if best is not None and not NAME.fullmatch(best):  # The name must not be a path.
        raise DamagedCheckpoint(f"{MANIFEST}: best_checkpoint {best!r} is no checkpoint's name")
    return facts
