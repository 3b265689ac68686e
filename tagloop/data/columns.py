"""CoNLL columns and CoNLL-U -> rows of words and tags."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tagloop.data.lines import SNIFFED_LINES, count, is_blank, read_lines
from tagloop.data.tags import DOCUMENT_START, Reading, Row, Tagger
from tagloop.errors import InputError

CONLLU_COLUMNS = ["id", "form", "lemma", "upos", "xpos"]
CONLLU_COLUMNS += ["feats", "head", "deprel", "deps", "misc"]


def tabs_separate(words: list[str]) -> bool:
    """Return whether tabs separate the columns: at least half of the lines have one."""
    return 2 * sum("\t" in line for line in words) >= len(words)


def split_line(line: str, tab: bool) -> list[str]:
    return line.split("\t") if tab else [part for part in line.split(" ") if part]


def _is_comment(line: str, columns: list[str], width: int, in_sentence: bool) -> bool:
    """Tell a comment from a token that starts with "#": a token has as many columns as the rest."""
    if columns[0] == "#" and columns[2:3] == ["="]:  # "# sent_id = 7", in a file split at spaces
        return True
    return len(columns) != width and (line.startswith("# ") or not in_sentence)


def read_columns(path: Path, reading: Reading, tagged: bool, conllu: bool) -> Iterator[Row]:
    head = [line for _, line in islice(read_lines(path), SNIFFED_LINES) if not is_blank(line)]
    head = [line for line in head if not line.startswith(DOCUMENT_START)]
    sure = [line for line in head if not line.startswith("#")] or head
    tab = conllu or tabs_separate(sure)
    width = 10 if conllu else len(split_line(sure[0], tab)) if sure else 0
    if not width:
        return
    chosen = reading.text_column
    if not tagged and chosen and not is_index(chosen):
        chosen = None  # the name of a column in the tagged splits, which have another format
    text = _column(path, chosen, 1 if conllu else 0, width, conllu, "text")
    label = _label_column(path, reading, width, tagged, conllu)
    tagger = Tagger(reading, None, tagged)
    tokens, tags, start, document = [], [], 0, -1

    for number, line in read_lines(path):
        place = f"{path}:{number}"
        boundary = line.startswith("# newdoc") if conllu else line.startswith(DOCUMENT_START)
        if boundary or is_blank(line):
            if tokens:
                document = max(document, 0)
                yield Row(tokens, tags, document, f"{path}:{start}")
                tokens, tags = [], []
            document += boundary
            continue
        columns = split_line(line, tab)
        if line.startswith("#") and (
            conllu or _is_comment(line, columns, width, in_sentence=bool(tokens))
        ):
            continue
        if len(columns) != width:
            remedy = "separate columns by one tab or by spaces"
            if not tagged and width == 1:
                remedy = "write one word a line, a blank line after each sentence"
            expected = "CoNLL-U has 10" if conllu else f"the lines before have {width}"
            raise InputError(f"{place}: {count(len(columns), 'column')}, but {expected}; {remedy}")
        if conllu and not columns[0].isdecimal():
            if re.fullmatch(r"[0-9]+[-.][0-9]+", columns[0]):
                continue  # a range stands for the words that follow it; an empty node is not text
            raise InputError(f"{place}: {columns[0]!r} is no word number; count words 1, 2, 3")
        tag = None if label is None else columns[label].strip(" ")
        tokens.append(columns[text])
        tags.append(None if conllu and tag == "_" else tagger(tag, place))
        start = start if len(tokens) > 1 else number
    if tokens:
        yield Row(tokens, tags, max(document, 0), f"{path}:{start}")


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
    path: Path, reading: Reading, width: int, tagged: bool, conllu: bool
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
    default = CONLLU_COLUMNS.index("upos") if conllu else width - 1
    if not conllu and chosen is None:
        if width == 1:
            raise InputError(
                f"{path}: one column only, no tags for the task {task}; "
                "write word and tag, or pass untagged text as --predict_file"
            )
        if task != "ner" and width in (3, 4):  # CoNLL-2000 and CoNLL-2003
            default = 1 if task == "pos" else 2
        elif task != "ner" and width > 4:
            last = width - 1
            raise InputError(
                f"{path}: {width} columns, which holds {task}? {remedy} as a number, 0 to {last}"
            )
    return _column(path, chosen, default, width, conllu, "label")
