"""predictions.npz: what was written is read, and what is something else is said."""

import io
import time
import zipfile

import numpy as np
import pytest

from tagloop.outcome.predictions_file import (
    PREDICTIONS_FILE,
    read_predictions_file,
    write_predictions_file,
)

OUTPUTS = {
    "label": np.array([3, 0, 1], dtype=np.int16),
    "probability": np.array([0.9, 1 / 3, 1], dtype=np.float32),
}


def test_what_is_written_is_read(tmp_path):
    write_predictions_file(tmp_path, "test", "abc", OUTPUTS)
    found, reason = read_predictions_file(tmp_path)
    assert (found.split, found.fingerprint, reason) == ("test", "abc", "")
    assert found.outputs.keys() == OUTPUTS.keys()
    for name, values in OUTPUTS.items():
        assert found.outputs[name].dtype == values.dtype
        assert (found.outputs[name] == values).all()
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


def test_an_output_may_have_any_name(tmp_path):
    """Even those that numpy's own writer takes for its parameters, or that are members of ours."""
    outputs = {"split": np.arange(3), "file": np.arange(4)}
    write_predictions_file(tmp_path, "validation", "abc", outputs)
    found, _ = read_predictions_file(tmp_path)
    assert found.split == "validation"
    assert {name: len(values) for name, values in found.outputs.items()} == {"split": 3, "file": 4}


def test_equal_predictions_are_equal_bytes(tmp_path, monkeypatch):
    write_predictions_file(tmp_path, "test", "abc", OUTPUTS)
    before = (tmp_path / PREDICTIONS_FILE).read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_predictions_file(tmp_path, "test", "abc", OUTPUTS)
    assert (tmp_path / PREDICTIONS_FILE).read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_predictions_file(tmp_path, "test", "abc", OUTPUTS)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_predictions_file(tmp_path, "test", "new", {"label": np.array([object()])})
    assert read_predictions_file(tmp_path)[0].fingerprint == "abc"
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


def test_every_cut_and_every_foreign_file_is_said_and_nothing_in_it_is_run(tmp_path):
    assert read_predictions_file(tmp_path) == (None, "predictions.npz is missing")
    path = tmp_path / PREDICTIONS_FILE
    write_predictions_file(tmp_path, "test", "abc", OUTPUTS)
    whole = path.read_bytes()
    kept = [whole[:length] for length in range(0, len(whole), 37)]
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255
    arrays = [{"a": np.arange(3)}, {"split": np.arange(2), "fingerprint": np.array("x")}]
    arrays.append({"split": np.array("test"), "fingerprint": np.array(object())})
    arrays.append({"split": np.array("test"), "fingerprint": np.array("x"), "mine": np.arange(3)})
    for members in arrays:
        file = io.BytesIO()
        np.savez(file, **members, allow_pickle=True)
        kept.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("split.npy", b"\x80\x04cos\nsystem\n")
    for content in [*kept, bytes(damaged), file.getvalue(), b"\x93NUMPY", b"text"]:
        path.write_bytes(content)
        found, reason = read_predictions_file(tmp_path)
        assert found is None
        assert reason.startswith("predictions.npz cannot be read: ")
        assert "\n" not in reason
