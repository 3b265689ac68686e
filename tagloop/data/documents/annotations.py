"""Tags of a text -> spans of characters, as annotation tools import them. Pure."""

from typing import Any

from tagloop.data.annotations.word_spans import without_word_spans
from tagloop.data.documents.reading import Tagged
from tagloop.data.row import TagKind

# What a row of other data holds that a tool would take for its own; and what tasks hold.
WORDS = {"text", "tokens", "words", "tags", "scores", "entities", "spans", "label", "labels"}
WORDS |= {"ents", "relations"}  # relations between entities that are replaced
TASK = {"data", "annotations", "completions", "predictions"}


def to_row(tool: str, source: Any, tagged: Tagged, kind: TagKind) -> dict[str, Any]:
    """A row for doccano, label_studio or prodigy (spaCy's, too), with the source's other keys.

    Label Studio gets predictions, to be accepted or corrected; a task keeps its annotations.
    """
    row = without_word_spans(source, kind.column_names) if isinstance(source, dict) else {}
    if tool == "label_studio":
        if not isinstance(row.get("data"), dict):
            row = {"data": _others(row) | {"text": tagged.text}}
        return row | {"predictions": [_prediction(tagged)]}
    row = _others(row) | {"text": tagged.text}
    if tool == "doccano":
        row["label"] = [[e["start"], e["end"], e["label"]] for e in tagged.entities]
    else:
        row["spans"] = [{key: e[key] for key in ("start", "end", "label")} for e in tagged.entities]
    return row


def _others(row: dict) -> dict:
    """The other keys of a row, without Prodigy's answer and hashes, which were of earlier spans."""
    names = [name for name in row if name not in WORDS | TASK | {"answer"} and name[:1] != "_"]
    return {name: row[name] for name in names}


def _prediction(tagged: Tagged) -> dict[str, Any]:
    """As the labeling configuration for named entities names its parts: label and text."""
    regions = [
        {
            "id": str(number),
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "score": entity["score"],
            "value": {
                **{key: entity[key] for key in ("start", "end", "text")},
                "labels": [entity["label"]],
            },
        }
        for number, entity in enumerate(tagged.entities, start=1)
    ]
    prediction: dict[str, Any] = {"model_version": "tagloop", "result": regions}
    if regions:
        scores = [region["score"] for region in regions]
        prediction["score"] = round(sum(scores) / len(scores), 4)
    return prediction


def to_brat(tagged: Tagged, ending: str, length: int, number: int) -> tuple[str, str]:
    """A line of brat's .txt and the lines of its .ann.

    A line break in a text becomes a blank, so that a line is a text; all offsets stay.

    Args:
        ending: of the line.
        length, number: characters and entities written before.
    """
    text = tagged.text.replace("\n", " ")
    if length == 0 and text.startswith("\ufeff"):  # A reader would take it for a mark of the file.
        text = " " + text[1:]
    marks = []
    for entity in tagged.entities:
        number += 1
        start, end = entity["start"], entity["end"]
        bound = f"{entity['label']} {length + start} {length + end}"
        marks.append(f"T{number}\t{bound}\t{text[start:end]}\n")
    return text + ending, "".join(marks)
