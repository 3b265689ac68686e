"""Questions about the sentences of the built-in sample; some of them have no answer."""

import random

from tagloop.sample.corpus import build_sample_corpus

KINDS = {"PER": "person", "ORG": "company", "LOC": "place"}
UNANSWERABLE_SHARE = 0.3  # of the questions about a kind of name that a sentence does not have
SEED = 7


def build_sample_questions() -> dict[str, list[dict]]:
    """Return the splits train, validation and test: rows as SQuAD's flat files have them.

    A sentence is a context. A question asks for the only person, company or place that the
    sentence names; the answers of a question for a kind that it does not name are empty lists.
    """
    rng = random.Random(SEED)
    return {
        split: [
            {"id": f"{split}-{number}-{kind}", "context": context, **question}
            for number, sentence in enumerate(sentences)
            for context, names in [_names_of(sentence)]
            for kind, question in _ask(context, names, rng)
        ]
        for split, sentences in build_sample_corpus().items()
    }


def _names_of(sentence: dict[str, list[str]]) -> tuple[str, list[tuple[str, int, int]]]:
    """The sentence as running text, and the kind, begin and end of each of its names."""
    context, names = "", []
    for token, tag in zip(sentence["tokens"], sentence["ner_tags"], strict=True):
        context += " " if context else ""
        begin, end = len(context), len(context) + len(token)
        if tag.startswith("B-"):
            names.append((tag[2:], begin, end))
        elif tag.startswith("I-"):
            names[-1] = (*names[-1][:2], end)
        context += token
    return context, names


def _ask(context: str, names: list[tuple[str, int, int]], rng: random.Random) -> list[tuple]:
    """The questions about a sentence: the kind of name, and the row without id and context."""
    asked = []
    for kind, noun in KINDS.items():
        places = [(begin, end) for other, begin, end in names if other == kind]
        if len(places) == 1 or (not places and rng.random() < UNANSWERABLE_SHARE):
            answers = {
                "text": [context[begin:end] for begin, end in places],
                "answer_start": [begin for begin, _ in places],
            }
            asked.append((kind, {"question": f"Which {noun} is named ?", "answers": answers}))
    return asked
