"""The worked examples in docstrings are right, in every module that has some."""

import doctest
import importlib
import re

import pytest
from launches import REPO

NUMBERS = {
    ".".join(path.relative_to(REPO).with_suffix("").parts): len(
        re.findall(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    for path in sorted(REPO.glob("tagloop/**/*.py"))
}


@pytest.mark.parametrize("name", [name for name, number in NUMBERS.items() if number])
def test_worked_examples(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert (failed, tried) == (0, NUMBERS[name])
