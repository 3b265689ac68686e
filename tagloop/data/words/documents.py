"""Which rows belong to one document: columns that name documents, and their numbers."""

import re
from collections.abc import Mapping
from typing import Any

from tagloop.data.row import Found

DOCUMENTS = {"doc", "document", "article", "file", "filename", "abstract", "textid", "noteid"}
DOCUMENTS = {name + end for name in DOCUMENTS for end in ("", "id", "no", "number", "idx", "name")}


def names_documents(column: str) -> bool:
    """Whether a column, by its name, says which document a row belongs to.

    >>> names_documents("doc_id"), names_documents("word")
    (True, False)
    """
    return re.sub(r"[^a-z]", "", column.casefold()) in DOCUMENTS


class DocumentCounter:
    """Numbers the documents of rows whose columns may differ; a new one begins with a new key.

    Args:
        column: that names the document of a row; None: the first with a usual name that a row has.
        found: what was read; its `documents` say whether any row named one.
    """

    def __init__(self, column: str | None, found: Found):
        self.column, self.found = column, found
        self.number, self.before = -1, None

    def number_of(self, row: Mapping[str, Any], text: Any) -> int:
        """The number of the row's document, counted from 0.

        Args:
            text: the cell with the text or the words, which names no document.
        """
        others = (name for name in row if row[name] is not text)
        self.column = self.column or next(filter(names_documents, others), None)
        if self.found.documents is None and self.column not in row:
            self.number = 0  # No row named a document yet.
            return self.number
        self.found.documents = "a column"
        key = document_key(row, self.column)
        if key != self.before:
            self.number, self.before = self.number + 1, key
        return self.number


def document_key(row: Mapping[str, Any], column: str | None) -> Any:
    """What a row says of its document: neighbours with equal keys are in one document.

    Args:
        column: that names the document of a row; None: there is none.

    Returns:
        None without a column. An empty cell gives a key that equals no other one.
    """
    if column is None:
        return None
    cell = row.get(column)
    return object() if cell in (None, "") else cell
