"""The option --misaligned, which several tasks take."""

from dataclasses import dataclass
from typing import Literal

from tagloop.options.marks import option


@dataclass(frozen=True)
class MisalignedOption:
    """The option that says what becomes of annotations which do not fit their text."""

    misaligned: Literal["error", "drop", "widen", "nearest"] = option(
        "error",
        "Spans of characters that cut a word, or answers that do not stand at their place: stop "
        "and name them, or leave them out (words then have no gold tag; an answer is scored, but "
        "not learned). Of spans, widen takes the whole words. Of answers, nearest takes the place "
        "nearest to theirs that holds their text.",
        about="data",
    )
