"""What the header of a run says of its data and labels, so that a mistake is seen at once."""

import itertools
from collections.abc import Iterable, Sequence

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.data.words.corpus import Corpus
from tagloop.options.config import Config
from tagloop.streams import visible
from tagloop.tasks.tagging.context import context_text
from tagloop.tasks.tagging.windows import Windows

MOST_LABELS = 9  # No more labels are shown.
FACTS = {
    "words_without_sub_tokens": "words are nothing to the tokenizer; they count as unknown tokens",
    "words_shortened": "words are longer than a window; their first sub-tokens stand for them",
    "sentences_cut": "sentences are longer than a window; every word is predicted once",
}


def header_lines(
    config: Config,
    corpus: Corpus,
    examples: dict[str, Windows],
    labels: Sequence[str],
    *,
    is_legal: bool,
) -> list[tuple[str, str]]:
    """The lines (name, text) of the header, as `Task.describe` gives them.

    Args:
        examples: the windows of every split that the run needs.
        labels: the labels of the model, in the order of their ids.
        is_legal: True with --decoding legal.
    """
    first = corpus.splits[next(iter(examples))]
    lines = [("read", first_sentence(itertools.islice(first, 100)))]
    columns_of = {split: corpus.columns[split] for split in examples}
    if len(set(columns_of.values())) == 1:
        lines.append(("", next(iter(columns_of.values()))))
    else:
        lines += [("", f"{split}: {columns}") for split, columns in columns_of.items()]
    for split, windows in examples.items():
        lines += split_lines(split, windows, len(corpus.splits[split]))
    if config.context_tokens:
        marks = [corpus.documents[split] or "splits" for split in examples]
        told = ", ".join(dict.fromkeys(marks))
        lines.append(("context", f"{context_text(config)}; documents by {told}"))
    shown = ", ".join(labels[:MOST_LABELS]) + (", ..." if len(labels) > MOST_LABELS else "")
    scheme = f" (read as {corpus.scheme}, trained as IOB2)" if corpus.scheme else ""
    lines.append(("labels", f"{len(labels)}: {shown}{scheme}"))
    if is_legal:
        lines.append(("", "predicted in a legal order (--decoding legal)"))
    return lines


def first_sentence(rows: Iterable[dict], width: int = 88) -> str:
    """The first sentence with a tag, as it was read, so that the user notices a wrong column.

    Args:
        rows: sentences with `tokens` and `tags`.
        width: the number of characters that the result may have.

    >>> first_sentence([{"tokens": ["EU", "said", "so"], "tags": ["B-ORG", "O", None]}])
    'EU/B-ORG said/O so'
    """
    rows = list(rows)
    row = next((row for row in rows if any(row["tags"])), rows[0])
    pairs = zip(row["tokens"], row["tags"], strict=True)
    text = visible(" ".join(f"{word}/{tag}" if tag else word for word, tag in pairs))
    return text if len(text) <= width else text[: width - 4].rpartition(" ")[0] + " ..."


def split_lines(split: str, windows: Windows, num_sentences: int) -> list[tuple[str, str]]:
    """The lines of the header about one split: its size, and what was met while it was read."""
    num_words, facts = len(windows.references), windows.facts
    size = f"{num_sentences:,} sentences, {num_words:,} words, {len(windows):,} windows of up to "
    lines = [(split, f"{size}{int(windows.lengths.max())} sub-tokens")]
    share = facts["words_unknown"] / max(facts["words"], 1)
    lines.append(("", f"{share:.1%} of the words hold something unknown to the tokenizer"))
    lines += [("", f"{facts[fact]:,} {text}") for fact, text in FACTS.items() if facts[fact]]
    without = int((windows.references == IGNORE_INDEX).sum())
    if without and split != "predict":
        text = f"{without:,} words ({without / num_words:.1%}) have no gold tag"
        lines.append(("", f"{text}: neither trained nor scored"))
    return lines
