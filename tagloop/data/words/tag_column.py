"""Which column of a column file holds the tags."""

import re

from tagloop.data.row import Choices
from tagloop.data.words.column_layout import CONLLU_COLUMNS, TAG_NAMES, FirstLines, is_index
from tagloop.data.words.schemes import is_span_tag
from tagloop.errors import InputError

TELLING = 20  # Among so many lines the tag of the first line is usually there again.


class TagColumn:
    """Finds the column with the tags of a column file.

    Args:
        first: what the first lines show.
        text: the column with the words.
        tagged: there must be one.
        width_before: number of columns of the tagged file that was read before.
    """

    def __init__(
        self,
        first: FirstLines,
        choices: Choices,
        text: int,
        *,
        tagged: bool,
        width_before: int | None,
    ):
        self.first, self.choices, self.kind = first, choices, choices.kind
        self.text, self.tagged, self.width_before = text, tagged, width_before
        self.notes: list[str] = []  # for the user

    def find(self) -> int | None:
        """The index of the column; None: there is none, and none is needed.

        Raises:
            InputError: there is none, or it is not clear which one it is.
        """
        first, chosen = self.first, self.choices.label_column
        if not self.tagged and not self._may_have_tags():
            return None
        if first.conllu and chosen is None:
            return self._of_conllu()
        if chosen is not None:
            return first.column(chosen, "label")
        named = first.named([*self.kind.column_names, *TAG_NAMES])
        if named is not None and named != self.text:
            return named
        label = self._by_order()
        if label is not None and self.tagged:
            self._refuse_header(label)
        return label

    def _refuse_header(self, label: int) -> None:
        """Raise InputError if the first line names columns in words that nobody could know."""
        cells = [row[label].strip(" ") for row in self.first.rows]
        likely = [is_span_tag(cell) or not re.search("[a-z]", cell) for cell in cells]
        if len(cells) > TELLING and not likely[0] and all(likely[1:]):
            raise InputError(
                f"{self.first.path}: the first line ({' '.join(self.first.rows[0])!r}) looks like "
                "the names of the columns, for no other tag is like its last cell; delete that line"
            )

    def _by_order(self) -> int | None:
        first = self.first
        beside = first.width - first.counts_words  # columns but the numbers of the words
        if beside == 1:
            return self._of_words_alone()
        if self.kind.conll_column is not None and beside > 2:
            return self._of_conll(beside)
        return self._last()

    def _may_have_tags(self) -> bool:
        """Whether an untagged file can have tags where the tagged splits have theirs."""
        chosen, width = self.choices.label_column, self.first.width
        if width == 1 or width != (self.width_before or width):
            return False
        return self.first.conllu or not chosen or is_index(chosen)

    def _of_conllu(self) -> int | None:
        if self.kind.conllu_column is not None:
            return CONLLU_COLUMNS.index(self.kind.conllu_column)
        if not self.tagged:
            return None
        raise InputError(
            f"{self.first.path}: CoNLL-U has no column for the task {self.kind.name}; "
            f"give --label_column_name ({', '.join(CONLLU_COLUMNS)})"
        )

    def _of_words_alone(self) -> None:
        if not self.tagged:
            return
        columns = "word numbers and words" if self.first.counts_words else "one column"
        raise InputError(
            f"{self.first.path}: {columns} only, no tags for the task {self.kind.name}; "
            "write word and tag, or pass untagged text as --predict_file"
        )

    def _of_conll(self, beside: int) -> int:
        """In files laid out as CoNLL-2000 and CoNLL-2003, which have at most four columns."""
        if beside > 4:
            raise InputError(
                f"{self.first.path}: {self.first.width} columns, which holds {self.kind.name}? "
                f"give --label_column_name as a number, 0 to {self.first.width - 1}"
            )
        return self.first.counts_words + 1 + self.kind.conll_column

    def _last(self) -> int | None:
        """The last column, or that of the outer layer of nested spans."""
        first = self.first
        label = first.width - 1
        if self.kind.conll_column is None:
            label = _outer_layer(first.rows, first.width, self.text, first.counts_words)
        if not self.tagged and self.width_before is None and self.kind.has_spans:
            # Nothing has shown where tags stand, and words need none.
            return label if _span_types(first.rows, label) is not None else None
        if label < first.width - 1:
            self.notes.append(
                f"columns {label} to {first.width - 1} hold layers of tags; the outer one is "
                f"taken, column {label} (--label_column_name takes another)"
            )
        return label


def _outer_layer(rows: list[list[str]], width: int, text: int, counts_words: bool) -> int:
    """The last column, or the first of those before it that hold spans of the same types.

    Nested names (GermEval) stand in several columns, the outer ones first. The chunks of
    CoNLL-2003 are spans of other types.
    """
    outer, types = width - 1, _span_types(rows, width - 1)
    while types is not None and outer - 1 > text:
        further = _span_types(rows, outer - 1)
        if further is None or not (further & types or (counts_words and not types)):
            break
        outer, types = outer - 1, types | further
    return outer


def _span_types(rows: list[list[str]], column: int) -> set[str] | None:
    """The types of the span tags in a column, None if it holds something else."""
    tags = {row[column].strip(" ") for row in rows} - {"O"}
    return {tag[2:] for tag in tags} if all(map(is_span_tag, tags)) else None
