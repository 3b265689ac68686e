"""What the model card says of a model that classifies texts or gives each a number."""

from tagloop.tasks.card_facts import CardFacts

METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "macro_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "mse": "mse",
}


def describe_card(labels: list[str], sizes: dict[str, str]) -> CardFacts:
    """Facts of a classifier, or without labels of a regression."""
    return CardFacts(
        title="A class for every text" if labels else "A number for every text",
        pipeline_tag="text-classification",
        usage=[
            "```python",
            "from transformers import pipeline",
            "",
            'model = pipeline("text-classification", model={model})',
            'model("A text.")',
            "```",
            "",
        ],
        metrics=METRICS,
        labels=labels,
        sizes=sizes,
    )
