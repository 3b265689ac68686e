"""The facts for the model card of a model that writes summaries."""

from tagloop.tasks.card_facts import CardFacts, usage_of
from tagloop.tasks.summarization.scores import ROUGES


def describe_card(sizes: dict[str, str], prefix: str) -> CardFacts:
    """The facts about a model that writes summaries.

    Args:
        sizes: for every split what was read of it, in words.
        prefix: what is put before each text.
    """
    text = f'{prefix!r} + "A long text."' if prefix else '"A long text."'
    return CardFacts(
        title="A summary of a text",
        pipeline_tag="summarization",
        usage=usage_of(
            '--text "A long text."',
            '"A long text."',
            elsewhere=[
                "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
                "",
                "tokenizer = AutoTokenizer.from_pretrained({model})",
                "model = AutoModelForSeq2SeqLM.from_pretrained({model})",
                f'inputs = tokenizer({text}, return_tensors="pt")',
                "ids = model.generate(input_ids=inputs.input_ids)",
                "print(tokenizer.decode(ids[0], skip_special_tokens=True))",
            ],
        ),
        metrics=dict.fromkeys(ROUGES, "rouge"),
        sizes=sizes,
        note="ROUGE is the mean F-measure in percent, with stemming, against the whole references.",
    )
