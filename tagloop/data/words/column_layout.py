"""How a file of columns (CoNLL, CoNLL-U) is laid out, told from its first lines."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tagloop.data.lines import is_blank
from tagloop.data.row import DOCUMENT_START
from tagloop.data.words.ids import columns_with_examples, looks_like_ids
from tagloop.data.words.schemes import is_span_tag
from tagloop.errors import InputError
from tagloop.wording import count

CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos"]
CONLLU_COLUMNS += ["feats", "head", "deprel", "deps", "misc"]
MAY_BE_EMPTY = ("feats", "deps", "misc")  # here "_" is a value: the word has no features
# How a line names the columns, where it is no sentence's word.
WORD_NAMES = ("word", "words", "token", "tokens", "form", "text")
TAG_NAMES = ("tag", "tags", "label", "labels")
OTHER_NAMES = (
    *("id", "no", "lemma", "entity", "iob", "bio", "type", "upos", "xpos"),
    *("sentence", "sentence_id", "sent_id", "doc_id", "ner_tag", "pos_tag", "chunk_tag"),
    *("ner_tags", "pos_tags", "chunk_tags"),
)
KINDS_OF_TAGS = re.compile(r"ner|pos|chunk")  # of any task, whichever is trained
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
        empty_is_value: "_" is a value of the tag column, and not a word without a gold tag.
        header: the line that names the columns; None: there is none.
        seen: of every column, the cells of the first words.
    """

    conllu: bool
    tab: bool
    width: int
    text: int
    label: int | None
    counts_words: bool
    empty_is_value: bool
    header: str | None = None
    seen: tuple[frozenset[str], ...] = ()

    def columns_of(self, line: str, place: str, in_sentence: bool) -> list[str] | None:
        """The columns of a word, None for a line that holds no word.

        Raises:
            InputError: the line has another number of columns; the message begins with `place`.
        """
        if line == self.header:
            return None
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
            if not self.tab and len(columns) > self.width > 1:
                remedy = (
                    "no word and no tag may hold a blank: write another character, for example "
                    f"{'_'.join(columns[-2:])!r}, or separate all columns by tabs"
                )
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
        if columns[0] == "#" and len(columns) == self.width and not in_sentence:
            return self._is_unlike_words(columns)
        return len(columns) != self.width and (line.startswith("# ") or not in_sentence)

    def _is_unlike_words(self, columns: list[str]) -> bool:
        """Whether "# id 17" is a comment though it is as wide as a word: no word has such cells."""
        pairs = zip(columns[1:], self.seen[1:], strict=False)
        is_new = all(cell not in seen and not is_span_tag(cell) for cell, seen in pairs)
        return is_new and len(columns) > 1 and re.search(r"\w", columns[-1]) is not None


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
    return first.layout(text, label=None)


class FirstLines:
    """The first lines of a column file, and what they show of its columns."""

    @staticmethod
    def of(lines: list[str], path: Path, conllu: bool) -> "FirstLines | None":
        """None: they hold no word."""
        lines = ["" if line.startswith(DOCUMENT_START) else line for line in lines]
        if lines and re.match(r"\ufeff?#FORMAT=WebAnno", lines[0]):
            raise InputError(
                f"{path}: this is WebAnno TSV (of WebAnno or INCEpTION); export the documents from "
                "there as CoNLL 2002, which has a word and its tag on a line"
            )
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
        self.header = self._find_header()
        lines = [line for line in lines if line != self.header]
        self.words = [line for line in self.words if line != self.header]
        sentences = self.sentences = _sentences(lines, self.tab, self.width)
        self.rows = [row for sentence in sentences for row in sentence]
        self.counts_words = not conllu and self.width > 1 and _counts_words(sentences)

    def layout(self, text: int, *, label: int | None, empty_is_value: bool = False) -> ColumnLayout:
        """The layout of these lines, once the columns with words and tags are known."""
        return ColumnLayout(
            self.conllu,
            self.tab,
            self.width,
            text,
            label,
            self.counts_words,
            empty_is_value,
            self.header,
            tuple(map(frozenset, zip(*self.rows, strict=True))),
        )

    def _find_header(self) -> str | None:
        """The first line, if every cell is a usual name of a column, and one that of the words."""
        names = self._names_in(self.words[0])
        known = {*WORD_NAMES, *TAG_NAMES, *OTHER_NAMES}
        is_known = all(name in known or KINDS_OF_TAGS.fullmatch(name) for name in names)
        is_header = is_known and 1 < self.width == len(names)
        return self.words[0] if is_header and {*WORD_NAMES}.intersection(names) else None

    def _names_in(self, line: str) -> list[str]:
        cells = _without_empty_end(split_line(line, self.tab))
        return [cell.strip(" #").casefold() for cell in cells]

    def named(self, names: Sequence[str]) -> int | None:
        """The column that the header calls by the first of these names; None: no column."""
        columns = self._names_in(self.header) if self.header is not None else []
        return next((columns.index(name) for name in names if name in columns), None)

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
        if chosen is not None and not self.is_of_another_format(chosen, tagged=tagged):
            return self.column(chosen, "text")
        named = self.named(WORD_NAMES)
        if named is not None:
            return named
        column = 1 if self.conllu or self.counts_words else 0
        beside = self.width - column - tagged  # columns that may be the words
        if not self.conllu and beside > 1 and self._holds_ids(column):
            self._refuse_ids(column)
        return column

    def _holds_ids(self, column: int) -> bool:
        return looks_like_ids([[row[column] for row in rows] for rows in self.sentences])

    def _refuse_ids(self, column: int) -> None:
        columns = list(enumerate(self.rows[0]))
        others = [at for at in range(column + 1, self.width) if not self._holds_ids(at)]
        raise InputError(
            f"{self.path}: column {column} looks like ids, not like words; the columns there: "
            f"{columns_with_examples(columns)}; name the column of the words, for example "
            f"--text_column_name {(others or [column])[0]}"
        )

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
    if not all(re.fullmatch(r"\d{1,9}", number) for sentence in numbers for number in sentence):
        return False
    counted = [[int(number) for number in sentence] for sentence in numbers]
    if not counted or counted[0][0] not in (0, 1) or all(len(row) == 1 for row in counted):
        return False
    within = all(b == a + 1 for row in counted for a, b in pairwise(row))
    return within and all(b[0] in (counted[0][0], a[-1] + 1) for a, b in pairwise(counted))


def _look_like_tags(cells: list[str]) -> bool:
    """Whether cells could be tags: in capitals, or with the prefix of a scheme."""
    sure = sum(is_span_tag(cell) or cell.isupper() or cell == "_" for cell in cells)
    possible = sum(is_span_tag(cell) or not re.search("[a-z]", cell) for cell in cells)
    return 10 * possible >= 9 * len(cells) and 2 * sure >= len(cells)


def is_index(chosen: str) -> bool:
    """Whether a user's choice of a column is a number."""
    return re.fullmatch(r"-?[0-9]{1,9}", chosen) is not None
