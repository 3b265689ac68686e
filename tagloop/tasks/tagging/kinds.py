"""The tasks of this folder: the kinds of tags, and the user's choices for reading the data."""

from tagloop.data.row import Choices, TagKind
from tagloop.data.sources import existing_file
from tagloop.data.words.tags import read_names
from tagloop.options.config import Config

KINDS = {
    "ner": TagKind("ner", has_spans=True, column_names=("ner_tags", "ner")),
    "pos": TagKind(
        "pos",
        has_spans=False,
        column_names=("pos_tags", "pos", "upos"),
        conll_column=0,
        conllu_column="upos",
    ),
    "chunk": TagKind("chunk", has_spans=True, column_names=("chunk_tags", "chunk"), conll_column=1),
}


def read_choices(config: Config) -> Choices:
    """The user's choices for reading the data; this reads --labels_file.

    Raises:
        InputError: the --labels_file cannot be read, or has no names.
    """
    names_file = config.labels_file and existing_file("--labels_file", config.labels_file)
    return Choices(
        kind=KINDS[config.task_name],
        text_column=config.text_column_name,
        label_column=config.label_column_name,
        document_column=config.document_column_name,
        names=read_names(names_file) if names_file else None,
        misaligned=config.misaligned,
    )
