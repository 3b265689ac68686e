"""files.py and records.py: what is read from a folder that somebody else may have filled."""

import os

from tagloop.files import read_json


def test_a_pipe_is_no_file_to_read(tmp_path):
    """It would be read for ever: a report of a folder that holds one ends all the same."""
    os.mkfifo(tmp_path / "run.json")
    assert read_json(tmp_path / "run.json") == {}
