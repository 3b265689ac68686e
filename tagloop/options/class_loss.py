"""The options of the loss of a class, which several tasks take (tagloop/models/class_loss.py)."""

from dataclasses import dataclass

from tagloop.options.marks import option


@dataclass(frozen=True)
class ClassLossOptions:
    """The options that change the loss of a class; they combine."""

    label_smoothing_factor: float = option(
        0.0,
        "Share of a target that is spread evenly over all classes (Szegedy et al. 2016).",
        about="training",
        least=0,
        below=1,
    )
    class_weights: str | None = option(
        None,
        "Weights of the targets by their class: balanced, for equal sums of weights of all classes "
        "of the training data (King and Zeng 2001); or a file with a class and its weight in each "
        "line, or a JSON object of these; a class that it does not name weighs 1.",
        about="training",
        is_path=True,
        may_change=True,
    )
    focal_gamma: float = option(
        0.0,
        "Focal loss: targets that the model is sure of count less, by the factor "
        "(1 - probability) ** G (Lin et al. 2017; they take 2).",
        about="training",
        least=0,
    )
