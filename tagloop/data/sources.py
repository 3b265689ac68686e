"""Where the data is: files, the hub, a saved folder, the sample."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

from tagloop.data.annotations.brat import brat_files, is_brat
from tagloop.data.storage.store import content_digest
from tagloop.errors import InputError
from tagloop.files import sha256_of
from tagloop.hub_access import offline_without_network
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_corpus
from tagloop.wording import first_line

SPLITS = ("train", "validation", "test", "predict")
HUB_SPLITS = {"train": ["train"], "validation": ["validation", "dev", "valid"], "test": ["test"]}
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


def find_sources(
    options: Config,
    warnings: list[str],
    build_sample: Callable[[], dict[str, list[dict]]] = build_sample_corpus,
) -> dict[str, Any]:
    """Return a file (Path), a datasets.Dataset or a list of dicts for each split there is.

    Args:
        warnings: gains what the user should know.
        build_sample: makes the lists where the options name no data.

    Raises:
        InputError: a file or a dataset cannot be read.
    """
    files = {
        split: existing_file(f"--{split}_file", getattr(options, f"{split}_file"))
        for split in SPLITS
        if getattr(options, f"{split}_file")
    }
    if options.dataset_name:
        splits = _load_dataset(options, warnings)
    else:
        splits = {} if files else build_sample()
    splits = {**splits, **files}
    return {split: splits[split] for split in SPLITS if split in splits}


def existing_file(option: str, name: str) -> Path:
    """The file that an option names; of brat a folder, too.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    path = Path(name)
    try:
        mode = path.stat().st_mode
        is_of_brat = is_brat(path)
    except OSError as error:  # its name is too long, or its links lead in a circle, among others
        raise InputError(f"{option} {name}: cannot be read ({error.strerror}); check it") from error
    if is_of_brat:
        brat_files(path)
        return path
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{option} {name}: no plain file, but a pipe or a device; name a file")
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


def _load_dataset(options: Config, warnings: list[str]) -> dict[str, datasets.Dataset]:
    """Return the train, validation and test splits of a hub dataset or a local folder."""
    name, folder = options.dataset_name, Path(options.dataset_name)
    try:
        folder.stat()
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(
                f"--dataset_name {name[:300]}: cannot be read ({error.strerror}); check it"
            ) from error
    if folder.is_file():
        raise InputError(f"--dataset_name {name}: a file; give it as --train_file")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            splits = datasets.load_from_disk(name)
        elif folder.is_dir():
            splits = datasets.load_dataset(name, options.dataset_config_name)
        else:
            with offline_without_network():
                splits = _load_from_hub(options, warnings)
        if not isinstance(splits, dict):
            splits = {"train": splits}
        named = _choose_splits(options, splits)
    except InputError:
        raise
    except Exception as error:  # whatever the library raises, the user can only change the name
        reason = first_line(error)
        remedy = "check the name, --dataset_config_name and --dataset_revision"
        if folder.is_dir():
            remedy = "check the folder, or give its files as --train_file and so on"
        elif isinstance(error, ConnectionError):
            remedy = "without a network, give a folder made by save_to_disk, or --train_file"
        raise InputError(f"--dataset_name {name}: cannot be loaded ({reason}); {remedy}") from error

    if not named:
        raise InputError(
            f"--dataset_name {name}: no split train, validation or test, only {', '.join(splits)}; "
            "save them as files and give --train_file and so on"
        )
    return named


def _choose_splits(
    options: Config, splits: dict[str, datasets.Dataset]
) -> dict[str, datasets.Dataset]:
    """The splits that the user named, joined; else those of usual names that nobody named.

    Raises:
        InputError: the dataset has no split of this name.
    """
    given = {"train": options.train_split_name, "validation": options.eval_split_name}
    asked = {split: names.split("+") for split, names in given.items() if names}
    taken = {name for names in asked.values() for name in names}
    if missing := sorted(taken - splits.keys()):
        raise InputError(
            f"--dataset_name {options.dataset_name}: no split {missing[0]!r}, only "
            f"{', '.join(splits)}; correct --train_split_name or --eval_split_name"
        )
    chosen = {}
    for split, usual in HUB_SPLITS.items():
        free = [name for name in usual if name in splits and name not in taken]
        if names := asked.get(split, free[:1]):
            several = [splits[name] for name in names]
            chosen[split] = datasets.concatenate_datasets(several) if several[1:] else several[0]
    return chosen


def _load_from_hub(options: Config, warnings: list[str]) -> datasets.DatasetDict:
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
            splits = datasets.load_dataset(name, **where, revision=PARQUET_CONVERSION, token=token)
        except Exception as error:
            failure = error
        else:
            warnings.append(
                f"{name}: its loading script is no longer supported; loaded the hub's parquet "
                f"conversion (revision {PARQUET_CONVERSION})"
            )
            return splits
    reason = first_line(failure)
    if isinstance(failure, ConnectionError):
        reason += "; there is no network here, or HF_HUB_OFFLINE is set"
    remedy = RETIRED.get(name, "a copy in parquet, or --train_file with its files")
    raise InputError(
        f"--dataset_name {name}: its loading script is no longer supported by `datasets`, and "
        f"its parquet conversion cannot be loaded ({reason}); use {remedy}"
    ) from failure


def source_key(source: Any) -> list[str]:
    """What decides the content of a source, for the key of prepared data."""
    if isinstance(source, Path):
        files = brat_files(source) if is_brat(source) else [source]
        return [*map(sha256_of, files), source.suffix.lower()]
    if isinstance(source, datasets.Dataset):
        return ["dataset", content_digest(source)]
    return ["sample"]
