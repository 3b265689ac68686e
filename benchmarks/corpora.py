"""The corpora that scores.py trains and tests on, as lists of sentences.

    load_corpus("wnut17")   # {"train": [{"tokens": [...], "ner_tags": [...]}, ...], ...}

The files lie in $TAGLOOP_CORPORA or ../shared/data: conll2003/eng.train, eng.testa and eng.testb;
wnut17/wnut17train.conll, wnut17dev.conll and wnut17test.conll; ud_partut/en_partut-ud-*.conllu.
`sample` is the built-in corpus. The tags of all tasks have the key ner_tags, which the loops of
peers.py read; those of entities are IOB2. A sentence has a `document` where its file marks them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inputs import SAMPLE, folders_of_corpora

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """Where a corpus lies, and how it is read.

    Attributes:
        title: its name in tables.
        task: ner or pos.
        files: its files in the order of SPLITS, below the folder of the corpora.
        read: (path) -> sentences.
    """

    title: str
    task: str
    files: tuple[str, ...]
    read: object


def load_corpus(name: str) -> dict[str, list[dict]]:
    """The sentences of every split. FileNotFoundError names the files that are missing."""
    if name == str(SAMPLE):
        from tagloop.sample.corpus import build_sample_corpus

        sample = build_sample_corpus()
        keys = ("tokens", "ner_tags")
        return {
            split: [{key: row[key] for key in keys} for row in sample[split]] for split in SPLITS
        }
    corpus = CORPORA[name]
    for folder in folders_of_corpora():
        paths = [folder / file for file in corpus.files]
        if all(path.is_file() for path in paths):
            return {
                split: list(corpus.read(path)) for split, path in zip(SPLITS, paths, strict=True)
            }
    places = " or ".join(map(str, folders_of_corpora()))
    raise FileNotFoundError(f"{', '.join(corpus.files)}: not in {places}; set TAGLOOP_CORPORA")


def read_conll(path: Path) -> Iterator[dict]:
    """CoNLL-2003: columns separated by blanks, IOB1, documents begin with -DOCSTART-."""
    from tagloop.data.words.schemes import to_iob2

    document = -1
    for lines in read_blocks(path):
        rows = [line.split(" ") for line in lines]
        if rows[0][0] == "-DOCSTART-":
            document += 1
            continue
        tags = to_iob2([row[-1] for row in rows], "IOB1")
        yield {"tokens": [row[0] for row in rows], "ner_tags": tags, "document": str(document)}


def read_wnut(path: Path) -> Iterator[dict]:
    """WNUT-17: word, tabulator, IOB2 tag."""
    for lines in read_blocks(path):
        rows = [line.split("\t") for line in lines]
        yield {"tokens": [row[0] for row in rows], "ner_tags": [row[1] for row in rows]}


def read_conllu(path: Path) -> Iterator[dict]:
    """CoNLL-U: its words, without the lines of multi-word tokens and empty nodes, and UPOS."""
    for lines in read_blocks(path):
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        rows = [row for row in rows if row[0].isdigit()]
        yield {"tokens": [row[1] for row in rows], "ner_tags": [row[3] for row in rows]}


def read_blocks(path: Path) -> Iterator[list[str]]:
    """The runs of lines between blank lines. Only a line feed ends a line: words of WNUT-17
    contain other characters that Python would split lines at."""
    block: list[str] = []
    for line in [*path.read_bytes().decode().split("\n"), ""]:
        if line.strip():
            block.append(line.rstrip("\r"))
        elif block:
            yield block
            block = []


CORPORA = {
    "conll2003": Corpus(
        "CoNLL-2003",
        "ner",
        tuple(f"conll2003/eng.{name}" for name in ("train", "testa", "testb")),
        read_conll,
    ),
    "wnut17": Corpus(
        "WNUT-17",
        "ner",
        tuple(f"wnut17/wnut17{name}.conll" for name in ("train", "dev", "test")),
        read_wnut,
    ),
    "partut": Corpus(
        "ParTUT, parts of speech",
        "pos",
        tuple(f"ud_partut/en_partut-ud-{name}.conllu" for name in ("train", "dev", "test")),
        read_conllu,
    ),
    str(SAMPLE): Corpus("the built-in sample", "ner", (), load_corpus),
}
