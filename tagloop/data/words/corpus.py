"""Hub / JSON / CSV / parquet / CoNLL / CoNLL-U / saved dataset -> words and tags, memory-mapped.

    corpus = load_corpus(config, choices, ["train", "validation"])
    corpus.splits["train"][0]  # {"tokens": ["EU", ...], "tags": ["B-ORG", ...], "document": 0}

Each source is read once per machine, a thousand rows at a time: the first pass stores the tags as
they are and finds their scheme, the second stores them as IOB2. `readers.py` knows the formats.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from tagloop.data.labels import labels_alike
from tagloop.data.row import NO_GOLD_TAG, Choices, Found, Row
from tagloop.data.sources import find_sources, source_key
from tagloop.data.storage.arrow_files import stored_rows, write_rows
from tagloop.data.storage.selection import select
from tagloop.data.storage.store import build_once, source_digest
from tagloop.data.words import readers, schemes
from tagloop.errors import InputError
from tagloop.options.config import Config

SCHEMA = pa.schema(
    {"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "document": pa.int32()}
)
RAW_SCHEMA = SCHEMA.append(pa.field("place", pa.string()))
RAW_SCHEMA = RAW_SCHEMA.append(pa.field("lines", pa.list_(pa.int32())))


@dataclass(frozen=True)
class Corpus:
    """Words and tags of the splits that were asked for and exist.

    Attributes:
        splits: memory-mapped, columns `tokens` (strings), `tags` (strings, spans in IOB2, null
            where a word has no gold tag), `document` (a number; neighbours with the same number
            are in one document).
        labels: the tags of train, validation and test, asked for or not, sorted.
        scheme: the one found or given; None for tags that mark no spans, or if there are no tags.
        fingerprints: per split, a hash of its rows; paths and formats have no part in it, and
            documents only with --context_tokens.
        documents: per split, what marks its documents; None: nothing, and all rows have number 0.
        columns: what was taken for words and tags, by split ("words from column 0, tags ...").
        warnings: for the user; nothing in them stops a run.
        stored: per split, the split that its rows are stored in, and their numbers there.
    """

    splits: dict[str, datasets.Dataset]
    labels: list[str]
    scheme: str | None
    fingerprints: dict[str, str]
    documents: dict[str, str | None]
    columns: dict[str, str]
    warnings: list[str]
    stored: dict[str, tuple[str, np.ndarray]]


def load_corpus(config: Config, choices: Choices, splits: Sequence[str]) -> Corpus:
    """Load the splits named in `splits`, every process for itself; the first one does the work.

    Labels and scheme come from all the data, whatever is asked for and however few rows are
    selected: they are the same in every run and in every process.

    Raises:
        InputError: no such data, a row that cannot be read, or tags of no scheme.
    """
    warnings: list[str] = []
    sources = find_sources(config, warnings)
    key = {
        "sources": {split: source_key(source) for split, source in sources.items()},
        "choices": [*astuple(choices), config.label_scheme],
        "code": source_digest("tagloop.data.words.corpus"),
        "versions": [datasets.__version__, pa.__version__],
    }
    folder = build_once(
        "corpus", key, lambda unfinished: _build(unfinished, sources, choices, config.label_scheme)
    )
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    warnings += facts["warnings"] + _label_warnings(facts["labels"])

    prints = facts["fingerprints"]
    if config.context_tokens:  # Then an example depends on its document, too.
        both = {split: prints[split] + facts["document_fingerprints"][split] for split in prints}
        prints = {split: hashlib.sha256(text.encode()).hexdigest() for split, text in both.items()}
    selected = select(folder, facts["rows"], prints, config, texts=["tokens"])
    asked = [split for split in selected.splits if split in splits]
    loaded = {split: selected.splits[split] for split in asked}
    fingerprints = {split: selected.fingerprints[split] for split in asked}
    stored = selected.stored
    columns = {split: facts["columns"][stored[split][0]] for split in asked}
    documents = {split: facts["documents"][stored[split][0]] for split in asked}
    # Words to tag may have gold tags of another kind; nobody learns or scores them.
    labels = sorted(set().union(*(of for s, of in facts["labels"].items() if s != "predict")))
    return Corpus(
        loaded, labels, facts["scheme"], fingerprints, documents, columns, warnings, stored
    )


def _build(folder: Path, sources: dict[str, Any], choices: Choices, scheme: str | None) -> None:
    """Write `<split>.arrow` and facts.json into `folder`."""
    has_scheme = choices.kind.has_spans
    detector = schemes.SchemeDetector(scheme) if has_scheme else None
    rows, columns, known, warnings, any_tags = {}, {}, {}, [], False
    before: list[Found] = []
    predict_detector = None
    for split, source in sources.items():
        found, sentences = readers.read_source(source, split, choices, [*before])
        before.append(found)
        only_to_tag = split == "predict" and len(sources) > 1  # Nobody learns or scores its tags.
        if only_to_tag and has_scheme:
            predict_detector = schemes.SchemeDetector()
        own_detector = predict_detector if only_to_tag else detector
        rows[split], has_tags = _write_raw(
            folder / f"{split}.raw", sentences, None if found.scheme else own_detector
        )
        known[split], columns[split] = found.scheme, found.columns
        warnings += [f"{split}: {note}" for note in (*found.notes, *found.lost)]
        where = f"{split} ({source})" if isinstance(source, Path) else split
        if not rows[split]:
            raise InputError(f"{where}: no sentences; check the file, or leave the split out")
        if split == "train" and not has_tags:
            raise InputError(
                f"{where}: no word has a gold tag (all are {NO_GOLD_TAG}, null or _; "
                f"{columns[split]}): nothing to learn; check --label_column_name and --task_name"
            )
        any_tags |= has_tags and known[split] is None and not only_to_tag
    if detector is not None and any_tags:
        with _naming(columns):
            scheme = detector.result()
        warnings += [remark] if (remark := detector.remark()) else []
    if not any_tags:  # spans of characters alone
        scheme = next(filter(None, known.values()), scheme)

    labels, fingerprints, document_fingerprints = {}, {}, {}
    for split in sources:
        raw, counted = folder / f"{split}.raw", set()
        digest, of_documents = hashlib.sha256(), hashlib.sha256()
        of_split = (known[split] or scheme) if has_scheme else None
        keeps_tags = True
        if split == "predict" and predict_detector is not None and known[split] is None:
            of_split = _fitting_scheme(raw, scheme, predict_detector)
            if not (keeps_tags := of_split is not None):
                warnings.append(f"{split}: its tags fit no scheme of spans, and are left out")
        converted = _convert(stored_rows(raw), of_split, counted, digest, of_documents, keeps_tags)
        with _naming({split: columns[split]}):
            write_rows(folder / f"{split}.arrow", converted, SCHEMA)
        raw.unlink()
        labels[split], fingerprints[split] = sorted(counted), digest.hexdigest()
        document_fingerprints[split] = of_documents.hexdigest()
    facts = {
        "rows": rows,
        "columns": columns,
        "labels": labels,
        "fingerprints": fingerprints,
        "documents": {split: found.documents for split, found in zip(sources, before, strict=True)},
        "document_fingerprints": document_fingerprints,
        "scheme": scheme if has_scheme else None,
        "warnings": warnings,
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@contextmanager
def _naming(columns: dict[str, str]) -> Iterator[None]:
    """Say in an error about a tag which columns were taken: another one may be the right one."""
    try:
        yield
    except InputError as error:
        texts = "; ".join(f"{split}: {text}" for split, text in columns.items())
        raise InputError(f"{error} What was read: {texts}.") from error


def _write_raw(
    path: Path, rows: Iterable[Row], detector: schemes.SchemeDetector | None
) -> tuple[int, bool]:
    """Write rows as they are, show their tags to the detector; return (rows, any gold tag)."""
    variety = Variety()

    def seen() -> Iterator[Row]:
        for row in rows:
            if any(tag is not None for tag in row.tags):
                variety.add(row)
                if detector is not None:
                    detector.add(row.tags, row.place_of)
            yield row

    total = write_rows(path, seen(), RAW_SCHEMA)
    if path.stem != "predict":  # Its tags are neither learned nor scored.
        variety.check(path.stem)
    return total, bool(variety.tags)


class Variety:
    """Finds words that were taken for tags: there are more of them than words."""

    USUAL = 100  # A small file may have so many tags, and fewer words.

    def __init__(self) -> None:
        self.tags: set[str] = set()
        self._words: set[str] = set()  # It grows only until it is larger than `tags`.

    def add(self, row: Row) -> None:
        """Look at a sentence with gold tags."""
        self.tags.update(tag for tag in row.tags if tag is not None)
        if len(self._words) <= len(self.tags):
            self._words.update(row.tokens)

    def check(self, where: str) -> None:
        """Find words taken for tags in what was added, `where` in messages.

        Raises:
            InputError: the tags are most likely words.
        """
        if len(self.tags) > max(self.USUAL, len(self._words)):
            raise InputError(
                f"{where}: {len(self.tags):,} different tags for {len(self._words):,} different "
                "words; are the columns swapped? See --text_column_name and --label_column_name"
            )


def _fitting_scheme(raw: Path, scheme: str | None, detector: schemes.SchemeDetector) -> str | None:
    """The scheme of words to tag that have tags: that of the other splits, else one of their own.

    Args:
        detector: has seen these tags.

    Returns:
        None if no scheme fits, as for tags of another kind.
    """
    candidates = [scheme] if scheme else []
    with suppress(InputError):
        candidates.append(detector.result())
    for one in candidates:
        with suppress(InputError):
            for row in itertools.starmap(Row, stored_rows(raw)):
                schemes.to_iob2(row.tags, one, place=row.place_of)
            return one
    return None


def _convert(
    rows: Iterable[tuple],
    scheme: str | None,
    labels: set[str],
    digest: Any,
    of_documents: Any,
    keeps_tags: bool,
) -> Iterator[tuple]:
    """Yield the rows with IOB2 tags; collect the labels and hash the rows on the way.

    Args:
        keeps_tags: False leaves all tags out.
        digest, of_documents: hashes that words and tags, and the numbers of documents, go into.
    """
    encode = json.JSONEncoder(separators=(",", ":")).encode
    for row in itertools.starmap(Row, rows):
        tokens, tags, document = row.tokens, row.tags, row.document
        if scheme is not None:
            tags = schemes.to_iob2(tags, scheme, place=row.place_of)
        if not keeps_tags:
            tags = [None] * len(tags)
        labels.update(tag for tag in tags if tag is not None)
        digest.update(encode([tokens, tags]).encode() + b"\n")
        of_documents.update(b"%d\n" % document)
        yield tokens, tags, document


def _label_warnings(labels: dict[str, list[str]]) -> list[str]:
    warnings = []
    others = [split for split in labels if split != "train"]
    for split in others:
        if split != "predict" and not labels[split]:
            warnings.append(f"{split}: no word has a gold tag, so it cannot be scored")
        if unseen := sorted(set(labels[split]) - set(labels.get("train", labels[split]))):
            warnings.append(
                f"{split}: labels that the training split does not have, and no model can learn: "
                + ", ".join(unseen)
            )
    return sorted(warnings + labels_alike(labels))
