"""Which formats there are, and which of them a source has: one table for all that reads or writes.

Training, --predict_file and --check_data read what words/readers.py makes of a format;
predict.py reads and writes what is in documents/. Exports of doccano, Label Studio, Prodigy and
spaCy are rows: annotations/tools.py tells them from other rows by what they hold.
"""

import re
from collections import Counter
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from tagloop.data.annotations.brat import is_brat
from tagloop.data.encodings import read_head
from tagloop.data.lines import SNIFFED_LINES, is_blank, read_lines
from tagloop.data.row import DOCUMENT_START
from tagloop.data.words.column_layout import split_line, tabs_separate
from tagloop.errors import InputError


class Format(NamedTuple):
    """A format of files.

    Attributes:
        name: as --input_format and --output_format of predict.py name it.
        holds: "texts" (one a line), "columns" (a word a line), "rows" (of named columns), or
            "spans" (of characters, as an annotation tool writes them).
        predict: endings of file names from which predict.py tells it.
        train: endings of file names from which training tells it.
        is_input, is_output: predict.py reads it, predict.py writes it.
    """

    name: str
    holds: str
    predict: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    is_input: bool = False
    is_output: bool = True


JSON = (".jsonl", ".ndjson", ".json")
COLUMNS = (".conll", ".iob", ".iob2", ".bio")
MORE_COLUMNS = (".txt", ".train", ".testa", ".testb", ".dev")
FORMATS = (
    Format("txt", "texts", predict=(".txt",), is_input=True),
    Format("jsonl", "rows", predict=JSON, train=JSON, is_input=True),
    Format("conll", "columns", predict=COLUMNS, train=COLUMNS + MORE_COLUMNS, is_input=True),
    Format("conllu", "columns", predict=(".conllu",), train=(".conllu",), is_input=True),
    Format("csv", "rows", predict=(".csv",), train=(".csv",), is_input=True),
    Format("tsv", "rows", predict=(".tsv",), train=(".tsv",), is_input=True),
    Format("parquet", "rows", train=(".parquet",), is_output=False),
    Format("doccano", "spans"),
    Format("label_studio", "spans"),
    Format("prodigy", "spans"),
    Format("brat", "spans", predict=(".ann",), train=(".ann",)),
)
NAMED = {format.name: format for format in FORMATS}
INPUT_FORMATS = tuple(format.name for format in FORMATS if format.is_input)
OUTPUT_FORMATS = tuple(format.name for format in FORMATS if format.is_output)
TOOLS = tuple(format.name for format in FORMATS if format.holds == "spans")
OF_ENDING = {ending: format for format in FORMATS for ending in format.train}
KNOWN = ".json .jsonl .ndjson .csv .tsv .parquet .conllu .ann, or CoNLL columns (.conll .txt .iob)"


def format_by_name(name: str, *, is_output: bool) -> str:
    """The format of a file that predict.py reads or writes, by the ending of its name.

    Raises:
        InputError: an ending that is not known.
    """
    known = {
        ending: format.name
        for format in FORMATS
        if (format.is_output if is_output else format.is_input)
        for ending in format.predict
    }
    suffix = Path(name).suffix.lower()
    if suffix not in known:
        raise InputError(
            f"{name}: unknown format {suffix!r}; known are {' '.join(known)}, or say which it "
            "is: --input_format or --output_format; --help lists them"
        )
    return known[suffix]


def table_format(path: Path) -> str:
    """The format of a file with rows, by the ending of its name; a text file has a text a row.

    Raises:
        InputError: the file has another format.
    """
    suffix = path.suffix.lower()
    format = NAMED["txt"] if suffix in NAMED["txt"].predict else OF_ENDING.get(suffix)
    if format is None or format.holds not in ("rows", "texts"):
        raise InputError(
            f"{path}: unknown format {suffix!r}; known are .json(l), .csv, .parquet, .txt"
        )
    return format.name


def detect_format(source: Any, *, tagged: bool) -> Format:
    """The format of a split to train on, to score or to tag.

    Args:
        source: a file (Path), whose ending and first lines tell; a dataset or a list of dicts
            has rows.
        tagged: the words have tags, so a file without columns has another format.

    Raises:
        InputError: none of the formats.
    """
    if not isinstance(source, Path):
        return NAMED["jsonl"]
    if is_brat(source):
        return NAMED["brat"]
    suffix = source.suffix.lower()
    by_ending = OF_ENDING.get(suffix)
    is_sure = by_ending is not None and by_ending.name not in ("tsv", "conll")
    return by_ending if is_sure else _detect_columns(source, by_ending, tagged)


def _detect_columns(path: Path, by_ending: Format | None, tagged: bool) -> Format:
    """The format of a file that may have columns: its first lines tell.

    Only where the ending names columns may lines be ragged; any other file must look like columns.
    """
    suffix = path.suffix.lower()
    read_head(path)
    unknown = InputError(f"{path}: unknown format {suffix!r}; known are {KNOWN}")
    try:
        lines = [line for _, line in islice(read_lines(path), SNIFFED_LINES)]
    except InputError:
        if by_ending is not None:
            raise
        raise unknown from None
    words = [line for line in lines if not is_blank(line) and not line.startswith("#")]
    if suffix == ".tsv":  # sentences of columns are separated by blank lines, rows of lists are not
        counted = words and re.match(r"[01]\t", words[0])  # a number in place of a header
        return NAMED["conll"] if counted or any(map(is_blank, lines[:-1])) else NAMED["tsv"]
    if is_conllu(lines):
        return NAMED["conllu"]
    if by_ending is None:
        words = [line for line in words if not line.startswith(DOCUMENT_START)]
        tab = tabs_separate(words)
        widths = Counter(len(split_line(line, tab)) for line in words)
        width, lines_of_width = max(widths.items(), key=itemgetter(1), default=(1, 0))
        if (width == 1 or lines_of_width < 0.9 * len(words)) and (tagged or _is_binary(words)):
            raise unknown
    return NAMED["conll"]


def is_conllu(lines: list[str]) -> bool:
    """Whether the first word of a file's first lines stands on a line of CoNLL-U."""
    words = [line for line in lines if not is_blank(line) and not line.startswith("#")]
    is_first = words and re.match(r"(1|1-[0-9]+|0\.1)\t", words[0])
    has_other_marks = any(line.startswith(DOCUMENT_START) for line in words)
    return bool(is_first) and words[0].count("\t") == 9 and not has_other_marks


def _is_binary(lines: list[str]) -> bool:
    """Whether a file is UTF-8 by chance."""
    return any("\0" in line for line in lines)
