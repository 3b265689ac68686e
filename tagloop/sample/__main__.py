"""Writes the built-in corpus as files, for people who want to try commands on files.

python -m tagloop.sample data    # data/train.conll, validation.conll, test.conll and new.txt
"""

import sys
from pathlib import Path

from tagloop.errors import InputError, report_error
from tagloop.sample.corpus import build_sample_corpus
from tagloop.streams import open_streams, write_line


def write_sample(folder: Path) -> list[Path]:
    """Write the files into a folder, which may be new; return their paths.

    `train.conll`, `validation.conll` and `test.conll` have a word and its entity tag in a line,
    and a blank line after each sentence. `new.txt` has the test sentences as text, one in a line.

    Raises:
        InputError: a file of these names exists, or the folder cannot be written.
    """
    corpus = build_sample_corpus()
    texts = {f"{split}.conll": columns_of(sentences) for split, sentences in corpus.items()}
    texts["new.txt"] = "".join(" ".join(row["tokens"]) + "\n" for row in corpus["test"])
    for name in texts:
        if (folder / name).exists():
            raise InputError(f"{folder / name}: exists and stays as it is; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return [folder / name for name in texts]


def columns_of(sentences: list[dict]) -> str:
    """Sentences with `tokens` and `ner_tags` as CoNLL columns."""
    return "".join(
        "".join(f"{word} {tag}\n" for word, tag in zip(row["tokens"], row["ner_tags"], strict=True))
        + "\n"
        for row in sentences
    )


def main(arguments: list[str]) -> int:
    """Write the files into the folder that the only argument names; return the exit code."""
    open_streams()
    try:
        if len(arguments) != 1 or arguments[0].startswith("-"):
            raise InputError("give one argument, the folder: python -m tagloop.sample data")
        paths = write_sample(Path(arguments[0]).expanduser())
    except InputError as error:
        return report_error(error)
    write_line("wrote " + ", ".join(map(str, paths)), "stdout")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
