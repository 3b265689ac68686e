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


def describe_card(labels: list[str], sizes: dict[str, str], *, of_pairs: bool) -> CardFacts:
    """The facts about a classifier; without labels, those about a regression.

    Args:
        sizes: for every split its number of rows, in words.
        of_pairs: True if the model learned from pairs of texts.
    """
    command, example, whole = '--text "A text."', '"A text."', '"A text."'
    if of_pairs:
        command, example = "--file FILE.jsonl", '[("A text.", "Another one.")]'
        whole = 'dict(text="A text.", text_pair="Another one.")'
    return CardFacts(
        title="A class for every text" if labels else "A number for every text",
        pipeline_tag="text-classification",
        usage=usage_of(
            command,
            example,
            elsewhere=[
                "from transformers import pipeline",
                "",
                'model = pipeline("text-classification", model={model})',
                f"print(model({whole}))",
            ],
        ),
        metrics=METRICS,
        labels=labels,
        sizes=sizes,
    )
