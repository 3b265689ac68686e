"""Which columns a table of recordings has, and the cells of its rows."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tagloop.data.rows import Rows, cell_text, load_rows
from tagloop.data.tables import Table
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.options.places import find_text_problem
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
    """The rows of every split, with the cells that RecordingReader writes.

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
        together=("file", "content"),
    )


def choose_columns(config: Config, table: Table, split: str) -> dict[str, str | None]:
    """The columns of a table of recordings: those that the user named, else those of usual names.

    Returns:
        The column of the table for the cells "file", "content", "place" and "text"; None for a
        column that the table does not have.

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
    audio = chosen["audio"]
    return {"file": audio, "content": audio, "place": None, "text": chosen["text"]}


@dataclass(frozen=True)
class RecordingReader:
    """Reads the cells of a row: `file`, `content`, `place` and `text`."""

    def __call__(self, row: dict, chosen: dict[str, str | None], place: str) -> list[str | None]:
        """The cells of a row, in the order of `chosen`.

        `file` is the path of the recording, `content` the content of a file in base64; one of them
        is None. `place` is that of the row.

        Raises:
            InputError: the row has no recording.
        """
        source = source_of(row.get(chosen["file"]), place)
        is_file = isinstance(source, Path)
        return [
            str(source) if is_file else None,
            None if is_file else base64.b64encode(source).decode(),
            place,
            cell_text(row, chosen["text"], place),
        ]


def source_of(value: Any, place: str) -> Path | bytes:
    """Where the sound of a cell is: a file, or the content of a file.

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
        return content
    is_name = isinstance(path, str) and path.strip() and find_text_problem(path) is None
    if not is_name:
        raise InputError(
            f"{place}: no recording: {shown(value)}; name a file of sound, or leave the row out"
        )
    return (Path(place).parent / path.strip()).absolute()


def name_of(source: Path | bytes, place: str) -> str:
    """What messages call a recording: the place of its row, and its file."""
    return f"{place}: {source}" if isinstance(source, Path) else place


def recording_of(file: str | None, content: str | None, place: str) -> Recording:
    """The recording of the cells that RecordingReader wrote."""
    source = base64.b64decode(content or "") if file is None else Path(file)
    return Recording(name_of(source, place), source)


def files_of(cells: Iterable[tuple[str | None, str]]) -> Iterator[list]:
    """The path, size and time of change of every file.

    Args:
        cells: `file` and `place` of every row.

    Raises:
        InputError: a file is not there.
    """
    for file, place in cells:
        if file is None:
            continue
        try:
            facts = Path(file).stat()
        except OSError as error:
            raise InputError(
                f"{place}: {file}: cannot be read ({error.strerror}); names of files count from "
                "the folder of the table"
            ) from error
        yield [file, facts.st_size, facts.st_mtime_ns]
