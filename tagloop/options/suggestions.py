"""What a message says of a name that is no option."""

import difflib
import re

from tagloop.options.config import FIELDS
from tagloop.options.renamed import RENAMED

SPELLINGS = {f"--{name}": name for name in FIELDS}
SPELLINGS |= {alias: name for name, field in FIELDS.items() for alias in field.metadata["aliases"]}


def unknown_option(option: str) -> str:
    """A message about an unknown option. It never quotes a value, which may be a secret."""
    name = re.match(r"-*\w*", option)[0]  # what follows `=` or a forgotten space may be a value
    return f"unknown option {name}; {suggest(name)}"


def suggest(name: str) -> str:
    """What to use instead: the option of another trainer under our name, or the closest name."""
    if answer := RENAMED.get(name.lstrip("-")):
        return answer
    close = difflib.get_close_matches(name, SPELLINGS, n=1)
    return f"did you mean {close[0]}?" if close else "--help lists all options"
