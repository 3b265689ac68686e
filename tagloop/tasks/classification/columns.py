"""Finds the columns of a table that hold texts and labels."""

from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.options.config import Config

# The usual names of the columns of a text, or of a pair of texts; most are those of GLUE.
TEXTS = ("sentence1 sentence2", "premise hypothesis", "question sentence", "text", "sentence")


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str | None]:
    """The columns of text, its pair and the label: as the user named them, else by usual names.

    Returns:
        The column of the table for "text", "pair" and "label"; None if the table has none.

    Raises:
        InputError: the table has no text, or lacks a column that the user named.
    """
    usual = next((pair.split() for pair in TEXTS if {*pair.split()} <= {*table.columns}), [])
    text, pair = (*usual, None, None)[:2]
    if config.text_column_name:
        text, pair = config.text_column_name, None
    label = config.label_column_name or ("labels" if "labels" in table.columns else "label")
    if split == "predict" and label not in table.columns:
        label = None
    chosen = {"text": text, "pair": config.text_pair_column_name or pair, "label": label}
    for name, column in chosen.items():
        if column not in table.columns and (column or name == "text"):
            raise InputError(
                f"{split}: no column {column or 'text'!r}; there are {', '.join(table.columns)}; "
                "give --text_column_name, --text_pair_column_name or --label_column_name"
            )
    return chosen
