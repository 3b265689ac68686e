"""Questions about contexts, as SQuAD's files have them: flat rows, or articles with paragraphs.

{"id": "1", "question": "Who left?", "context": "Ann left.",
 "answers": {"text": ["Ann"], "answer_start": [0]}}                          # a flat row
{"title": "A", "paragraphs": [{"context": "Ann left.", "qas": [{"id": "1", "question": ...,
 "answers": [{"text": "Ann", "answer_start": 0}], "is_impossible": false}]}]}    # an article
"""

import ast
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tagloop.errors import InputError
from tagloop.wording import shown

UNKNOWN_PLACE = -1


class GoldAnswers(NamedTuple):
    """The gold answers of a question; none if the question has no answer.

    Attributes:
        texts: the answers.
        starts: for every answer the character of the context that it begins at, or UNKNOWN_PLACE.
    """

    texts: list[str]
    starts: list[int]

    def as_json(self) -> str:
        """The answers as SQuAD's flat rows have them."""
        return json.dumps({"text": self.texts, "answer_start": self.starts})


def is_article(row: dict) -> bool:
    """True for a row of SQuAD's nested files."""
    paragraphs = row.get("paragraphs")
    if not isinstance(paragraphs, list) or {"question", "context"} & row.keys():
        return False
    # The JSON of spaCy 2 has paragraphs, too, but of sentences.
    return not paragraphs or not isinstance(paragraphs[0], dict) or "sentences" not in paragraphs[0]


def flatten_articles(rows: Iterable[tuple[str, dict]]) -> Iterator[tuple[str, dict]]:
    """Yield a place and a flat row for every question of some articles.

    Raises:
        InputError: an article has another structure.
    """
    for place, article in rows:
        for number, paragraph in enumerate(_list_of(article, "paragraphs", place)):
            where = f"{place}.paragraphs[{number}]"
            for position, question in enumerate(_list_of(paragraph, "qas", where)):
                there = f"{where}.qas[{position}]"
                if not isinstance(question, dict):
                    raise InputError(f"{there}: holds {shown(question)}, which is no question")
                answers = question.get("answers")
                yield (
                    there,
                    {
                        "id": question.get("id"),
                        "title": article.get("title"),
                        "question": question.get("question"),
                        "context": paragraph.get("context"),
                        "answers": [] if question.get("is_impossible") else answers,
                    },
                )


def _list_of(item: Any, name: str, place: str) -> list:
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, list):
        raise InputError(
            f"{place}: has no list {name!r}; SQuAD's nested files have articles with paragraphs, "
            "and paragraphs with qas"
        )
    return value


def parse_answers(cell: Any, place: str) -> GoldAnswers | None:
    """The gold answers that a cell holds; None if it holds nothing, so nobody knows the answer.

    Args:
        cell: {"text": [...], "answer_start": [...]}, a list of {"text": ..., "answer_start": ...},
            or either of them as text (JSON, or as Python writes it), as a cell of a CSV has it.
        place: of the row, for messages.

    Raises:
        InputError: the cell holds something else.
    """
    if isinstance(cell, str):
        cell = _parse_text(cell, place) if cell.strip() else None
    if cell is None:
        return None
    if isinstance(cell, list):
        items = cell
    elif isinstance(cell, dict) and isinstance(cell.get("text"), list):
        texts = cell["text"]
        starts = cell.get("answer_start")
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise InputError(
                f"{place}: {len(texts)} answers, but answer_start holds {shown(starts)}; every "
                "answer needs its place"
            )
        pairs = zip(texts, starts, strict=True)
        items = [{"text": text, "answer_start": start} for text, start in pairs]
    else:
        items = [cell]
    for item in items:
        start = item.get("answer_start") if isinstance(item, dict) else None
        is_place = start is None or (isinstance(start, int) and not isinstance(start, bool))
        if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not is_place:
            raise InputError(
                f'{place}: answers holds {shown(cell)}; write {{"text": ["Ann"], '
                '"answer_start": [0]}, or empty lists for a question without answer'
            )
    starts = [item.get("answer_start") for item in items]
    return GoldAnswers(
        [item["text"] for item in items],
        [UNKNOWN_PLACE if start is None else start for start in starts],
    )


def _parse_text(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        raise InputError(
            f"{place}: the answers are no JSON: {shown(text)}; write them by json.dumps"
        ) from None


def stands_there(context: str, text: str, start: int) -> bool:
    """True if the context has this text at this place."""
    return start >= 0 and context[start : start + len(text)] == text


def nearest_place(context: str, text: str, start: int) -> int:
    """The place nearest to `start` where the context has this text; UNKNOWN_PLACE without one.

    >>> nearest_place("Ann met Ann", "Ann", 7)
    8
    """
    found, at = [], context.find(text) if text else -1
    while at >= 0:
        found.append(at)
        at = context.find(text, at + 1)
    return min(found, key=lambda place: abs(place - start), default=UNKNOWN_PLACE)
