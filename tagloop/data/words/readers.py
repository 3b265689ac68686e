"""Files and datasets -> rows of words and tags, one at a time, with the place of every error.

`read_file` and `read_dataset` yield a `Row` per sentence: tags as the source has them (strings, in
the source's own scheme), None where a word has no gold tag. Text is only ever split at the bytes
that the format names: U+0085, U+2028 and a no-break space are parts of real tokens.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path

from tagloop.data.annotations.alignment import read_annotated
from tagloop.data.annotations.brat import is_brat, read_brat
from tagloop.data.lines import (
    SNIFFED_LINES,
    is_blank,
    read_head,
    read_lines,
)
from tagloop.data.row import DOCUMENT_START, Reading, Row
from tagloop.data.tables import open_table
from tagloop.data.words.columns import read_columns, split_line, tabs_separate
from tagloop.data.words.sentences import read_sentences
from tagloop.errors import InputError

SUFFIXES = dict.fromkeys([".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"], "table")
SUFFIXES |= {".conllu": "conllu"}
# Only for these is a file with ragged lines still a column file; any other name must look like one.
COLUMN_SUFFIXES = {".conll", ".txt", ".iob", ".iob2", ".bio", ".train", ".testa", ".testb", ".dev"}
KNOWN = ".json .jsonl .ndjson .csv .tsv .parquet .conllu .ann, or CoNLL columns (.conll .txt .iob)"


def read_file(path: Path, reading: Reading, tagged: bool) -> Iterator[Row]:
    """Yield the rows of a file. `tagged=False` (predict): the tag column may be missing."""
    kind = detect_format(path, tagged)
    if kind == "table":
        yield from read_sentences(open_table(path), reading, tagged)
    elif kind == "brat":
        yield from read_annotated(read_brat(path, reading, tagged), reading, tagged)
    else:
        yield from read_columns(path, reading, tagged, conllu=kind == "conllu")


def detect_format(path: Path, tagged: bool = True) -> str:
    """Return table, conllu, brat or columns, from the extension and the first lines."""
    if is_brat(path):
        return "brat"
    suffix = path.suffix.lower()
    kind = SUFFIXES.get(suffix)
    if kind and suffix != ".tsv":
        return kind
    read_head(path)
    unknown = InputError(f"{path}: unknown format {suffix!r}; known are {KNOWN}")
    try:
        lines = [line for _, line in islice(read_lines(path), SNIFFED_LINES)]
    except InputError:
        if kind or suffix in COLUMN_SUFFIXES:
            raise
        raise unknown from None
    words = [line for line in lines if not is_blank(line) and not line.startswith("#")]
    if suffix == ".tsv":  # sentences of columns are separated by blank lines, rows of lists are not
        counted = words and re.match(r"[01]\t", words[0])  # a number in place of a header
        return "columns" if counted or any(map(is_blank, lines[:-1])) else "table"
    if words and re.match(r"(1|1-[0-9]+|0\.1)\t", words[0]) and words[0].count("\t") == 9:
        return "conllu"
    if suffix not in COLUMN_SUFFIXES:
        words = [line for line in words if not line.startswith(DOCUMENT_START)]
        tab = tabs_separate(words)
        widths = Counter(len(split_line(line, tab)) for line in words)
        width, lines_of_width = max(widths.items(), key=itemgetter(1), default=(1, 0))
        if (width == 1 or lines_of_width < 0.9 * len(words)) and (tagged or _is_binary(words)):
            raise unknown
    return "columns"


def _is_binary(lines: list[str]) -> bool:
    """Whether a file is UTF-8 by chance."""
    return any("\0" in line for line in lines)
