"""What is wrong with a set of labels."""

from collections import defaultdict
from collections.abc import Iterable


def labels_alike(labels: dict[str, Iterable[str]]) -> list[str]:
    """A remark on every group of labels, of any split, that are most likely meant as one."""
    spellings = defaultdict(set)
    for label in set().union(*labels.values()):
        spellings[label.strip().casefold()].add(label)
    return [
        "labels that differ only in case or space: "
        + ", ".join(map(repr, sorted(alike)))
        + "; is that meant?"
        for alike in spellings.values()
        if len(alike) > 1
    ]
