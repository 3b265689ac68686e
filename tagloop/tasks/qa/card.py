"""The facts for the model card of a model that answers questions."""

from tagloop.tasks.card_facts import CardFacts, usage_of

METRICS = {"exact_match": "exact_match", "exact": "exact_match", "f1": "f1"}
METRICS |= {f"{group}_{name}": METRICS[name] for group in ("HasAns", "NoAns") for name in METRICS}


def describe_card(sizes: dict[str, str], *, has_negatives: bool) -> CardFacts:
    """The facts about a model that answers questions.

    Args:
        sizes: for every split what was read of it, in words.
        has_negatives: True if questions may have no answer.
    """
    return CardFacts(
        title="The answer to a question, as a part of a context",
        pipeline_tag="question-answering",
        usage=[
            "Every row of `questions.jsonl` has a `question` and a `context`; it gains "
            "`predicted_answer`, `answer_start`, `answer_end` (characters of the context) and "
            "`score`.",
            "",
            *usage_of(
                "--file questions.jsonl --output answers.jsonl",
                '[("Who left?", "Ann left.")]',
                elsewhere=[
                    "from transformers import AutoModelForQuestionAnswering",
                    "",
                    "model = AutoModelForQuestionAnswering.from_pretrained({model})",
                ],
            ),
        ],
        metrics=METRICS,
        sizes=sizes,
        note="Scores are percentages, computed as the official script of SQuAD "
        + ("2.0 does." if has_negatives else "1.1 does."),
    )
