"""The columns of a table of questions, and the cells of its rows."""

from dataclasses import dataclass

from tagloop.data.questions import UNKNOWN_PLACE, nearest_place, parse_answers, stands_there
from tagloop.data.rows import cell_text
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.wording import shown

NAMES = ("question", "context", "answers")


def choose_columns(table: Table, split: str) -> dict[str, str | None]:
    """The columns of a table of questions.

    They are called question, context and answers. If a table has none of these names, they are its
    first three columns, in this order. A test split needs no answers.

    Returns:
        The column of the table for "id", "question", "context" and "answers"; None for a column
        that the table does not have.

    Raises:
        InputError: the table has no questions or no contexts, or the training data no answers.
    """
    chosen = {name: name if name in table.columns else None for name in NAMES}
    if not any(chosen.values()):
        chosen = dict(zip(NAMES, [*table.columns[:3], None, None, None], strict=False))
    if split == "predict":  # Its answers would not be looked at.
        chosen["answers"] = None
    needed = NAMES if split in ("train", "validation") else NAMES[:2]
    for name in needed:
        if chosen[name] is None:
            raise InputError(
                f"{split}: no column {name!r}; there are {', '.join(table.columns)}; name the "
                "columns id, question, context and answers"
            )
    return {"id": "id" if "id" in table.columns else None} | chosen


@dataclass(frozen=True)
class QuestionReader:
    """Reads the cells of a row: id, question, context, and the answers as JSON.

    Attributes:
        misaligned: what becomes of an answer that does not stand at its place: "error", "drop" or
            "nearest".
    """

    misaligned: str

    def __call__(self, row: dict, chosen: dict[str, str | None], place: str) -> list[str | None]:
        """The cells of a row, in the order of `chosen`.

        A dropped answer has UNKNOWN_PLACE.

        Raises:
            InputError: the answers cannot be read, or the first one does not stand at its place.
        """
        cells = {
            name: None if name == "answers" else cell_text(row, column, place)
            for name, column in chosen.items()
        }
        column = chosen["answers"]
        gold = None if column is None else parse_answers(row.get(column), place)
        if gold is None:
            return list(cells.values())
        context, starts = cells["context"] or "", list(gold.starts)
        for number, (text, start) in enumerate(zip(gold.texts, starts, strict=True)):
            if text.strip() and not stands_there(context, text, start):
                if self.misaligned == "error" and number == 0:  # The others are only scored.
                    raise InputError(
                        f"{place}: {misplaced(context, text, start)}; correct it, or give "
                        "--misaligned nearest (takes the nearest place that has it) or --misaligned"
                        " drop (scores it, but learns nothing from it); --check_data lists them all"
                    )
                is_sought = self.misaligned == "nearest"
                starts[number] = nearest_place(context, text, start) if is_sought else UNKNOWN_PLACE
        cells["answers"] = gold._replace(starts=starts).as_json()
        return list(cells.values())


def misplaced(context: str, text: str, start: int) -> str:
    """What to say of an answer that does not stand at its place."""
    if start == UNKNOWN_PLACE:
        return f"the answer {shown(text)} has no answer_start"
    there = context[max(start, 0) : max(start, 0) + max(len(text), 1)]
    return (
        f"the answer {shown(text)} does not stand at character {start:,} of its context, where "
        f"{shown(there)} stands"
    )
