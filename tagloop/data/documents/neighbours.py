"""Sentences of one document that are predicted together, for a model that sees their neighbours.

A file is predicted in units (files.py). A unit gets the documents before it and behind it that its
sentences may see, too, so that a prediction does not depend on where a unit ends.
"""

from collections.abc import Iterable
from itertools import islice, takewhile
from typing import Any, NamedTuple

from tagloop.data.annotations.label_studio import has_data
from tagloop.data.documents.reading import Content, Document
from tagloop.data.words.documents import document_key, names_documents


class Context(NamedTuple):
    """What a model sees beside a sentence.

    Attributes:
        tokens: sub-tokens of the same document on each side, of at most as many sentences.
        unmarked_is_document: where nothing marks documents, a file is one document; False: each of
            its sentences is one.
        column: of a table, names the document of a row; None: found by its name.
    """

    tokens: int
    unmarked_is_document: bool = False
    column: str | None = None


class Unit(NamedTuple):
    """Documents that are predicted at once, and their neighbours.

    Attributes:
        contents, keys: of all of them; neighbours with equal keys, but None, see each other.
        first, end: those that are asked for.
    """

    contents: list[Content]
    keys: list[Any]
    first: int
    end: int


def unit_of(
    before: list[Document], documents: list[Document], behind: list[Document], context: Context
) -> Unit:
    """A unit with the neighbours that it may see.

    Args:
        before, behind: what stands there in the file, as much as may be seen.
    """
    every = [*before, *documents, *behind]
    keys = [_key(document, context) for document in every]
    first, end = len(before), len(before) + len(documents)
    if not documents:
        return Unit([], [], 0, 0)
    ahead = _seen(zip(every[end:], keys[end:], strict=True), keys[end - 1], context.tokens)
    past = zip(reversed(before), reversed(keys[:first]), strict=True)
    back = _seen(past, keys[first], context.tokens)
    chosen = slice(first - back, end + ahead)
    contents = [document.content for document in every[chosen]]
    return Unit(contents, keys[chosen], back, back + len(documents))


def _seen(neighbours: Iterable[tuple[Document, Any]], key: Any, tokens: int) -> int:
    """How many neighbours may be seen; a word has one sub-token at least."""
    words = number = 0
    same = takewhile(lambda pair: pair[1] is not None and pair[1] == key, neighbours)
    for document, _ in islice(same, tokens):
        if words >= tokens:
            break
        words, number = words + _num_words(document.content), number + 1
    return number


def _num_words(content: Content) -> int:
    """The number of words of a content; of running text at most their number."""
    words = content[1] if isinstance(content, tuple) else content
    return len(words.split() if isinstance(words, str) else words)


def _key(document: Document, context: Context) -> Any:
    """What tells which document a sentence is in; None: it is one by itself."""
    key: Any = document.document
    if isinstance(document.source, dict):
        row = document.source["data"] if has_data(document.source) else document.source
        others = (name for name in row if row[name] is not document.content)
        column = context.column or next(filter(names_documents, others), None)
        key = key if column is None else (key, document_key(row, column))
    return "" if key is None and context.unmarked_is_document else key
