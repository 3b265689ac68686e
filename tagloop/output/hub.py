"""Uploads a finished run to a hub; the options are checked before the training."""

import shlex
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tagloop.checkpoints.resume import RUN_RECORD
from tagloop.errors import InputError, RunStopped
from tagloop.files import is_plain, read_json, real_path
from tagloop.options.config import Config
from tagloop.output.own_files import CARD, RESULTS
from tagloop.run import Run


def name_of(config: Config, folder: Path) -> str:
    """The name of the repository: --hub_model_id, or the name of the output folder."""
    return config.hub_model_id or real_path(folder).name


def check_upload(config: Config, folder: Path) -> None:
    """Refuse an upload that cannot work, before hours of training. This sends nothing to the hub.

    Raises:
        InputError: the run trains no model, the hub does not allow the name, or the user has no
            token of the hub.
    """
    if not config.push_to_hub:
        if config.hub_private_repo:
            raise InputError("--hub_private_repo: is for an upload; give --push_to_hub, too")
        return
    if not config.do_train:
        raise InputError("--push_to_hub needs --do_train: there is nothing to push")
    name = name_of(config, folder)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push_to_hub as {name!r}: {error}; give --hub_model_id") from None
    if not (config.hub_token or get_token()):
        raise InputError("--push_to_hub: no token of the hub; set HF_TOKEN, or run: hf auth login")


def shared_files(folder: Path) -> list[str]:
    """Names of the files for the public: model, processors, card and scores.

    No other file is uploaded: run.json and the report name paths, predictions.* and the report
    quote the data, and the folder may contain files of the user.
    """
    names = [*read_json(folder / RUN_RECORD)["model_files"], CARD, *RESULTS]
    return [name for name in names if is_plain(folder / name)]


def push(run: Run) -> None:
    """With --push_to_hub, upload the files that shared_files names. Main process only.

    With --hub_private_repo, nothing is uploaded to a repository that is public.

    Raises:
        RunStopped: the upload failed, although the run is finished and saved. A script can notice
            this by the exit code.
    """
    if not run.config.push_to_hub:
        return
    token, name = run.config.hub_token or get_token(), name_of(run.config, run.folder)
    api, shared = HfApi(token=token), shared_files(run.folder)
    private = run.config.hub_private_repo
    try:
        repository = api.create_repo(name, private=private or None, exist_ok=True)
        # The hub does not change a repository that exists already.
        if private and not api.repo_info(repository.repo_id).private:
            raise RunStopped(
                f"{run.folder}: the run is finished and saved, but was not uploaded: "
                f"{repository.repo_id} exists and is public; name another --hub_model_id"
            )
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=run.folder,
            allow_patterns=shared,
            commit_message="End of training",
        )
    except RunStopped:
        raise
    except Exception as error:  # The client raises all kinds of errors; the run is saved already.
        reason = (str(error) or repr(error)).strip().splitlines()[0]
        if token:  # The message for a token with a line break quotes the whole token.
            reason = reason.replace(token, "(hidden)").replace(repr(token)[1:-1], "(hidden)")
        folder = shlex.quote(str(run.folder))
        include = " ".join(f"--include {shlex.quote(each)}" for each in shared)
        include += " --private" if private else ""
        raise RunStopped(
            f"{run.folder}: the run is finished and saved, but was not uploaded: {reason}; later: "
            f"hf upload {name} {folder} . {include}"
        ) from None
    run.say(f"{'uploaded':<11} {repository}")
