"""The columns of a table of texts and summaries."""

from tagloop.data.rows import Rows, load_rows
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.sample.bulletins import build_sample_bulletins

# The usual names of a text and its summary: those of the data sets that transformers' scripts know.
USUAL = (
    ("text", "summary"),
    ("document", "summary"),
    ("article", "highlights"),
    ("dialogue", "summary"),
    ("article", "summary"),
    ("body", "summary"),
    ("description", "abstract"),
    ("article", "abstract"),
    ("extract_text", "summary_text"),
    ("review_body", "review_title"),
    ("news_body", "news_title"),
)
WANTED = {"source": "texts", "target": "summaries"}


def read_pairs(config: Config) -> Rows:
    """The pairs of every split, in the columns `source` and `target`.

    Raises:
        InputError: the data cannot be read.
    """
    return load_rows(config, lambda *table: choose_columns(config, *table), build_sample_bulletins)


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str | None]:
    """The columns that the user named, else those of usual names, else the only two.

    Returns:
        The column of the table for "source" and "target". The target is None if the table has no
        summaries; only a split to predict may lack them.

    Raises:
        InputError: the table has no such columns, or several that may be meant.
    """
    there = {*table.columns}
    usual = next((pair for pair in USUAL if {*pair} <= there), None)
    if usual is None and split == "predict":  # It may have the texts of a usual pair alone.
        usual = next((pair for pair in USUAL if pair[0] in there), None)
    names = (config.text_column_name, config.summary_column)
    is_clear = len(table.columns) <= (1 if split == "predict" else 2)
    if not (usual or is_clear or all(names) or (names[0] and split == "predict")):
        raise InputError(
            f"{split}: no columns of usual names, and several others: {table.with_examples()}; "
            "name those of the texts and the summaries with --text_column_name and --summary_column"
        )
    source, target = usual or (*table.columns, None, None)[:2]
    source = config.text_column_name or source
    target = config.summary_column or target
    if target == source:  # The user named one column, and the other one of two is meant.
        others = [name for name in table.columns if name != source]
        other = others[0] if len(others) == 1 and not all(names) else None
        source, target = (other, target) if config.summary_column else (source, other)
    if split == "predict" and target not in there:
        target = None
    chosen = {"source": source, "target": target}
    for name, column in chosen.items():
        if column not in there and not (name == "target" and split == "predict"):
            wanted = f"of the {WANTED[name]}" if column is None else repr(column)
            raise InputError(
                f"{split}: no column {wanted}; there are {', '.join(table.columns)}; give "
                "--text_column_name and --summary_column"
            )
    return chosen


def is_pair(source: str | None, target: str | None) -> bool:
    """True if there is a text and a summary; any other row is neither learned nor scored."""
    return bool((source or "").strip()) and bool((target or "").strip())
