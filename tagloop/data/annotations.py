"""Character offsets -> words and tags: exports of doccano, Label Studio, Prodigy and spaCy.

They are recognised, and refused by name. Reading them belongs here.
"""

from typing import Any


def refusal(place: str, row: Any) -> str | None:
    """What to say of a JSON row that marks spans of characters; None for any other row.

    >>> refusal("a.jsonl:1", {"text": "Ann won", "label": [[0, 3, "PER"]]})[:45]
    'a.jsonl:1: this is an export of doccano: span'
    """
    tool = _tool(row)
    return tool and (
        f"{place}: this is {tool}: spans of characters in a text, but words and their tags are "
        'needed; convert it to rows like {"tokens": ["Ann", "won"], "ner_tags": ["B-PER", "O"]}, '
        "for example with offsets_to_biluo_tags of spacy.training"
    )


def _tool(row: Any) -> str | None:
    """Whose export a row looks like."""
    if isinstance(row, list):
        offsets = len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict)
        return "spaCy's training data" if offsets and "entities" in row[1] else None
    if not isinstance(row, dict):
        return None
    if "paragraphs" in row and isinstance(row["paragraphs"], list):
        return "spaCy's JSON"
    if isinstance(row.get("data"), dict) and ("annotations" in row or "completions" in row):
        return "a JSON export of Label Studio"
    if not isinstance(row.get("text"), str):
        return None
    for column in ("label", "labels", "entities", "spans"):
        spans = row.get(column)
        if not isinstance(spans, list):
            continue
        if column == "spans":
            return "JSON of Prodigy or spaCy"
        if column == "label" and spans and isinstance(spans[0], dict):
            return "a JSON_MIN export of Label Studio"
        if not spans or isinstance(spans[0], (list, dict)):
            return "an export of doccano"
    return None
