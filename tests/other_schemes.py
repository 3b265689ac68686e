"""Writes spans in the tag schemes that tagloop reads."""

from collections.abc import Sequence

from tagloop.data.words.schemes import spans


def from_iob2(tags: Sequence[str], scheme: str) -> list[str]:
    """Rewrite the IOB2 tags of a sentence in another scheme. Reads like `spans`."""
    first, last, lone = {
        "IOB1": ("I", "I", "I"),
        "IOB2": ("B", "I", "B"),
        "IOBES": ("B", "E", "S"),
        "BILOU": ("B", "L", "U"),
        "BMES": ("B", "E", "S"),
        "IO": ("", "", ""),
    }[scheme]
    middle = {"BMES": "M", "IO": ""}.get(scheme, "I")
    result = ["O"] * len(tags)
    span_before = (0, 0, "")
    for span in spans(tags):
        start, end, span_type = span
        marks = [lone] if end - start == 1 else [first, *[middle] * (end - start - 2), last]
        if scheme == "IOB1" and span_before[1:] == (start, span_type):
            marks[0] = "B"
        result[start:end] = [f"{mark}-{span_type}" if mark else span_type for mark in marks]
        span_before = span
    return result
