"""Reads the texts of a run: the rows of a table, or the lines of a text file."""

from pathlib import Path

from tagloop.data.rows import Rows, load_rows
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts


def read_texts(config: Config) -> Rows:
    """The texts of every split, in the column `text`.

    Raises:
        InputError: the data cannot be read.
    """
    return load_rows(config, lambda *table: choose_columns(config, *table), build_sample_texts)


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str]:
    """The column of the texts: the one that the user named, else `text`, else the only one.

    Raises:
        InputError: the table has no such column, or several that may be the texts.
    """
    only = table.columns[0] if len(table.columns) == 1 else "text"
    column = config.text_column_name or ("text" if "text" in table.columns else only)
    if column not in table.columns and config.text_column_name is None:
        raise InputError(
            f"{split}: no column 'text' and several others: {table.with_examples()}; name that of "
            "the texts with --text_column_name"
        )
    if column not in table.columns:
        raise InputError(
            f"{split}: no column {column!r}; there are {', '.join(table.columns)}; give another "
            "--text_column_name"
        )
    return {"text": column}


def line_end(config: Config, split: str) -> str:
    """What follows every text of a split in a block: the end of a line of a text file, or nothing.

    Args:
        split: one of the splits of the run; those without a file of their own are parts of the
            training file.
    """
    file = getattr(config, f"{split}_file", None)
    if file is None and config.dataset_name is None:
        file = config.train_file
    is_text = file is not None and Path(file).suffix.lower() == ".txt"
    return "\n" if is_text and config.block_size and config.keep_linebreaks else ""
