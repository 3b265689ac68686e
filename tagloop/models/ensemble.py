"""Several trained models as one: the mean of their probabilities, from which labels are decided.

predictor = load_together(members_of([Path("runs/group")]), load)   # of runs/group/seed_*
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput

from tagloop.errors import InputError
from tagloop.models.tokenizers import tokenizer_digest
from tagloop.tasks import task_of

MEMBER = re.compile(r"seed_([0-9]+)")
TINY = torch.finfo(torch.float32).tiny  # A probability of 0 has no logarithm.

Loaded = TypeVar("Loaded", bound=Any)


class Ensemble(nn.Module):
    """Models with the same labels, called like one of them.

    Args:
        members: models in evaluation mode on the same device; their outputs have `logits`, float
            [..., num_labels]. With one label, which is a number, the mean of the numbers is taken.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.config = members[0].config

    @property
    def device(self) -> torch.device:
        """The device of the models."""
        return self.members[0].device

    def forward(self, **batch: Any) -> ModelOutput:
        """The logarithm of the mean probability of every label as `logits`, float32.

        The softmax of these logits is the mean of the members' softmax.
        """
        total: Any = 0
        for member in self.members:
            logits = member(**batch).logits.float()
            total = total + (logits if self.config.num_labels == 1 else logits.softmax(-1))
        mean = total / len(self.members)
        return ModelOutput(logits=mean if self.config.num_labels == 1 else mean.clamp(TINY).log())


def members_of(folders: Sequence[Path]) -> list[Path]:
    """The folders of models, where a folder that --seeds left stands for all its runs.

    Raises:
        InputError: a folder is there twice.
    """
    found = []
    for folder in folders:
        runs = [path for path in folder.glob("seed_*") if MEMBER.fullmatch(path.name)]
        is_group = runs and not (folder / "config.json").exists()
        runs.sort(key=lambda path: int(path.name.partition("_")[2]))
        found += runs if is_group else [folder]
    if len({path.resolve() for path in found}) < len(found):
        raise InputError("the same model is given twice; name each folder once")
    return found


def check_members(folders: Sequence[Path]) -> None:
    """Refuse models of several tasks. Raises InputError."""
    tasks = [task_of(folder) for folder in folders]
    for folder, task in zip(folders, tasks, strict=True):
        if task != tasks[0]:
            raise InputError(
                f"{folder}: is of --task_name {task}, and {folders[0]} of {tasks[0]}; models that "
                "predict together are of one task"
            )


def load_together(folders: Sequence[Path], load: Callable[[Path], Loaded]) -> Loaded:
    """Load a predictor that uses the models of all folders; with one folder, that model alone.

    Args:
        load: loads a predictor, which has `model` and `tokenizer`, from a folder.

    Raises:
        InputError: the labels, the tokenizer or the way in which text is cut differ.
    """
    if len(folders) == 1:  # Some tasks have models that do not predict together.
        return load(folders[0])
    predictors = [load(folder) for folder in folders]
    facts = [_facts(predictor) for predictor in predictors]
    for folder, own in zip(folders, facts, strict=True):
        different = [name for name, value in own.items() if value != facts[0][name]]
        if different:
            raise InputError(
                f"{folder}: has another {different[0]} than {folders[0]}; models that predict "
                "together have the same labels, tokenizer and options of the data"
            )
    predictors[0].model = Ensemble([predictor.model for predictor in predictors]).eval()
    return predictors[0]


def _facts(predictor: Any) -> dict[str, Any]:
    """What models must share that predict together, by name."""
    config = predictor.model.config
    labels = {int(number): label for number, label in config.id2label.items()}
    return {
        "list of labels": labels,
        "tokenizer": tokenizer_digest(predictor.tokenizer),
        "way to cut text (tagloop in config.json)": getattr(config, "tagloop", None),
    }
