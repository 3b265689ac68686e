"""CoNLL columns and CoNLL-U -> rows of words and tags.

The first lines tell how a file is laid out (`find_layout`), then it is read line by line.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from tagloop.data.lines import SNIFFED_LINES, is_blank, read_lines
from tagloop.data.row import DOCUMENT_START, Reading, Row
from tagloop.data.words.schemes import is_span_tag
from tagloop.data.words.tags import Tagger
from tagloop.errors import InputError
from tagloop.wording import count

CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos"]
CONLLU_COLUMNS += ["feats", "head", "deprel", "deps", "misc"]
MAY_BE_EMPTY = ("feats", "deps", "misc")  # here "_" is a value: the word has no features
WORD_A_LINE = "write one word a line, a blank line after each sentence"


@dataclass(frozen=True)
class Layout:
    """How the lines of a column file are read. Columns are counted from 0."""

    conllu: bool
    tab: bool  # what separates the columns: one tab, or spaces
    width: int
    text: int
    label: int | None
    counts_words: bool  # the first column numbers the words of each sentence
    no_tag: str | None  # the cell of a word without a gold tag

    def columns_of(self, line: str, place: str, in_sentence: bool) -> list[str] | None:
        """The columns of a word, None for a line that holds no word."""
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


def read_columns(path: Path, reading: Reading, tagged: bool, conllu: bool) -> Iterator[Row]:
    layout = find_layout(path, reading, tagged, conllu)
    if layout is None:
        return
    text, label = layout.text, layout.label
    tagger = Tagger(reading, None, tagged)
    tokens, tags, lines, document = [], [], [], -1
    name = str(path)  # once: a Path takes longer to write itself than a line to be split
    for number, line in read_lines(path):
        place = f"{name}:{number}"
        boundary = line.startswith("# newdoc" if conllu else DOCUMENT_START)
        if boundary or is_blank(line):
            if tokens:
                document = max(document, 0)
                yield Row(tokens, tags, document, f"{path}:{lines[0]}", lines)
                tokens, tags, lines = [], [], []
            document += boundary
            continue
        columns = layout.columns_of(line, place, in_sentence=bool(tokens))
        if columns is not None:
            tag = None if label is None else columns[label].strip(" ")
            tokens.append(columns[text])
            tags.append(None if tag == layout.no_tag else tagger(tag, place))
            lines.append(number)
    if tokens:
        yield Row(tokens, tags, max(document, 0), f"{path}:{lines[0]}", lines)


def find_layout(path: Path, reading: Reading, tagged: bool, conllu: bool) -> Layout | None:
    """How a file is laid out, from its first lines; None if it has no words.

    Notes what a user may not expect, and the columns taken, in `reading`.
    """
    lines = [line for _, line in islice(read_lines(path), SNIFFED_LINES)]
    return layout_of(lines, path, reading, tagged, conllu)


def layout_of(
    lines: list[str], path: Path, reading: Reading, tagged: bool, conllu: bool
) -> Layout | None:
    """find_layout of lines that are read already; `path` is for messages."""
    lines = ["" if line.startswith(DOCUMENT_START) else line for line in lines]
    sure = [line for line in lines if not line.startswith("#")]
    words = [line for line in sure if not is_blank(line)]
    if not words:
        words = sure = [line for line in lines if not is_blank(line)]
    if not words:
        return None
    tab = conllu or tabs_separate(words)
    widths = Counter(len(_without_empty_end(split_line(line, tab))) for line in words)
    width = 10 if conllu else widths.most_common(1)[0][0]
    sentences = _sentences(sure, tab, width)
    rows = [row for sentence in sentences for row in sentence]
    counts_words = not conllu and width > 1 and _counts_words(sentences)
    if not tab and not counts_words and _is_running_text(words, widths, reading, tagged):
        raise InputError(
            f"{path}: this looks like running text, not columns of words; {WORD_A_LINE}"
        )
    default = 1 if conllu or counts_words else 0
    chosen = reading.text_column
    if not tagged and chosen and not is_index(chosen):
        chosen = None  # the name of a column in the tagged splits, which have another format
    text = _column(path, chosen, default, width, conllu, "text")
    label = _label_column(path, reading, rows, text, width, tagged, conllu, counts_words)
    named = CONLLU_COLUMNS if conllu else range(width)
    reading.taken = f"words from column {named[text]}"
    if label is not None:
        reading.taken += f", tags from column {named[label]}"
    if counts_words and chosen is None:
        reading.notes.append("column 0 counts the words of a sentence; words are in column 1")
    no_tag = "_" if conllu and label and CONLLU_COLUMNS[label] not in MAY_BE_EMPTY else None
    return Layout(conllu, tab, width, text, label, counts_words, no_tag)


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


def _is_running_text(words: list[str], widths: Counter, reading: Reading, tagged: bool) -> bool:
    """Whether lines are whole sentences, whose words are no columns."""
    width, lines_of_width = widths.most_common(1)[0]
    if len(words) > 2 and 2 * lines_of_width < len(words):
        return True
    if tagged:
        return False
    if width == 1:  # sentences of Chinese or Japanese
        return 2 * sum(line[-1] in "。！？" for line in words if line[1:]) >= len(words)
    if reading.text_column is not None or width == reading.found_width:
        return False
    cells = [split_line(line, False) for line in words]
    return not _look_like_tags([row[-1] for row in cells if len(row) == width])


def _look_like_tags(cells: list[str]) -> bool:
    """Whether cells could be tags: in capitals, or with the prefix of a scheme."""
    sure = sum(is_span_tag(cell) or cell.isupper() for cell in cells)
    possible = sum(is_span_tag(cell) or not re.search("[a-z]", cell) for cell in cells)
    return 10 * possible >= 9 * len(cells) and 2 * sure >= len(cells)


# --- which columns ---


def _column(
    path: Path, chosen: str | None, default: int, width: int, conllu: bool, what: str
) -> int:
    """Return the index of the chosen column: a number, or in CoNLL-U also a name."""
    if chosen is None:
        return default
    if conllu and chosen.lower() in CONLLU_COLUMNS:
        return CONLLU_COLUMNS.index(chosen.lower())
    there = f"its columns are 0 to {width - 1}"
    if conllu:
        there += f" ({', '.join(CONLLU_COLUMNS)})"
    if not is_index(chosen) or not -width <= int(chosen) < width:
        raise InputError(f"{path}: no column {chosen!r}; {there}; give --{what}_column_name as one")
    return int(chosen) % width


def is_index(chosen: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", chosen) is not None


def _label_column(
    path: Path,
    reading: Reading,
    rows: list[list[str]],
    text: int,
    width: int,
    tagged: bool,
    conllu: bool,
    counts_words: bool,
) -> int | None:
    """Return the index of the tag column, None if there is none and none is needed."""
    task, chosen, remedy = reading.task, reading.label_column, "give --label_column_name"
    if not tagged and (width == 1 or width != (reading.found_width or width)):
        return None  # not the columns that the tagged splits have
    if not tagged and chosen and not conllu and not is_index(chosen):
        return None
    if tagged:
        reading.found_width = width
    if conllu and chosen is None and task != "pos":
        if not tagged:
            return None
        names = ", ".join(CONLLU_COLUMNS)
        raise InputError(f"{path}: CoNLL-U has no column for the task {task}; {remedy} ({names})")
    if conllu or chosen is not None:
        return _column(path, chosen, CONLLU_COLUMNS.index("upos"), width, conllu, "label")
    beside = width - counts_words  # columns but the numbers of the words
    if beside == 1:
        if not tagged:
            return None
        there = "word numbers and words" if counts_words else "one column"
        raise InputError(
            f"{path}: {there} only, no tags for the task {task}; "
            "write word and tag, or pass untagged text as --predict_file"
        )
    if task != "ner" and beside > 4:
        last = width - 1
        raise InputError(
            f"{path}: {width} columns, which holds {task}? {remedy} as a number, 0 to {last}"
        )
    if task != "ner" and beside > 2:  # CoNLL-2000 and CoNLL-2003
        return counts_words + (1 if task == "pos" else 2)
    label = _outer_layer(rows, width, text, counts_words) if task == "ner" else width - 1
    if not tagged and reading.found_width is None and task != "pos":
        # Nothing has shown where tags stand, and words need none.
        return label if _span_types(rows, label) is not None else None
    if label < width - 1:
        reading.notes.append(
            f"columns {label} to {width - 1} hold layers of tags; the outer one is taken, column "
            f"{label} (--label_column_name takes another)"
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
