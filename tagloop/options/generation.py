"""The options of tasks whose models generate texts in evaluations."""

from dataclasses import dataclass
from typing import Any

from tagloop.options.marks import option


@dataclass(frozen=True)
class GenerationOptions:
    """The options that say whether and how texts are generated and scored in evaluations."""

    predict_with_generate: bool = option(
        True,
        "Generate texts in evaluations and score them; else only the loss is known.",
        about="training",
    )
    generation_max_length: int | None = option(
        None,
        "Sub-tokens of a generated text, at most; what the decoder is shown first counts.",
        about="training",
        least=2,
        unset="--val_max_target_length for summaries, else as many as the model writes",
    )
    num_beams: int | None = option(
        None,
        "Beams of generation; 1 is greedy.",
        about="training",
        aliases=("--generation_num_beams",),
        least=1,
        unset="those of the model's generation_config.json, else 1",
    )


def generation_problems(config: GenerationOptions, defaults: dict[str, Any]) -> list[str]:
    """Messages about options of generation that are given without generation.

    Args:
        defaults: the values of options that a run on the built-in sample has without being asked.
    """
    if config.predict_with_generate:
        return []
    return [
        f"--{name}: generates nothing without --predict_with_generate"
        for name in ("num_beams", "generation_max_length")
        if getattr(config, name) not in (None, defaults.get(name))
    ]
