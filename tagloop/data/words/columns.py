"""CoNLL columns and CoNLL-U -> rows of words and tags.

The first lines of a file show its column layout; then the file is read line by line.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tagloop.data.lines import SNIFFED_LINES, is_blank, read_lines
from tagloop.data.row import DOCUMENT_MARK, DOCUMENT_START, Choices, Found, Row, Sentences
from tagloop.data.words.column_layout import CONLLU_COLUMNS, MAY_BE_EMPTY, ColumnLayout, FirstLines
from tagloop.data.words.tag_column import TagColumn
from tagloop.data.words.tags import TagReader


def read_columns(
    path: Path, choices: Choices, *, conllu: bool, tagged: bool, before: Sequence[Found] = ()
) -> Sentences:
    """The sentences of a column file.

    Args:
        conllu: the file is CoNLL-U.
        tagged: every word needs a tag.
        before: found in the tagged splits that were read before, in order; an untagged file has
            its tags where they had theirs.

    Raises:
        InputError: no column of the file is the one that is wanted; a line that cannot be read.
    """
    found = Found()
    return Sentences(found, _rows(path, choices, found, conllu, tagged, before))


def _rows(
    path: Path,
    choices: Choices,
    found: Found,
    conllu: bool,
    tagged: bool,
    before: Sequence[Found],
) -> Iterator[Row]:
    layout = _find_layout(path, choices, found, conllu, tagged, before)
    if layout is None:
        return
    text, label = layout.text, layout.label
    read_tag = TagReader(choices, None, tagged, found.columns, empty_is_value=layout.empty_is_value)
    tokens, tags, lines, document = [], [], [], -1
    mark = DOCUMENT_MARK if layout.conllu else DOCUMENT_START
    name = str(path)  # once: a Path takes longer to write itself than a line to be split
    for number, line in read_lines(path):
        place = f"{name}:{number}"
        boundary = line.startswith(mark)
        if boundary:
            found.documents = f"lines {mark}"
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
            tags.append(read_tag(tag, place))
            lines.append(number)
    if tokens:
        yield Row(tokens, tags, max(document, 0), f"{path}:{lines[0]}", lines)
    read_tag.finish(found)


def _find_layout(
    path: Path,
    choices: Choices,
    found: Found,
    conllu: bool,
    tagged: bool,
    before: Sequence[Found],
) -> ColumnLayout | None:
    """The layout of a file, told in `found`, too; None: the file has no words."""
    lines = [line for _, line in islice(read_lines(path), SNIFFED_LINES)]
    first = FirstLines.of(lines, path, conllu)
    if first is None:
        return None
    widths = [earlier.width for earlier in before if earlier.width is not None]
    width_before = widths[-1] if widths else None
    chosen = choices.text_column
    first.refuse_running_text(chosen, tagged=tagged, width_before=width_before)
    text = first.text_column(chosen, tagged=tagged)
    if tagged:
        found.width = first.width
    tag_column = TagColumn(first, choices, text, tagged=tagged, width_before=width_before)
    label = tag_column.find()

    names = CONLLU_COLUMNS if conllu else range(first.width)
    found.columns = f"words from column {names[text]}"
    if label is not None:
        found.columns += f", tags from column {names[label]}"
    found.notes += tag_column.notes
    if first.counts_words and (not chosen or first.is_of_another_format(chosen, tagged=tagged)):
        found.notes.append("column 0 counts the words of a sentence; words are in column 1")
    if first.header is not None:
        found.notes.append(f"the line {first.header!r} names the columns; it is no word")
    is_value = conllu and label is not None and CONLLU_COLUMNS[label] in MAY_BE_EMPTY
    return first.layout(text, label=label, empty_is_value=is_value)


def shown_word(word: str) -> str:
    """A word as a cell of a column file: without spaces, and not empty.

    >>> shown_word("New York"), shown_word("")
    ('New_York', '_')
    """
    return "".join("_" if letter.isspace() else letter for letter in word) or "_"
