"""files.py and records.py: what is read from a folder that somebody else may have filled."""

import doctest
import os

from tagloop import files, records
from tagloop.files import read_json


def test_worked_examples():
    for module in (files, records):
        failed, tried = doctest.testmod(module)
        assert tried
        assert failed == 0


def test_a_pipe_is_no_file_to_read(tmp_path):
    """It would be read for ever: a report of a folder that holds one ends all the same."""
    os.mkfifo(tmp_path / "run.json")
    assert read_json(tmp_path / "run.json") == {}
