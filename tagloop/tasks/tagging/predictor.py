"""What predict.py needs of a tagger: the reader of a row, the formats, and the tagger itself."""

from pathlib import Path

from tagloop.data.documents.reading import ContentReader
from tagloop.tasks.tagging.tagger import load_tagger
from tagloop.tasks.task import Task

FORMATS = None  # A tagger reads and writes all formats.
SPLITS_WORDS = True
HAS_MEAN = True  # Several models predict by the mean of their probabilities.
load_predictor = load_tagger


def example_input(task: Task) -> str:
    """What the console shows as the first use of predict.py after a training: its arguments."""
    return '--text "Write a text here."'


def content_reader(folder: Path) -> ContentReader | None:
    """The reader of the content of a row; None: the words of the row, or its text."""
    return None
