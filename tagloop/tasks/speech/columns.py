"""Which columns a table of recordings has, and the cells of its rows."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tagloop.data.rows import Rows, cell_text, load_rows
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.sample.digits import build_sample_digits
from tagloop.wording import shown

AUDIO = ("audio", "file_name", "path", "file")  # usual names of the column, in this order
TEXT = ("text", "transcription", "transcript", "sentence")


class Recording(NamedTuple):
    """Where the sound of a row is.

    Attributes:
        name: what messages call it.
        source: the file, or the content of a file.
    """

    name: str
    source: Path | bytes


def read_recordings(config: Config) -> Rows:
    """The rows of every split: `audio`, which `recording_of` reads, and `text`.

    Raises:
        InputError: the data cannot be read.
    """
    files = (config.train_file, config.validation_file, config.test_file, config.predict_file)
    # Tables of the same content may lie in several folders, beside other recordings.
    folders = [str(Path(file).resolve().parent) for file in files if file]
    return load_rows(
        config,
        lambda *table: choose_columns(config, *table),
        build_sample_digits,
        RecordingReader(),
        folders,
    )


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str | None]:
    """The columns of a table of recordings: those that the user named, else those of usual names.

    Returns:
        The column of the table for "audio" and "text"; None for a column that it does not have.

    Raises:
        InputError: the table has no recordings, or the data to train or validate on no transcripts.
    """
    chosen = {}
    for name, given, usual in (
        ("audio", config.audio_column_name, AUDIO),
        ("text", config.text_column_name, TEXT),
    ):
        candidates = [given] if given else usual
        chosen[name] = next((each for each in candidates if each in table.columns), None)
        needed = name == "audio" or split in ("train", "validation")
        if chosen[name] is None and (needed or (given and split == "test")):
            raise InputError(
                f"{split}: no column {candidates[0]!r}; there are {', '.join(table.columns)}; name "
                f"the column of the {'recordings' if name == 'audio' else 'transcripts'} with "
                f"--{name}_column_name"
            )
    if split == "predict":  # Its transcripts would not be looked at.
        chosen["text"] = None
    return chosen


@dataclass(frozen=True)
class RecordingReader:
    """Reads the cells of a row: the recording as JSON, and the transcript."""

    def __call__(self, row: dict, chosen: dict[str, str | None], place: str) -> list[str | None]:
        """The cells of a row, in the order of `chosen`.

        Raises:
            InputError: the row has no recording.
        """
        audio = row.get(chosen["audio"])
        text = cell_text(row, chosen["text"], place)
        return [json.dumps(describe_audio(audio, place)), text]


def describe_audio(value: Any, place: str) -> dict[str, str]:
    """Where the sound of a cell is, as JSON can hold it: `path` or `bytes` (base64), and `place`.

    Args:
        value: the name of a file, which counts from the folder of the table; or a dict with the
            keys path and bytes, as datasets stores recordings.
        place: place of the row; it begins with the path of the table.

    Raises:
        InputError: the cell names no recording.
    """
    content = value.get("bytes") if isinstance(value, dict) else None
    path = value.get("path") if isinstance(value, dict) else value
    if isinstance(content, bytes) and content:
        return {"place": place, "bytes": base64.b64encode(content).decode()}
    if not isinstance(path, str) or not path.strip():
        raise InputError(
            f"{place}: no recording: {shown(value)}; name a file of sound, or leave the row out"
        )
    whole = (Path(place).parent / path.strip()).absolute()
    return {"place": place, "path": str(whole)}


def recording_of(cell: str) -> Recording:
    """The recording of a cell that RecordingReader wrote."""
    return recording_of_facts(json.loads(cell))


def recording_of_facts(facts: dict[str, str]) -> Recording:
    """The recording of a cell as describe_audio describes it."""
    if "bytes" in facts:
        return Recording(facts["place"], base64.b64decode(facts["bytes"]))
    return Recording(f"{facts['place']}: {facts['path']}", Path(facts["path"]))


def files_of(cells: Iterator[str]) -> Iterator[list]:
    """For every cell that names a file: its path, size and time of change.

    Raises:
        InputError: a file is not there.
    """
    for cell in cells:
        name, source = recording_of(cell)
        if isinstance(source, Path):
            try:
                facts = source.stat()
            except OSError as error:
                raise InputError(
                    f"{name}: cannot be read ({error.strerror}); names of files count from the "
                    "folder of the table"
                ) from error
            yield [str(source), facts.st_size, facts.st_mtime_ns]
