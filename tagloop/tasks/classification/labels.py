"""What the cells of a label column mean: classes, numbers, or nothing."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tagloop.data.rows import Rows, number_of, same_number
from tagloop.errors import InputError
from tagloop.models.heads import checkpoint_labels
from tagloop.options.config import Config

LARGEST = 3.4028234e38  # the largest number of float32, in which numbers are learned
# How pandas and others write that there is no value. Among words these are words like any other.
NO_VALUE = ("nan", "na", "n/a", "<na>", "none", "null")


class LabelColumn(NamedTuple):
    """The meaning of a label column.

    Attributes:
        classes: in their order; empty if the labels are numbers.
        missing: cells that say that a row has no label, besides empty ones.
    """

    classes: list[str]
    missing: frozenset[str]


def labels_of_cells(cells: Mapping[str, set[str]]) -> LabelColumn | None:
    """The meaning of the cells of a label column; None if no row has a label.

    Whole numbers are classes, each of them once however it is spelt (1, 1.0), as the training data
    spells it; other numbers make a regression. Among numbers, what stands for no
    value ("nan") is no label; nor is -1 of another split where the training data has no -1, as in
    GLUE's test files.

    Args:
        cells: the cells of every split, without empty ones. Those of the predict split have no
            part in it: what is predicted shapes nothing.

    Raises:
        InputError: a number is infinite, or has a comma in it.
    """
    learned = {split: found for split, found in cells.items() if split != "predict"}
    numbers: dict[str, int | float] = {}
    words = set()
    for cell in set().union(*learned.values()):
        if (number := number_of(cell)) is None:
            words.add(cell)
        else:
            numbers[cell] = number
    missing = {cell for cell in words if cell.lower() in NO_VALUE}
    missing |= {cell for cell, number in numbers.items() if math.isnan(number)}
    _refuse_commas(learned, words - missing)
    if words - missing:
        return LabelColumn(sorted(words | numbers.keys()), frozenset())
    for split, found in learned.items():
        if infinite := [cell for cell in found if math.isinf(numbers.get(cell, 0))]:
            raise InputError(
                f"{split}: the label {infinite[0]} is no finite number; mend its row, or take it "
                "out"
            )
    numbers = {cell: number for cell, number in numbers.items() if cell not in missing}
    are_classes = all(number == math.floor(number) for number in numbers.values())
    for split, found in learned.items():
        large = [cell for cell in found if abs(numbers.get(cell, 0)) > LARGEST]
        if large and not are_classes:
            raise InputError(
                f"{split}: the label {large[0]} is larger than a number of 32 bits can be; divide "
                "the labels of all rows by the same number"
            )
    trained = learned.get("train", set())
    if are_classes and "train" in learned and -1 not in map(numbers.get, trained):
        missing |= {cell for cell, number in numbers.items() if number == -1}
    spelt = sorted(
        numbers.keys() - missing, key=lambda cell: (cell not in trained, len(cell), cell)
    )
    classes = sorted(
        {numbers[cell]: cell for cell in reversed(spelt)}.values(), key=lambda cell: numbers[cell]
    )
    if not classes:
        return None
    return LabelColumn(classes if are_classes else [], frozenset(missing))


def _refuse_commas(cells: Mapping[str, set[str]], words: set[str]) -> None:
    """Raise InputError if all words are numbers with a comma in them: as classes they say nothing.

    Args:
        words: the cells that are neither numbers nor empty.
    """
    if words and all(re.fullmatch(r"[+-]?[0-9]+(,[0-9]+)+", word) for word in words):
        split, first = min((split, word) for split, of in cells.items() for word in of & words)
        raise InputError(
            f"{split}: the label {first!r} has a comma in it. Of a number write "
            f"{first.replace(',', '.', 1)!r}; several classes of one text cannot be learned"
        )


def spellings(cells: Iterable[str], classes: Sequence[str]) -> list[str]:
    """A remark on every cell that is a class in another spelling.

    >>> spellings(["0", "1", "1.0"], ["0", "1"])
    ["the label '1.0' is the class '1'"]
    """
    named = {cell: same_number(cell, classes) for cell in cells if cell not in classes}
    return [
        f"the label {cell!r} is the class {name!r}" for cell, name in sorted(named.items()) if name
    ]


def labels_of_rows(rows: Rows) -> LabelColumn | None:
    """The same of the rows of a run; a ClassLabel column names its classes itself."""
    if names := rows.class_names.get("label"):
        return LabelColumn(names, frozenset())
    return labels_of_cells(
        {
            split: {rows.class_of(cell, "label") for cell in dataset.unique("label")} - {None}
            for split, dataset in rows.whole.items()
        }
    )


def choose_classes(config: Config, found: LabelColumn | None) -> list[str]:
    """The classes of a run, before the head of a checkpoint has its say; empty for a regression.

    A model that is only scored or applied knows them, whatever the data has.

    Args:
        found: in the data.

    Raises:
        InputError: there is no label to learn from, or the labels cannot be those of the model.
    """
    if config.do_train or not config.model_name_or_path:
        if found is None:
            raise InputError("no row has a label; name its column with --label_column_name")
        return found.classes
    named = checkpoint_labels(config)
    if found is None:
        return named if len(named) != 1 else []
    if len(named) == 1:
        _require_numbers(config, found)
        return []
    if not found.classes:
        raise InputError(
            f"{config.model_name_or_path}: predicts {len(named)} classes, but the labels of the "
            "data are numbers; see --label_column_name"
        )
    return named if are_numbered(named, found.classes) else found.classes


def as_named(config: Config, found: LabelColumn | None) -> LabelColumn | None:
    """The classes of the data, as the model of a checkpoint spells them: 1 for 1.0."""
    if found is None or not found.classes or not config.model_name_or_path:
        return found
    named = checkpoint_labels(config)
    return found._replace(
        classes=[
            name if name in named else same_number(name, named) or name for name in found.classes
        ]
    )


def are_numbered(named: list[str], classes: list[str]) -> bool:
    """Whether a model calls its classes LABEL_0, LABEL_1, ..., and the data 0, 1, ..."""
    numbers = [str(number) for number in range(len(named))]
    return named == [f"LABEL_{number}" for number in numbers] and all(
        same_number(name, numbers) for name in classes
    )


def _require_numbers(config: Config, found: LabelColumn) -> None:
    try:
        for name in found.classes:
            float(name)
    except ValueError:
        raise InputError(
            f"{config.model_name_or_path}: predicts a number, but the labels of the data are "
            f"words ({found.classes[0]}); see --label_column_name"
        ) from None
