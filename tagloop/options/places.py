"""Files and folders that the options name: looked at before anything slow is imported.

What is not a plain file (a pipe, a device, a socket) would be read for ever, so it is refused. A
link to a plain file is as good as the file.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tagloop.errors import InputError
from tagloop.options.config import FIELDS, Config

LONGEST_NAME = 255  # bytes of a file's name; no usual file system takes more
READ = (".json", ".jsonl", ".safetensors", ".bin", ".pt", ".txt", ".model", ".npz", ".conll")
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
NO_PLAIN_FILE = "is no plain file but a pipe, a device or a socket; save its content as a file"


def find_text_problem(text: str) -> str | None:
    """What is wrong with a text that an option takes, whatever it means; None if it is good."""
    if not text:
        return "is empty; give a value or leave the option out"
    if "\0" in text:
        return "must not hold a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "must be UTF-8"
    return None


def find_name_problem(name: str) -> str | None:
    """What is wrong with the name of a file or folder, be it there or not; None if it is good."""
    if problem := find_text_problem(name):
        return problem
    longest = max((len(part.encode()) for part in name.split("/")), default=0)
    if longest > LONGEST_NAME:
        return f"a name in it has {longest} bytes, and a file's name has at most {LONGEST_NAME}"
    try:
        os.stat(name)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself; name what it should lead to"
        if error.errno == errno.ENAMETOOLONG:
            return "is too long for the name of a file"
    return None


def check_places(config: Config) -> None:
    """Look at every file and folder that a run will read or write.

    Raises:
        InputError: every data file that cannot be read, a line each; else what is wrong with the
            output folder; else with the folders of the model.
    """
    for find_problems in (_data_problems, _output_problems, _model_problems):
        if problems := list(find_problems(config)):
            raise InputError("\n".join(problems))


def _data_problems(config: Config) -> Iterator[str]:
    """Data files and the dataset."""
    for name, field in FIELDS.items():
        value = getattr(config, name)
        is_file = field.metadata["is_path"] and field.metadata["about"] == "data"
        if value is not None and is_file and (problem := find_file_problem(Path(value))):
            yield f"--{name} {value}: {problem}"
    dataset = config.dataset_name
    if dataset is not None and (Path(dataset).exists() or _looks_like_a_path(dataset)):
        if Path(dataset).is_file():
            yield f"--dataset_name {dataset}: a file; give it as --train_file"
        elif not Path(dataset).is_dir():
            yield f"--dataset_name {dataset}: no such folder; check the name"


def find_file_problem(path: Path) -> str | None:
    """Why a file of data cannot be read; None if it can, and for a folder of brat's files."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be read ({error.strerror}); check it"
    if stat.S_ISDIR(mode):
        if next(path.rglob("*.ann"), None) is not None:
            return None
        return "a directory; name a file, or give a saved dataset as --dataset_name"
    if not stat.S_ISREG(mode):
        return NO_PLAIN_FILE
    if not os.access(path, os.R_OK):
        return f"cannot be read ({os.strerror(errno.EACCES)}); check it"
    return None


def _output_problems(config: Config) -> Iterator[str]:
    """The output folder, and what is read of an earlier run."""
    if config.output_dir is not None:
        folder = Path(config.output_dir)
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if folder.is_symlink() and not folder.exists():
            yield f"--output_dir {folder}: is a link that leads nowhere; make the folder it names"
        elif not there.is_dir():
            yield f"--output_dir {folder}: cannot be written: {there} is no folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            reason = os.strerror(errno.EACCES)
            yield f"--output_dir {folder}: cannot be written: {reason}"
        elif folder.is_dir() and (odd := find_odd_file(folder)):
            yield f"--output_dir {folder}: {odd.name} {NO_PLAIN_FILE}"
    resume = config.resume_from_checkpoint
    if resume not in (None, "auto") and (odd := find_odd_file(Path(resume))):
        yield f"--resume_from_checkpoint {resume}: {odd.name} {NO_PLAIN_FILE}"


def _model_problems(config: Config) -> Iterator[str]:
    """Folders of a model, a configuration or a tokenizer; --check_data does without them."""
    if config.check_data:
        return
    names = (config.config_name, config.model_name_or_path, config.tokenizer_name)
    for name in dict.fromkeys(names):
        if name is None or not is_saved_folder(name):
            continue
        of_tokenizer = name == config.tokenizer_name
        if problem := find_folder_problem(Path(name), of_tokenizer=of_tokenizer):
            yield f"{name}: {problem}"


def is_saved_folder(name: str) -> bool:
    """Whether a name means a folder, and not a model on the hub."""
    return Path(name).exists() or _looks_like_a_path(name)


def _looks_like_a_path(name: str) -> bool:
    """Names on the hub have one slash at most, and no other mark of a path."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def find_folder_problem(folder: Path, *, of_tokenizer: bool) -> str | None:
    """Why a folder is no saved model, or no saved tokenizer; None if it may be one."""
    if not folder.is_dir():
        return "no such folder; name a model on the hub or a saved folder"
    if odd := find_odd_file(folder):
        return f"{odd.name} {NO_PLAIN_FILE}"
    is_adapter = (folder / "adapter_config.json").is_file()
    if is_adapter and not of_tokenizer and not any(any(folder.glob(name)) for name in WEIGHTS):
        return (
            "holds a PEFT adapter, not a whole model; merge it into its base model "
            "(merge_and_unload of peft, then save_pretrained) and name that folder"
        )
    enough = ["config.json"]
    if of_tokenizer:
        enough += ["tokenizer.json", "tokenizer_config.json"]
    if not any((folder / file).is_file() for file in enough):
        return "holds no config.json, so it is not a saved model"
    return None


def find_odd_file(folder: Path) -> Path | None:
    """A pipe, device or socket under the name of a file that is read from such folders."""
    checkpoints = (f"{kind}_*/*" for kind in ("step", "epoch"))
    for pattern in ("*", *checkpoints):
        for path in folder.glob(pattern):
            if path.suffix in READ and path.exists() and not (path.is_file() or path.is_dir()):
                return path
    return None
