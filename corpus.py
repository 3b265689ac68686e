"""Hub / JSON / CSV / parquet / CoNLL / CoNLL-U / saved dataset -> words and tags, memory-mapped.

    corpus = load_corpus(options, ["train", "validation"])
    corpus.splits["train"][0]  # {"tokens": ["EU", ...], "tags": ["B-ORG", ...], "document": 0}

Each source is read once per machine, a thousand rows at a time: the first pass stores the tags as
they are and finds their scheme, the second stores them as IOB2. `readers.py` knows the formats.
"""

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

import readers
import sample_corpus
import schemes
from cache import build_once, source_digest
from errors import InputError

SPLITS = ("train", "validation", "test", "predict")
HUB_SPLITS = {"train": ["train"], "validation": ["validation", "dev", "valid"], "test": ["test"]}
SCHEMA = pa.schema(
    {"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "document": pa.int32()}
)
RAW_SCHEMA = SCHEMA.append(pa.field("place", pa.string()))
BATCH = 1000  # rows
# Datasets whose loading scripts no version of `datasets` since 4 runs, and what works instead.
PARQUET_CONVERSION = "refs/convert/parquet"
CONLL2003 = "--dataset_name lhoestq/conll2003"
WNUT17 = "--train_file with the CoNLL files of github.com/leondz/emerging_entities_17"
UD = (
    "--dataset_name commul/universal_dependencies with the same --dataset_config_name, or "
    "--train_file with the .conllu files of universaldependencies.org"
)
RETIRED = {
    "conll2003": CONLL2003,
    "eriktks/conll2003": CONLL2003,
    "wnut_17": WNUT17,
    "leondz/wnut_17": WNUT17,
    "universal_dependencies": UD,
    "universal-dependencies/universal_dependencies": UD,
}


@dataclass(frozen=True)
class Corpus:
    """Words and tags of the splits that were asked for and exist.

    splits: memory-mapped, columns `tokens` (strings), `tags` (strings, IOB2 for ner and chunk, null
        where a word has no gold tag), `document` (index, counts -DOCSTART- lines).
    labels: the tags of all splits that the options name, asked for or not, sorted.
    scheme: the one found or given; None for pos, or if there are no tags.
    fingerprints: per split, a hash of its rows; paths and formats have no part in it.
    warnings: for the user; nothing in them stops a run.
    """

    splits: dict[str, datasets.Dataset]
    labels: list[str]
    scheme: str | None
    fingerprints: dict[str, str]
    warnings: list[str]


def load_corpus(options: Any, splits: Sequence[str]) -> Corpus:
    """Load the splits named in `splits`, every process for itself; the first one does the work.

    Labels and scheme come from all the data, whatever is asked for and however few rows are
    selected: they are the same in every run and in every process.
    """
    warnings: list[str] = []
    sources = find_sources(options, warnings)
    names_file = options.labels_file and _existing_file("--labels_file", options.labels_file)
    reading = readers.Reading(
        task=options.task_name,
        text_column=options.text_column_name,
        label_column=options.label_column_name,
        names=readers.read_names(names_file) if names_file else None,
    )
    reading_key = [reading.task, reading.text_column, reading.label_column, reading.names]
    key = {
        "sources": {split: _source_key(source) for split, source in sources.items()},
        "reading": [*reading_key, options.label_scheme],
        "code": source_digest(sys.modules[__name__], readers, schemes, sample_corpus),
        "versions": [datasets.__version__, pa.__version__],
    }
    folder = build_once(
        "corpus", key, lambda unfinished: _build(unfinished, sources, reading, options.label_scheme)
    )
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    warnings += facts["warnings"] + _label_warnings(facts["labels"])

    loaded, fingerprints = {}, {}
    for split, (source, rows) in _select_rows(facts["rows"], options).items():
        if split in splits:
            dataset = datasets.Dataset.from_file(str(folder / f"{source}.arrow"))
            fingerprints[split] = facts["fingerprints"][source]
            if len(rows) < len(dataset):
                dataset = dataset.select(rows)
                rows_digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
                fingerprints[split] = _sha256(fingerprints[split] + rows_digest)
            loaded[split] = dataset
    labels = sorted(set().union(*facts["labels"].values()))
    return Corpus(loaded, labels, facts["scheme"], fingerprints, warnings)


# --- where the data is ---


def find_sources(options: Any, warnings: list[str]) -> dict[str, Any]:
    """Return a file (Path), a datasets.Dataset or a list of dicts for each split there is."""
    files = {
        split: _existing_file(f"--{split}_file", getattr(options, f"{split}_file"))
        for split in SPLITS
        if getattr(options, f"{split}_file")
    }
    if options.dataset_name:
        found = _load_dataset(options, warnings)
    else:
        found = {} if files else sample_corpus.build_sample_corpus()
    found = {**found, **files}
    return {split: found[split] for split in SPLITS if split in found}


def _existing_file(option: str, name: str) -> Path:
    path = Path(name)
    if path.is_dir():
        raise InputError(
            f"{option} {name}: a directory; name a file, or give a saved dataset as --dataset_name"
        )
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{option} {name}: the file is empty")
    except OSError as error:
        raise InputError(f"{option} {name}: cannot be read ({error.strerror}); check it") from error
    return path


def _load_dataset(options: Any, warnings: list[str]) -> dict[str, datasets.Dataset]:
    """Return the train, validation and test splits of a hub dataset or a local folder."""
    name, folder = options.dataset_name, Path(options.dataset_name)
    if folder.is_file():
        raise InputError(f"--dataset_name {name}: a file; give it as --train_file")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(name)
        else:
            found = _load_from_hub(options, warnings)
    except InputError:
        raise
    except Exception as error:  # whatever the library raises, the user can only change the name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "check the name, --dataset_config_name and --dataset_revision"
        if folder.is_dir():
            remedy = "check the folder, or give its files as --train_file and so on"
        elif isinstance(error, ConnectionError):
            remedy = "without a network, give a folder made by save_to_disk, or --train_file"
        raise InputError(f"--dataset_name {name}: cannot be loaded ({reason}); {remedy}") from error

    if not isinstance(found, dict):
        found = {"train": found}
    named = {
        split: next((found[name] for name in names if name in found), None)
        for split, names in HUB_SPLITS.items()
    }
    named = {split: dataset for split, dataset in named.items() if dataset is not None}
    if not named:
        raise InputError(
            f"--dataset_name {name}: no split train, validation or test, only {', '.join(found)}; "
            "save them as files and give --train_file and so on"
        )
    return named


def _load_from_hub(options: Any, warnings: list[str]) -> datasets.DatasetDict:
    """Load by name; where only a loading script is there, load the hub's own parquet conversion."""
    name, config, revision = (
        options.dataset_name,
        options.dataset_config_name,
        options.dataset_revision,
    )
    token = options.hub_token
    try:
        return datasets.load_dataset(name, config, revision=revision, token=token)
    except Exception as error:
        has_script = name in RETIRED or "scripts are no longer supported" in str(error)
        if not has_script or revision is not None:
            raise
        failure = error
    # The conversion has a folder per configuration, which need not be declared as configurations.
    for where in [{"name": config}] + [{"data_dir": config}] * bool(config):
        try:
            found = datasets.load_dataset(name, **where, revision=PARQUET_CONVERSION, token=token)
        except Exception as error:
            failure = error
        else:
            warnings.append(
                f"{name}: its loading script is no longer supported; loaded the hub's parquet "
                f"conversion (revision {PARQUET_CONVERSION})"
            )
            return found
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
    if isinstance(failure, ConnectionError):
        reason += "; there is no network here, or HF_HUB_OFFLINE is set"
    remedy = RETIRED.get(name, "a copy in parquet, or --train_file with its files")
    raise InputError(
        f"--dataset_name {name}: its loading script is no longer supported by `datasets`, and "
        f"its parquet conversion cannot be loaded ({reason}); use {remedy}"
    ) from failure


def _source_key(source: Any) -> list[str]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return [hashlib.file_digest(file, "sha256").hexdigest(), source.suffix.lower()]
    if isinstance(source, datasets.Dataset):
        return ["dataset", source._fingerprint]
    return ["sample"]


# --- building, once per machine ---


def _build(
    folder: Path, sources: dict[str, Any], reading: readers.Reading, scheme: str | None
) -> None:
    """Write `<split>.arrow` and facts.json into `folder`."""
    has_scheme = reading.task != "pos"
    detector = schemes.SchemeDetector() if has_scheme and scheme is None else None
    rows, any_tags = {}, False
    for split, source in sources.items():
        read = _read(split, source, reading)
        rows[split], has_tags = _write_raw(folder / f"{split}.raw", read, detector)
        where = f"{split} ({source})" if isinstance(source, Path) else split
        if not rows[split]:
            raise InputError(f"{where}: no sentences; check the file, or leave the split out")
        if split == "train" and not has_tags:
            raise InputError(
                f"{where}: no word has a gold tag (all are {readers.IGNORED}, null or _): nothing "
                "to learn; check --label_column_name and --task_name"
            )
        any_tags |= has_tags
    warnings = []
    if detector is not None and any_tags:
        scheme = detector.result()
        warnings = [remark] if (remark := detector.remark()) else []

    labels, fingerprints = {}, {}
    for split in sources:
        raw, counted, digest = folder / f"{split}.raw", set(), hashlib.sha256()
        converted = _convert(_stored_rows(raw), scheme if has_scheme else None, counted, digest)
        _write(folder / f"{split}.arrow", converted, SCHEMA)
        raw.unlink()
        labels[split], fingerprints[split] = sorted(counted), digest.hexdigest()
    facts = {
        "rows": rows,
        "labels": labels,
        "fingerprints": fingerprints,
        "scheme": scheme if has_scheme else None,
        "warnings": warnings,
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _read(split: str, source: Any, reading: readers.Reading) -> Iterator[readers.Row]:
    is_tagged = split != "predict"
    if isinstance(source, Path):
        return readers.read_file(source, reading, is_tagged)
    if isinstance(source, datasets.Dataset):
        return readers.read_dataset(source, split, reading, is_tagged)
    return readers.read_dicts(source, split, reading)


def _write_raw(
    path: Path, rows: Iterable[readers.Row], detector: schemes.SchemeDetector | None
) -> tuple[int, bool]:
    """Write rows as they are, show their tags to the detector; return (rows, any gold tag)."""
    has_tags = False

    def seen() -> Iterator[readers.Row]:
        nonlocal has_tags
        for row in rows:
            if any(tag is not None for tag in row.tags):
                has_tags = True
                if detector is not None:
                    detector.add(row.tags, row.place)
            yield row

    return _write(path, seen(), RAW_SCHEMA), has_tags


def _convert(
    rows: Iterable[tuple], scheme: str | None, labels: set[str], digest: Any
) -> Iterator[tuple]:
    """Yield the rows with IOB2 tags; collect the labels and hash the rows on the way."""
    for tokens, tags, document, place in rows:
        if scheme is not None:
            tags = schemes.to_iob2(tags, scheme, place=place)
        labels.update(tag for tag in tags if tag is not None)
        digest.update(json.dumps([tokens, tags], separators=(",", ":")).encode() + b"\n")
        yield tokens, tags, document


def _write(path: Path, rows: Iterator[tuple], schema: pa.Schema) -> int:
    """Write rows as the Arrow stream that `Dataset.from_file` maps; return their number."""
    number = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            columns = zip(zip(*batch, strict=True), schema.types, strict=True)
            arrays = [pa.array(column, type=type_) for column, type_ in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            number += len(batch)
    return number


def _stored_rows(path: Path) -> Iterator[tuple]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


# --- what a run sees of it ---


def _select_rows(totals: dict[str, int], options: Any) -> dict[str, tuple[str, np.ndarray]]:
    """Return (split it is stored in, row numbers in order) for every split of the run."""
    rows = {split: (split, np.arange(total)) for split, total in totals.items()}
    if options.validation_fraction and "train" in rows and "validation" not in rows:
        total = totals["train"]
        if total < 2:
            raise InputError("--validation_fraction: the training split has only one sentence")
        held_out = min(max(1, round(total * options.validation_fraction)), total - 1)
        shuffled = np.random.default_rng(options.seed).permutation(total)
        rows["train"] = ("train", np.sort(shuffled[held_out:]))
        rows["validation"] = ("train", np.sort(shuffled[:held_out]))
    limits = {
        "train": options.max_train_samples,
        "validation": options.max_eval_samples,
        "test": options.max_predict_samples,
        "predict": options.max_predict_samples,
    }
    return {split: (source, kept[: limits[split]]) for split, (source, kept) in rows.items()}


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
    spellings = defaultdict(set)
    for label in set().union(*labels.values()):
        spellings[label.strip().casefold()].add(label)
    for alike in spellings.values():
        if len(alike) > 1:
            shown = ", ".join(map(repr, sorted(alike)))
            warnings.append(f"labels that differ only in case or space: {shown}; is that meant?")
    return sorted(warnings)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
