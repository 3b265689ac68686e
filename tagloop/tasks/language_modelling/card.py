"""The facts for the model card of a language model."""

from tagloop.tasks.card_facts import CardFacts, usage_of
from tagloop.tasks.language_modelling.options import CAUSAL, SPANS

METRICS = {
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "text_perplexity": "perplexity",
    "text_accuracy": "accuracy",
}
PIPELINES = {True: "text-generation", False: "fill-mask"}


def describe_card(task_name: str, mask_token: str | None, sizes: dict[str, str]) -> CardFacts:
    """The facts about a model that continues texts, or that fills gaps.

    Args:
        mask_token: what stands for a gap; only a model that fills gaps has one.
        sizes: for every split what was read of it, in words.
    """
    if task_name == SPANS:
        return _describe_span_card(sizes)
    is_causal = task_name == CAUSAL
    pipeline = PIPELINES[is_causal]
    text = "It rained" if is_causal else f"It rained {mask_token} day."
    note = (
        "Perplexity is that of the tokenizer's sub-tokens, each predicted from those before it."
        if is_causal
        else "Perplexity and accuracy are those of hidden sub-tokens, predicted from both sides; "
        "they cannot be compared with those of a model that continues texts."
    )
    return CardFacts(
        title="Continues a text" if is_causal else "Fills the gaps of a text",
        pipeline_tag=pipeline,
        usage=usage_of(
            f"--text '{text}'",
            f'"{text}"',
            elsewhere=[
                "from transformers import pipeline",
                "",
                f'model = pipeline("{pipeline}", model={{model}})',
                f'print(model("{text}"))',
            ],
        ),
        metrics=METRICS,
        sizes=sizes,
        note=note,
    )


def _describe_span_card(sizes: dict[str, str]) -> CardFacts:
    return CardFacts(
        title="Fills the gaps of a text with several words",
        pipeline_tag="text2text-generation",
        usage=usage_of(
            '--text "It rained <extra_id_0> day."',
            '"It rained <extra_id_0> day."',
            elsewhere=[
                "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
                "",
                "tokenizer = AutoTokenizer.from_pretrained({model})",
                "model = AutoModelForSeq2SeqLM.from_pretrained({model})",
                'inputs = tokenizer("It rained <extra_id_0> day.", return_tensors="pt")',
                "print(tokenizer.decode(model.generate(**inputs)[0]))",
            ],
        ),
        metrics=METRICS,
        sizes=sizes,
        note="Perplexity and accuracy are those of all targets, sentinels and ends included. The "
        "scores whose names begin with text_ are those of the hidden sub-tokens alone.",
    )
