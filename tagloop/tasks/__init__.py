"""What is learned, predicted and scored. A task is one entry here; see task.py."""

from tagloop.config import Config
from tagloop.tasks.task import Task


def load_task(config: Config, *, pad_to_multiple_of: int) -> Task:
    """Data, labels, tokenizer and examples of the task that the options name.

    Args:
        pad_to_multiple_of: columns of a batch; eight is what half precision on a GPU likes.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    from tagloop.tasks.tagging.task import load_tagging

    return load_tagging(config, pad_to_multiple_of=pad_to_multiple_of)
