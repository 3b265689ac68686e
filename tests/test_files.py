"""files.py and arrow_files.py: files are replaced whole, whatever was left there."""

import os

import pyarrow as pa
import pytest

from tagloop.data.storage import arrow_files
from tagloop.files import whole_file


def test_what_a_killed_process_left_blocks_no_later_one_of_the_same_number(tmp_path):
    """In a container, every process may have the number 1."""
    left = tmp_path / f"tmp-{os.getpid()}-out.txt"
    left.write_text("half")
    with whole_file(tmp_path / "out.txt") as file:
        file.write("whole")
    assert (tmp_path / "out.txt").read_text() == "whole"
    with pytest.raises(UnicodeEncodeError), whole_file(tmp_path / "out.txt") as file:
        file.write("other \ud800")
    assert (tmp_path / "out.txt").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {left.name, "out.txt"}


def test_rows_with_long_texts_are_stored_in_order(tmp_path, monkeypatch):
    """A batch of Arrow holds less than 2 GiB of text, and 1,000 recordings may be more."""
    monkeypatch.setattr(arrow_files, "MOST_CHARACTERS", 100)
    rows = [("x" * length, length) for length in (10, 0, 250, 3, 99, 2, 1)]
    schema = pa.schema([("text", pa.string()), ("number", pa.int64())])
    path = tmp_path / "rows.arrow"
    assert arrow_files.write_rows(path, iter(rows), schema) == len(rows)
    assert [*arrow_files.stored_rows(path)] == rows
    with pa.ipc.open_stream(path) as batches:
        assert max(len(batch.column(0)) for batch in batches) < len(rows)
