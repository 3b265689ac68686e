"""The facts for the model card of a classifier or a regression."""

from tagloop.tasks.card_facts import CardFacts, usage_of

METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "macro_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "mse": "mse",
}


def describe_card(labels: list[str], sizes: dict[str, str]) -> CardFacts:
    """The facts about a classifier; without labels, those about a regression.

    Args:
        sizes: for every split its number of rows, in words.
    """
    return CardFacts(
        title="A class for every text" if labels else "A number for every text",
        pipeline_tag="text-classification",
        usage=usage_of(
            '--text "A text."',
            '"A text."',
            elsewhere=[
                "from transformers import pipeline",
                "",
                'model = pipeline("text-classification", model={model})',
                'print(model("A text."))',
            ],
        ),
        metrics=METRICS,
        labels=labels,
        sizes=sizes,
    )
