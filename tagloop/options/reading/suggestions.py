"""What a message says of a name that is no option."""

import difflib
import re

from tagloop.options.config import FIELDS
from tagloop.options.reading.renamed import ELSEWHERE, RENAMED
from tagloop.options.scripts import LAUNCH_FILES, launch_file

SPELLINGS = {f"--{name}": name for name in FIELDS}
SPELLINGS |= {alias: name for name, field in FIELDS.items() for alias in field.metadata["aliases"]}
# A name that is less alike than this is more often a wrong suggestion than a right one.
ALIKE = 0.7


def unknown_option(option: str) -> str:
    """A message about an unknown option. It never quotes a value, which may be a secret."""
    name = re.match(r"-*[\w.]*", option)[0]  # what follows `=` or a forgotten space may be a value
    return f"unknown option {name}; {suggest(name)}"


def answer_of(name: str) -> str | None:
    """What to type instead of another trainer's option; None for a name that is in no table."""
    name = name.lstrip("-").lower()
    answer = RENAMED.get(name) or ELSEWHERE.get(name)
    return answer and re.sub(
        rf"{LAUNCH_FILES}/(\w+\.yaml)", lambda file: launch_file(file[1]), answer
    )


def suggest(name: str) -> str:
    """What to use instead: the option of another trainer under our name, or the closest name."""
    if answer := answer_of(name):
        return answer
    likeness = {spelling: _likeness(name, spelling) for spelling in SPELLINGS}
    closest = max(likeness, key=likeness.get)
    return f"did you mean {closest}?" if likeness[closest] >= ALIKE else "--help lists all options"


def _likeness(one: str, other: str) -> float:
    """How alike two names are, 0 to 1: by letters, or by the words that they are made of."""
    words, others = ({*name.lstrip("-").lower().split("_")} for name in (one, other))
    by_words = 2 * len(words & others) / (len(words) + len(others))
    letters = (name.lstrip("-").lower() for name in (one, other))
    return max(difflib.SequenceMatcher(None, *letters).ratio(), by_words)
