"""The facts for the model card of a model that writes down what is said."""

from tagloop.tasks.card_facts import CardFacts, usage_of

METRICS = {"wer": "wer", "cer": "cer"}


def describe_card(sizes: dict[str, str], *, lower_case: bool) -> CardFacts:
    """The facts about a model that transcribes recordings.

    Args:
        sizes: for every split what was read of it, in words.
        lower_case: True if it was trained on transcripts in lower case.
    """
    return CardFacts(
        title="Writes down what is said in a recording",
        pipeline_tag="automatic-speech-recognition",
        usage=usage_of(
            "--text recording.wav",
            '"recording.wav"',
            elsewhere=[
                "from transformers import pipeline",
                "",
                'model = pipeline("automatic-speech-recognition", model={model})',
                'print(model("recording.wav"))',
            ],
        ),
        metrics=METRICS,
        sizes=sizes,
        note="Error rates are fractions: the errors of all transcripts, divided by the words or "
        "characters of all references" + (", which are in lower case." if lower_case else "."),
    )
