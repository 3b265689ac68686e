"""The scores of a run, by name as all_results.json has them, and by type."""

from pathlib import Path
from typing import Any


class Results(dict[str, Any]):
    """The content of all_results.json, and what belongs to it but does not stand in that file.

    Attributes:
        folder: the output folder of the run.
        by_type: for the parts "eval" and "test" of the run, for every type or class its scores by
            name. A part without types is missing.
    """

    def __init__(
        self,
        values: dict[str, Any],
        folder: Path,
        by_type: dict[str, dict[str, dict[str, float]]],
    ):
        super().__init__(values)
        self.folder, self.by_type = folder, by_type

    def __reduce__(self) -> tuple:
        return Results, (dict(self), self.folder, self.by_type)
