"""The loss of a class, for words and for texts: cross-entropy, with options that combine.

A target of the class y costs

    w[y] * sum over all classes c of q[c] * (1 - p[c]) ** g * -log(p[c])

with the probabilities p of the model, and q[c] = (1 - s) * [c is y] + s / number of classes.

- s is --label_smoothing_factor (Szegedy et al. 2016, "Rethinking the Inception Architecture for
  Computer Vision"). As with LabelSmoother of transformers, y has its share of s.
- g is --focal_gamma (Lin et al. 2017, "Focal Loss for Dense Object Detection").
- w is --class_weights. "balanced" is King and Zeng (2001, "Logistic Regression in Rare Events
  Data"), as scikit-learn has it: w[y] = targets / (classes with targets * targets of y).

With s = g = 0 and w = 1 this is cross-entropy. The weight of a target is w[y]: the loss of an
update is the sum of its losses divided by the sum of these weights over the whole global batch.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.data.lines import is_blank, read_lines, read_text
from tagloop.data.sources import existing_file
from tagloop.errors import InputError
from tagloop.options.class_loss import ClassLossOptions
from tagloop.wording import first_line, shown


@dataclass(frozen=True, eq=False)
class ClassLoss:
    """The loss of every target, times its weight; see the formula above.

    Attributes:
        smoothing: s, from 0 to below 1.
        gamma: g, from 0 on.
        weights: w, float64 [num_classes]; None: every target weighs 1.
    """

    smoothing: float = 0.0
    gamma: float = 0.0
    weights: np.ndarray | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The losses of some targets.

        Args:
            logits: float [num_targets, num_classes].
            labels: int64 [num_targets]; IGNORE_INDEX where there is no target.

        Returns:
            [num_targets], in the dtype of the logits; 0 where there is no target.
        """
        if not self.smoothing and not self.gamma and self.weights is None:
            return cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
        costs, own = -logits.log_softmax(-1), labels.clamp(min=0)[:, None]
        if self.gamma:
            # 1 - p without its rounding near 0; a power below 1 has no gradient at 0.
            rest = (-torch.expm1(-costs)).clamp(min=torch.finfo(costs.dtype).tiny)
            costs = costs * rest**self.gamma
        losses = costs.gather(-1, own)[:, 0]
        if self.smoothing:
            losses = (1 - self.smoothing) * losses + self.smoothing * costs.mean(-1)
        if self.weights is not None:
            losses = losses * torch.from_numpy(self.weights).to(losses)[own[:, 0]]
        return losses.masked_fill(labels == IGNORE_INDEX, 0)

    def weigh(self, examples: dict[str, Any]) -> dict[str, Any]:
        """The examples of every split, with the weights of this loss in their `class_weights`."""
        if self.weights is None:
            return examples
        return {split: replace(own, class_weights=self.weights) for split, own in examples.items()}

    def identity(self, id2label: Mapping[int, str]) -> dict:
        """The weights other than 1, which a resumed run has to share: a file may have changed."""
        if self.weights is None:
            return {}
        named = zip(id2label.values(), self.weights.tolist(), strict=True)
        return {"class_weights": {label: weight for label, weight in named if weight != 1}}


CROSS_ENTROPY = ClassLoss()


def build_class_loss(
    options: ClassLossOptions, labels: Sequence[str], count: Callable[[], np.ndarray | None]
) -> ClassLoss:
    """The loss that the options ask for. This reads the file of --class_weights.

    Args:
        labels: of the model, in the order of their ids.
        count: gives the targets of every class in the training data, int64 [num_classes], or None
            if the run reads no training data.

    Raises:
        InputError: the file cannot be read or has bad weights, or nothing can be balanced.
    """
    weights = None
    if options.class_weights == "balanced":
        counts = count()
        if counts is None:
            raise InputError(
                "--class_weights balanced: counts the classes of the training data, and this run "
                "does not train; leave it out, or name a file with weights"
            )
        weights = balanced_weights(counts)
    elif options.class_weights is not None:
        file = existing_file("--class_weights", options.class_weights)
        weights, counts = read_class_weights(file, labels), count()
        if counts is not None and counts.any() and not (counts * weights).any():
            raise InputError(
                f"{file}: every class that the training data has weighs 0; nothing would be learned"
            )
    return ClassLoss(options.label_smoothing_factor, options.focal_gamma, weights)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Weights with which all classes that have targets weigh the same together.

    Args:
        counts: int [num_classes], the targets of every class.

    Returns:
        float64 [num_classes]; 1 for a class without targets.

    >>> balanced_weights(np.array([8, 2, 0])).tolist()
    [0.625, 2.5, 1.0]
    """
    return np.where(counts, counts.sum() / np.count_nonzero(counts) / np.maximum(counts, 1), 1.0)


def read_class_weights(file: Path, labels: Sequence[str]) -> np.ndarray:
    """The weights of a file: a class and its weight in each line, or a JSON object of them.

    Args:
        labels: of the model, in the order of their ids.

    Returns:
        float64 [num_classes]; 1 for a class that the file does not name.

    Raises:
        InputError: a class is none of the model or stands there twice, or a weight is no number
            from 0 on.
    """
    weights: dict[str, float] = {}
    for place, label, text in _entries(file):
        if label not in labels:
            known = ", ".join(labels[:9]) + (", ..." if len(labels) > 9 else "")
            raise InputError(f"{place}: {shown(label)} is no class of the model; it has {known}")
        if label in weights:
            raise InputError(f"{place}: {shown(label)} again; give each class one weight")
        try:
            weights[label] = float(text)
        except ValueError:
            weights[label] = math.nan
        # Losses are summed in float32, which loses precision if weights are far from 1.
        if weights[label] and not 1e-6 <= weights[label] <= 1e6:
            raise InputError(
                f"{place}: the weight of {shown(label)} is {shown(text)}; write 0, or a number "
                "from 0.000001 to 1000000"
            )
    found = np.array([weights.get(label, 1.0) for label in labels])
    if not weights or not found.any():
        reason = "all weights are 0" if weights else "no weights"
        raise InputError(f"{file}: {reason}; write a class and its weight in each line")
    return found


def _entries(file: Path) -> list[tuple[str, str, str]]:
    """The place, the class and the weight of every entry of a file."""
    text = read_text(file)
    if text.lstrip()[:1] in ("{", "["):
        try:
            values = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{file}: begins like JSON and is none ({first_line(error)})"
            ) from None
        if text.lstrip()[0] != "{":
            raise InputError(f'{file}: is no JSON object; write {{"class": weight, ...}}')
        return [(str(file), label, json.dumps(weight)) for label, weight in values]
    entries = []
    for number, line in read_lines(file):
        if is_blank(line):
            continue
        cells = line.split("\t") if "\t" in line else line.rsplit(None, 1)
        if len(cells) != 2:
            raise InputError(f"{file}:{number}: write a class and its weight, as in: O 0.5")
        entries.append((f"{file}:{number}", cells[0].strip(), cells[1].strip()))
    return entries
