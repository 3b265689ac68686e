"""The head of a model that scores a list of labels: which labels, in which order, and a new one."""

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig

from tagloop.errors import InputError
from tagloop.models.pretrained import load_pretrained
from tagloop.models.weights import find_head
from tagloop.options.config import Config


def load_config(config: Config, name: str) -> PreTrainedConfig:
    """The configuration of a model on the hub or in a folder. Raises InputError."""
    loaded = load_pretrained(
        AutoConfig, name, token=config.hub_token, trust_remote_code=config.trust_remote_code
    )
    require_names(loaded.architectures, name)
    return loaded


def require_names(architectures: object, name: str) -> None:
    """Refuse a model whose `architectures` in config.json are no list of names, and not null.

    Args:
        architectures: the value.
        name: the name of the model, for the message.

    Raises:
        InputError: the value is something else.
    """
    names = architectures or []
    if not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
        raise InputError(
            f"{name}: architectures in config.json is no list of names; put back the file that the "
            "model came with"
        )


def labels_of_head(config: Config, labels: list[str]) -> list[str]:
    """The labels of the run's head, in its order.

    A checkpoint that was trained on the same labels keeps its own order of them, and one that
    knows more labels keeps them all, so every output keeps its meaning. A model that is only scored
    or applied also keeps its head if the data has further labels: see unknown_labels.

    Args:
        labels: of the data.

    Raises:
        InputError: the checkpoint's head knows other labels than the data has.
    """
    trained = _trained_labels(config)
    unknown = sorted(set(labels) - set(trained))
    in_common = set(labels) & set(trained) - {"O"}  # O is in every tagger and says nothing
    if trained and (not unknown or (in_common and not config.do_train)):
        labels = trained
    elif trained and not config.ignore_mismatched_sizes:
        raise InputError(
            f"{config.model_name_or_path}: the checkpoint's labels ({', '.join(trained)}) lack "
            f"{', '.join(unknown)} of the data; {new_head_remedy(config)}"
        )
    return labels


def unknown_labels(
    model_config: PreTrainedConfig, labels: list[str], warnings: list[str]
) -> list[str]:
    """The labels of the data that a model's head does not know; what has one counts as missed.

    A training run knows all labels; it counts those that only other splits have as missed, too.

    Args:
        labels: of the data.
        warnings: a sentence for the user is appended if there are any.
    """
    unknown = [label for label in labels if label not in model_config.label2id]
    if unknown:
        warnings.append(
            f"the model was not trained on {', '.join(unknown)} of the data: what is labelled so "
            "counts as missed"
        )
    return unknown


def new_head_remedy(config: Config) -> str:
    """What to do where the head of a checkpoint does not fit."""
    if config.do_train:
        return "give --ignore_mismatched_sizes for a new head"
    return "a head has to be trained on them first (--do_train)"


def checkpoint_labels(config: Config) -> list[str]:
    """The names of a checkpoint's labels in the order of its head, LABEL_0 and the like included.

    Raises:
        InputError: there are holes in the list, or a name stands there twice.
    """
    id2label = load_config(config, config.model_name_or_path).id2label or {}
    holes = sorted(set(range(len(id2label))) - set(id2label))
    names = [str(id2label[index]) for index in sorted(id2label)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if (holes or twice) and not config.ignore_mismatched_sizes:
        fault = f"has no name for {holes[0]}" if holes else f"names {twice[0]} twice"
        raise InputError(
            f"{config.model_name_or_path}: id2label in config.json {fault}, so nobody can tell "
            f"what the head says; mend it, or {new_head_remedy(config)}"
        )
    return [] if holes or twice else names


def _trained_labels(config: Config) -> list[str]:
    """The tags that the checkpoint's head knows, in its order; none for a head without names."""
    names = checkpoint_labels(config) if config.model_name_or_path else []
    return [] if all(name.startswith("LABEL_") for name in names) else names


def start_from_frequencies(model: nn.Module, new: set[str], label_counts: np.ndarray) -> None:
    """Let a new head start from the frequencies of the labels, in place.

    So the first updates need not learn that most words are O.

    Args:
        new: names of the weights that are new; nothing happens if the head's bias is not new.
        label_counts: int64 [num_labels].
    """
    name, head = find_head(model)
    if f"{name}.bias" in new:
        frequencies = torch.as_tensor(label_counts + 1, dtype=torch.float64)
        with torch.no_grad():
            head.bias.copy_((frequencies / frequencies.sum()).log())


def renew_head(model: nn.Module, new: set[str]) -> set[str]:
    """Draw a head anew that has the right size but stands for other labels.

    It is drawn as transformers draws a head whose size does not match.

    Args:
        new: names of the weights that are new already.

    Returns:
        Names of the weights that this drew.
    """
    name, head = find_head(model)
    if head is None or f"{name}.weight" in new:
        return set()
    nn.init.normal_(head.weight, std=getattr(model.config, "initializer_range", 0.02))
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return {f"{name}.{parameter}" for parameter, _ in head.named_parameters()}
