"""The worked examples in docstrings are right, in every module that has some."""

import doctest
import importlib

import pytest
from launches import REPO

PATHS = sorted(path.relative_to(REPO) for path in REPO.glob("tagloop/**/*.py"))
WITH_EXAMPLES = [
    ".".join(path.with_suffix("").parts)
    for path in PATHS
    if ">>> " in (REPO / path).read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_worked_examples(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried >= 1
    assert failed == 0
