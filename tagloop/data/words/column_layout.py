"""How a file of columns (CoNLL, CoNLL-U) is laid out, told from its first lines."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tagloop.data.lines import is_blank
from tagloop.data.row import DOCUMENT_START, Choices
from tagloop.data.words.schemes import is_span_tag
from tagloop.errors import InputError
from tagloop.wording import count

CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos"]
CONLLU_COLUMNS += ["feats", "head", "deprel", "deps", "misc"]
MAY_BE_EMPTY = ("feats", "deps", "misc")  # here "_" is a value: the word has no features
WORD_A_LINE = "write one word a line, a blank line after each sentence"


@dataclass(frozen=True)
class ColumnLayout:
    """How the lines of a column file are read. Columns are counted from 0.

    Attributes:
        conllu: the file is CoNLL-U.
        tab: one tab separates the columns; else spaces do.
        width: number of columns.
        text: the column with the words.
        label: the column with the tags; None: there is none.
        counts_words: the first column numbers the words of each sentence.
        no_tag: the cell of a word without a gold tag, where the format has one.
    """

    conllu: bool
    tab: bool
    width: int
    text: int
    label: int | None
    counts_words: bool
    no_tag: str | None

    def columns_of(self, line: str, place: str, in_sentence: bool) -> list[str] | None:
        """The columns of a word, None for a line that holds no word.

        Raises:
            InputError: the line has another number of columns; the message begins with `place`.
        """
        columns = split_line(line, self.tab)
        if line.startswith("#") and (
            self.conllu or self.counts_words or self._is_comment(line, columns, in_sentence)
        ):
            return None
        while len(columns) > self.width and not columns[-1]:
            columns.pop()  # a tab too many at the end of the line
        if len(columns) != self.width:
            expected = f"the lines before have {self.width}"
            remedy = WORD_A_LINE if self.width == 1 else "separate columns by one tab or by spaces"
            if self.conllu:
                expected = "CoNLL-U has 10"
            raise InputError(f"{place}: {count(len(columns), 'column')}, but {expected}; {remedy}")
        if self.conllu and not columns[0].isdecimal():
            if re.fullmatch(r"[0-9]+[-.][0-9]+", columns[0]):
                return None  # a range stands for the words that follow it; an empty node is no text
            raise InputError(f"{place}: {columns[0]!r} is no word number; count words 1, 2, 3")
        return columns

    def _is_comment(self, line: str, columns: list[str], in_sentence: bool) -> bool:
        """Tell a comment from a token that starts with "#": a token has all the columns."""
        if columns[0] == "#" and columns[2:3] == ["="]:  # "# sent_id = 7", in a file with spaces
            return True
        return len(columns) != self.width and (line.startswith("# ") or not in_sentence)


def tabs_separate(words: list[str]) -> bool:
    """Return whether tabs separate the columns: at least half of the lines have one."""
    return 2 * sum("\t" in line for line in words) >= len(words)


def split_line(line: str, tab: bool) -> list[str]:
    """The columns of a line; where spaces separate them, a tab here and there does so, too."""
    if tab:
        return line.split("\t")
    parts = line.replace("\t", " ").split(" ")
    return [part for part in parts if part] if "" in parts else parts


def layout_of_words(
    lines: list[str], path: Path, column: str | None, *, conllu: bool
) -> ColumnLayout | None:
    """How a file of words to tag is laid out, whatever other columns it has; None: no words.

    Args:
        lines: the first ones, without their ends.
        path: for messages.
        column: of the words, a number, in CoNLL-U also a name; None: the usual one.

    Raises:
        InputError: there is no such column, or the lines are running text.
    """
    first = FirstLines.of(lines, path, conllu)
    if first is None:
        return None
    first.refuse_running_text(column, tagged=False)
    text = first.text_column(column, tagged=False)
    return first.layout(text, label=None, no_tag=None)


class FirstLines:
    """The first lines of a column file, and what they show of its columns."""

    @staticmethod
    def of(lines: list[str], path: Path, conllu: bool) -> "FirstLines | None":
        """None: they hold no word."""
        lines = ["" if line.startswith(DOCUMENT_START) else line for line in lines]
        sure = [line for line in lines if not line.startswith("#")]
        if all(map(is_blank, sure)):
            sure = [line for line in lines if not is_blank(line)]
        return FirstLines(sure, path, conllu) if sure else None

    def __init__(self, lines: list[str], path: Path, conllu: bool):
        self.path, self.conllu = path, conllu
        self.words = [line for line in lines if not is_blank(line)]
        self.tab = conllu or tabs_separate(self.words)
        cells = [_without_empty_end(split_line(line, self.tab)) for line in self.words]
        [(usual, self.lines_of_width)] = Counter(map(len, cells)).most_common(1)
        self.width = 10 if conllu else usual
        sentences = _sentences(lines, self.tab, self.width)
        self.rows = [row for sentence in sentences for row in sentence]
        self.counts_words = not conllu and self.width > 1 and _counts_words(sentences)

    def layout(self, text: int, *, label: int | None, no_tag: str | None) -> ColumnLayout:
        """The layout of these lines, once the columns with words and tags are known."""
        return ColumnLayout(
            self.conllu, self.tab, self.width, text, label, self.counts_words, no_tag
        )

    def refuse_running_text(
        self, text_column: str | None, *, tagged: bool, width_before: int | None = None
    ) -> None:
        """Raise InputError if the lines are whole sentences, whose words are no columns.

        Args:
            text_column: what the user chose; None: nothing.
            width_before: number of columns of the tagged file that was read before.
        """
        if self.tab or self.counts_words:
            return
        is_text = len(self.words) > 2 and 2 * self.lines_of_width < len(self.words)
        if not is_text and not tagged:
            if self.width == 1:  # sentences of Chinese or Japanese
                ends = sum(line[-1] in "。！？" for line in self.words if line[1:])
                is_text = 2 * ends >= len(self.words)
            elif text_column is None and self.width != width_before:
                cells = [split_line(line, False) for line in self.words]
                is_text = not _look_like_tags([c[-1] for c in cells if len(c) == self.width])
        if is_text:
            raise InputError(
                f"{self.path}: this looks like running text, not columns of words; {WORD_A_LINE}"
            )

    def text_column(self, chosen: str | None, *, tagged: bool) -> int:
        """The column with the words.

        Raises:
            InputError: there is no column as the user chose it.
        """
        if chosen is None or self.is_of_another_format(chosen, tagged=tagged):
            return 1 if self.conllu or self.counts_words else 0
        return self.column(chosen, "text")

    @staticmethod
    def is_of_another_format(chosen: str, *, tagged: bool) -> bool:
        """True for the name of a column in the tagged splits, if those have another format."""
        return not tagged and chosen != "" and not is_index(chosen)

    def column(self, chosen: str, what: str) -> int:
        """The index of the chosen column: a number, or in CoNLL-U also a name.

        Raises:
            InputError: there is no such column; `what` is "text" or "label".
        """
        if self.conllu and chosen.lower() in CONLLU_COLUMNS:
            return CONLLU_COLUMNS.index(chosen.lower())
        known = f"its columns are 0 to {self.width - 1}"
        if self.conllu:
            known += f" ({', '.join(CONLLU_COLUMNS)})"
        if not is_index(chosen) or not -self.width <= int(chosen) < self.width:
            raise InputError(
                f"{self.path}: no column {chosen!r}; {known}; give --{what}_column_name as one"
            )
        return int(chosen) % self.width


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


def _without_empty_end(columns: list[str]) -> list[str]:
    while len(columns) > 1 and not columns[-1]:
        columns.pop()
    return columns


def _sentences(lines: list[str], tab: bool, width: int) -> list[list[list[str]]]:
    """The rows of full width, sentence by sentence."""
    sentences: list[list[list[str]]] = [[]]
    for line in lines:
        columns = split_line(line, tab)
        if is_blank(line):
            sentences.append([])
        elif len(columns) >= width:
            sentences[-1].append(columns[:width])
    return [sentence for sentence in sentences if sentence]


def _counts_words(sentences: list[list[list[str]]]) -> bool:
    """Whether the first column counts words: from 0 or 1 in each sentence, or through all."""
    numbers = [[row[0] for row in sentence] for sentence in sentences]
    if not all(number.isdecimal() for sentence in numbers for number in sentence):
        return False
    counted = [[int(number) for number in sentence] for sentence in numbers]
    if not counted or counted[0][0] not in (0, 1) or all(len(row) == 1 for row in counted):
        return False
    within = all(b == a + 1 for row in counted for a, b in pairwise(row))
    return within and all(b[0] in (counted[0][0], a[-1] + 1) for a, b in pairwise(counted))


def _look_like_tags(cells: list[str]) -> bool:
    """Whether cells could be tags: in capitals, or with the prefix of a scheme."""
    sure = sum(is_span_tag(cell) or cell.isupper() for cell in cells)
    possible = sum(is_span_tag(cell) or not re.search("[a-z]", cell) for cell in cells)
    return 10 * possible >= 9 * len(cells) and 2 * sure >= len(cells)


def is_index(chosen: str) -> bool:
    """Whether a user's choice of a column is a number."""
    return re.fullmatch(r"-?[0-9]+", chosen) is not None


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
