"""flair and spaCy-transformers with the same encoder and sentences, as their guides write it.

Optional (requirements.txt beside this file); both may want other versions of transformers than
tagloop, so `--peers_python` of throughput.py may name the interpreter of another environment.
"""

import itertools
import json
from pathlib import Path


def read_sentences(inputs: Path, split: str = "train") -> list[dict]:
    """The sentences of a split: tokens and ner_tags."""
    lines = (inputs / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def count_sentences(gate, tokenizer, sentences: list[list[str]]) -> None:
    """Count a batch by the sub-tokens that all loops count, with the padding of its longest."""
    rows = tokenizer(sentences, is_split_into_words=True)["input_ids"]
    lengths = [len(row) for row in rows]
    squares = sum(length**2 for length in lengths)
    gate.add(len(rows), sum(lengths), squares, len(rows) * max(lengths))


def train_flair(
    inputs: Path,
    gate,
    options,
    *,
    epochs: int = 100,
    learning_rate: float = 5e-5,
    spans: bool = True,
    context: bool = False,
):
    """SequenceTagger on transformer embeddings, fine-tuned (flair's guide to training).

    Args:
        spans: False for tags of words, such as parts of speech.
        context: True shows the model 64 sub-tokens of the document on each side (FLERT).

    Returns:
        The trained tagger.
    """
    import flair
    from flair.data import Corpus
    from flair.datasets import FlairDatapointDataset
    from flair.embeddings import TransformerWordEmbeddings
    from flair.models import SequenceTagger
    from flair.trainers import ModelTrainer
    from flair.trainers.plugins import TrainerPlugin

    flair.set_seed(options.seed)
    rows = read_sentences(inputs)
    sentences = flair_sentences(rows, context=context)
    for row, sentence in zip(rows, sentences, strict=True):
        if spans:
            for begin, end, kind in spans_of(row["ner_tags"]):
                sentence[begin:end].add_label("ner", kind)
        else:
            for token, tag in zip(sentence, row["ner_tags"], strict=True):
                token.add_label("pos", tag)
    corpus = Corpus(
        train=FlairDatapointDataset(sentences), dev=None, test=None, sample_missing_splits=False
    )
    embeddings = TransformerWordEmbeddings(
        str(inputs / "model"),
        layers="-1",
        subtoken_pooling="first",
        fine_tune=True,
        use_context=context,
    )
    tag_type = "ner" if spans else "pos"
    tagger = SequenceTagger(
        hidden_size=256,
        embeddings=embeddings,
        tag_dictionary=corpus.make_label_dictionary(tag_type, add_unk=False),
        tag_type=tag_type,
        use_crf=False,
        use_rnn=False,
        reproject_embeddings=False,
    )

    class GatePlugin(TrainerPlugin):
        @TrainerPlugin.hook
        def before_training_batch(self, batch, **_):
            gate.update()
            texts = [[token.text for token in sentence] for sentence in batch]
            count_sentences(gate, embeddings.tokenizer, texts)

    ModelTrainer(tagger, corpus).fine_tune(
        str(inputs / "flair"),
        mini_batch_size=options.batch_size,
        learning_rate=learning_rate,
        max_epochs=epochs,
        plugins=[GatePlugin()],
    )
    return tagger


def flair_sentences(rows: list[dict], *, context: bool) -> list:
    """The words of rows as flair's sentences; `context`: each knows its neighbours in its document.

    Rows without `document` are one document, as in flair's reader of column files.
    """
    from flair.data import Sentence

    sentences = [Sentence(row["tokens"]) for row in rows]
    if context:
        pairs = zip(rows, sentences, strict=True)
        for _, document in itertools.groupby(pairs, key=lambda pair: pair[0].get("document")):
            Sentence.set_context_for_sentences([sentence for _, sentence in document])
    return sentences


def train_spacy(inputs: Path, gate, options) -> None:
    """The pipeline transformer + ner, updated with batches of sentences (spaCy's guide)."""
    import random

    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example
    from spacy.util import fix_random_seed, minibatch
    from transformers import AutoTokenizer

    fix_random_seed(options.seed)
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(inputs / "model"),
        "tokenizer_config": {"use_fast": True},
        "get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"},
    }
    nlp.add_pipe("transformer", config={"model": model})
    listener = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": {
            "@architectures": "spacy-transformers.TransformerListener.v1",
            "grad_factor": 1.0,
            "pooling": {"@layers": "reduce_mean.v1"},
        },
    }
    nlp.add_pipe("ner", config={"model": listener})
    examples = []
    for row in read_sentences(inputs):
        reference = Doc(nlp.vocab, words=row["tokens"], ents=row["ner_tags"])
        examples.append(Example(Doc(nlp.vocab, words=row["tokens"]), reference))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 5e-5
    tokenizer = AutoTokenizer.from_pretrained(inputs / "model")
    while True:
        random.shuffle(examples)
        for batch in minibatch(examples, size=options.batch_size):
            gate.update()
            texts = [[token.text for token in example.reference] for example in batch]
            count_sentences(gate, tokenizer, texts)
            nlp.update(batch, sgd=optimizer, drop=0.1)


def spans_of(tags: list[str]) -> list[tuple[int, int, str]]:
    """Spans of IOB2 tags: begin, end (exclusive), type.

    >>> spans_of(["O", "B-PER", "I-PER", "B-LOC"])
    [(1, 3, 'PER'), (3, 4, 'LOC')]
    """
    begins = [index for index, tag in enumerate(tags) if tag.startswith("B-")]
    spans = []
    for begin in begins:
        end = begin + 1
        while end < len(tags) and tags[end].startswith("I-"):
            end += 1
        spans.append((begin, end, tags[begin][2:]))
    return spans
