"""Questions about contexts for tests: windows of them, and a tokenizer for pairs."""

import functools
import json

import datasets
from tiny import tokenizer_like
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tagloop.tasks.qa.encoding import load_windows

COLUMNS = ("id", "question", "context", "answers")


def gold(*answers: tuple[str, int]) -> str:
    """The cell of some answers with their places; of none for a question without answer."""
    return json.dumps({"text": [t for t, _ in answers], "answer_start": [s for _, s in answers]})


def build_windows(
    tokenizer, *rows, max_length=64, doc_stride=4, learns_null=True, num_workers=1, name=None,
    pad_to_multiple_of=1,
):  # fmt: skip
    """The windows of rows (question, context, answers), through the loader that a run uses."""
    table = {
        "id": [str(number) for number in range(len(rows))],
        "question": [row[0] for row in rows],
        "context": [row[1] for row in rows],
        "answers": [row[2] for row in rows],
    }
    features = datasets.Features({column: datasets.Value("string") for column in COLUMNS})
    dataset = datasets.Dataset.from_dict(table, features=features)
    return load_windows(
        dataset,
        name or json.dumps(rows),
        tokenizer,
        max_length=max_length,
        doc_stride=doc_stride,
        learns_null=learns_null,
        pad_to_max_length=False,
        pad_to_multiple_of=pad_to_multiple_of,
        num_workers=num_workers,
    )


def with_pairs(
    tokenizer: PreTrainedTokenizerFast, pair: str, single: str = "[CLS] $A [SEP]"
) -> PreTrainedTokenizerFast:
    """A tokenizer with another template for pairs."""
    names = [name for name in ("[CLS]", "[SEP]") if name in pair]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in names],
    )
    return tokenizer


@functools.cache
def pair_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with `[CLS] question [SEP] context [SEP]`, as BERT has it."""
    tokenizer = tokenizer_like("word_piece", model_input_names=["input_ids", "token_type_ids"])
    return with_pairs(tokenizer, "[CLS] $A [SEP] $B:1 [SEP]:1")
