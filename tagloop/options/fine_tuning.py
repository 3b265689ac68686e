"""The options that say which weights of a model learn, and how; all tasks take them."""

from dataclasses import dataclass

from tagloop.options.marks import option


@dataclass(frozen=True)
class FineTuningOptions:
    """Options beyond the learning rate; they combine with each other."""

    head_learning_rate: float | None = option(
        None,
        "Peak learning rate of the head, which the pretrained model does not bring.",
        about="training",
        group="Which weights learn, and how",
        above=0,
        unset="that of the last layer",
    )
    layerwise_lr_decay: float | None = option(
        None,
        "Each layer learns with the rate of the layer above it times this number, the embeddings "
        "below all of them slowest (Howard & Ruder 2018, as in ELECTRA); try 0.9.",
        about="training",
        above=0,
        unset="all layers learn with one rate",
    )
    freeze_embeddings: bool = option(
        False, "Leave the embeddings, and all below the first layer, untrained.", about="training"
    )
    freeze_layers: int | None = option(
        None,
        "Leave the first N layers untrained, and the embeddings.",
        about="training",
        least=1,
        unset="all layers learn",
    )
