"""Label Studio: tasks of its JSON (data, annotations, result), and spans of its JSON_MIN."""

from typing import Any


def is_task(row: dict) -> bool:
    """Whether a row is a task with annotations, or with a list for them."""
    lists = ("annotations", "completions", "predictions")
    return has_data(row) and any(isinstance(row.get(name), list) for name in lists)


def has_data(row: dict) -> bool:
    """Whether a row is a task: its own columns are under "data"."""
    return isinstance(row.get("data"), dict)


def is_region(item: Any) -> bool:
    """Whether an item of a list is a span as Label Studio writes it (JSON_MIN)."""
    return isinstance(item, dict) and "start" in item and "labels" in item


def finished_annotations(task: dict) -> list[dict]:
    """The annotations of a task, the one to read first; its predictions, if it has no place for
    annotations."""
    lists = [task.get(name) for name in ("annotations", "completions")]
    given = [item for items in lists if isinstance(items, list) for item in items]
    if all(items is None for items in lists):
        given = task.get("predictions") or []
    valid = [item for item in given if isinstance(item, dict) and not item.get("was_cancelled")]
    return sorted(valid, key=lambda item: not item.get("ground_truth"))


def regions_of(annotation: dict) -> list[dict]:
    """The labeled spans of an annotation, without its relations and choices."""
    result = annotation.get("result")
    regions = [region for region in result or () if isinstance(region, dict)]
    labeled = [r for r in regions if str(r.get("type", "labels")).endswith("labels")]
    values = [region.get("value") for region in labeled]
    return [value for value in values if isinstance(value, dict) and "start" in value]
