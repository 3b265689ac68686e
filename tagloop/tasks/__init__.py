"""What is learned, predicted and scored. A task is one case here; see task.py."""

from tagloop.config import Config
from tagloop.tasks.task import Task


def load_task(config: Config, *, pad_to_multiple_of: int) -> Task:
    """Data, labels, tokenizer and examples of the task that the options name.

    Args:
        pad_to_multiple_of: columns of a batch; eight is what half precision on a GPU likes.

    Raises:
        InputError: bad data, or options that do not fit it.
    """
    match config.task_name:  # imported here: a task brings its libraries along
        case "ner" | "pos" | "chunk":
            from tagloop.tasks.tagging.task import load_tagging as load
        case "classification":
            from tagloop.tasks.classification import load_classification as load
    return load(config, pad_to_multiple_of=pad_to_multiple_of)
