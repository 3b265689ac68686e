"""The facts for the model card of a tagger."""

from tagloop.tasks.card_facts import CardFacts, usage_of

TITLES = {
    "ner": "Named entities: a tag for every word (IOB2)",
    "chunk": "Chunks: a tag for every word (IOB2)",
    "pos": "Parts of speech: a tag for every word",
}
KINDS = ("f1", "precision", "recall")
METRICS = {"accuracy": "accuracy"} | {
    f"{prefix}{kind}": kind for prefix in ("", "strict_", "macro_") for kind in KINDS
}


def describe_card(
    task_name: str,
    labels: list[str],
    sizes: dict[str, str],
    context: str | None = None,
    *,
    is_legal: bool = False,
) -> CardFacts:
    """The facts about a tagger that was trained with `--task_name task_name`.

    Args:
        sizes: for every split its numbers of sentences, words and windows, in words.
        context: what a window sees around its sentence, in words; None: nothing.
        is_legal: True with --decoding legal.
    """
    # For pos the strategy would join neighbouring words with the same tag.
    strategy = "" if task_name == "pos" else ', aggregation_strategy="first"'
    notes = ["Spans as conlleval reads them; strict: a span begins with B-."]
    notes = [] if task_name == "pos" else notes
    if is_legal:
        notes.append(
            "The labels of a sentence follow each other legally (`--decoding legal`); `pipeline` "
            "takes the likeliest label of each word, so its scores differ a little."
        )
    if context is not None:
        notes.append(f"Trained with {context}, which tagloop gives and `pipeline` does not.")
    return CardFacts(
        title=TITLES[task_name],
        pipeline_tag="token-classification",
        usage=usage_of(
            '--text "A sentence."',
            '"A sentence."',
            elsewhere=[
                "from transformers import pipeline",
                "",
                f'tagger = pipeline("token-classification", model={{model}}{strategy})',
                'print(tagger("A sentence."))',
            ],
        ),
        metrics=METRICS,
        labels=labels,
        sizes=sizes,
        note=" ".join(notes),
    )
