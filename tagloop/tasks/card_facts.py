"""What a task tells about its model for the model card."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CardFacts:
    """What the model card says of a task. All texts are plain; the card quotes them for Markdown.

    Attributes:
        title: what the model gives for what, without a full stop: "A class for every text".
        pipeline_tag: the hub's name of this kind of task: "text-classification".
        usage: lines of Markdown that show how the model is used. In them `{model}` stands for the
            model's name, and `{folder}` for its folder, as Python strings; `{folder_word}` for the
            folder as a word of a command line. See usage_of.
        metrics: name of a score -> the hub's name of its metric; other scores are not on the card.
        labels: all of them, in the model's order; none for numbers.
        sizes: split -> what was read of it: "18 sentences, 36 words".
        note: a sentence below the table of scores; may be empty.
        type_metric: the score of a type that the card's head lists for the hub, and the hub's name.
    """

    title: str
    pipeline_tag: str
    usage: list[str]
    metrics: dict[str, str]
    labels: list[str] = field(default_factory=list)
    sizes: dict[str, str] = field(default_factory=dict)
    note: str = ""
    type_metric: str = "f1"


def usage_of(arguments: str, call: str, *, elsewhere: list[str]) -> list[str]:
    """Lines of Markdown that show how a model is used: with tagloop, and without it.

    Args:
        arguments: what `tagloop predict` gets beside the folder: "--text 'A sentence.'".
        call: the argument of the predictor in Python, as Python writes it.
        elsewhere: lines of Python that use the model with transformers alone.
    """
    return [
        "With tagloop, beside the model's folder (in a checkout, `python predict.py` is the same "
        "as `tagloop predict`):",
        "",
        "```bash",
        f"tagloop predict {{folder_word}} {arguments}",
        "```",
        "",
        "```python",
        "import tagloop",
        "",
        "predictor = tagloop.load_predictor({folder})",
        f"print(predictor({call}))",
        "```",
        "",
        "With transformers alone:",
        "",
        "```python",
        *elsewhere,
        "```",
        "",
    ]
