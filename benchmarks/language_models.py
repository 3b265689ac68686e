"""How many tokens a second does a language model learn, and in how much memory?

    python benchmarks/language_models.py
    python benchmarks/language_models.py --tasks clm --rows 128 --updates 2 --repeats 1  # a try

A GPT-2 (clm) and a BERT (mlm) of 4 layers of 256, with the 50,257 and 30,522 rows of vocabulary of
the real ones, because the logits decide the memory. Rows are blocks of 128 or of 512 sub-tokens, or
ragged: a document a row, of up to 512. Each loop has a process of its own, and all take blocks of
updates in turn (measuring.py): tagloop; Trainer tuned for speed (bf16 where that is fast, fused
AdamW, rows grouped by length); the same without groups, which change what is learned; and the loop
of run_clm_no_trainer.py and run_mlm_no_trainer.py. Texts are the documents of CoNLL-2003, or the
built-in corpus with `--data sample`. Ragged rows are learned by tagloop with `--group_by_length`,
too, to be compared with the Trainer that groups. It takes about a quarter of an hour on two cores.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import transformers
from inputs import SAMPLE, find_corpus, load_word_pieces, spread_over
from measuring import (
    REPO,
    WORKER,
    Measurement,
    add_common_options,
    best_precision,
    paired_ratio,
    spread,
    table,
    write_results,
)

sys.path.insert(0, str(REPO))  # for tagloop
VOCABULARY = {"clm": 50_257, "mlm": 30_522}
LONGEST = 512  # sub-tokens of a ragged row
ROWS = {"128": 16, "512": 4, "ragged": 8}  # what a row is -> rows of an update
GROUPED = "tagloop, grouped by length"
LOOPS = {  # name in the table -> loop of worker.py
    "tagloop": "tagloop",
    GROUPED: "tagloop",
    "Trainer, tuned": "trainer-tuned",
    "Trainer, tuned, not grouped": "trainer-not-grouped",
    "no-trainer script": "run_ner",  # of which the scripts for language models copy the loop
}
SEED = 42


def main() -> None:
    """Measure every task with every kind of rows, and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", choices=VOCABULARY, nargs="+", default=list(VOCABULARY))
    parser.add_argument("--rows", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--loops", choices=LOOPS, nargs="+", default=list(LOOPS))
    parser.add_argument("--width", type=int, default=256, help="of the model, a multiple of 64")
    parser.add_argument("--updates", type=int, default=4, help="in a block")
    add_common_options(parser)
    options = parser.parse_args()
    measured, sections = {}, []
    for task in options.tasks:
        for rows in options.rows:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                build_inputs(folder / "inputs", task, rows, options)
                with Measurement(folder, options.threads) as measurement:
                    variants = build_variants(folder / "inputs", task, rows, options)
                    blocks = measurement.interleave(variants, repeats=options.repeats)
            measured[f"{task}, {rows}"] = blocks
            sections.append(describe(task, rows, blocks))
    legend = (
        f"Median (range) of {options.repeats} blocks of {options.updates} updates each, all loops "
        "in turn. × tagloop: tagloop's rate over this loop's in the same round; × grouped: that of "
        "tagloop, grouped by length. A CPU second: of all threads together, so that other work on "
        "the machine counts for little. Padding: share of the cells computed. Memory: peak of the "
        "process; above the logits it holds the libraries, the model with its optimizer, and all "
        "other activations."
    )
    text = "\n\n".join([*sections, legend])
    write_results("language-models", options.results, text, measured, options.threads)


def build_inputs(folder: Path, task: str, rows: str, options: argparse.Namespace) -> None:
    """Write model/ (with its tokenizer), train.jsonl, and rows.json for the other loops."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True)
    documents = load_documents(options.data)
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in documents)
    length = LONGEST if rows == "ragged" else int(rows)
    facts = {"task": task, "length": length, "in_blocks": rows != "ragged"}
    (folder / "rows.json").write_text(json.dumps(facts), encoding="utf-8")
    words = [{"tokens": text.split()} for text in documents]
    tokenizer = load_word_pieces(words)
    size, width = VOCABULARY[task], options.width
    if len(tokenizer) < size:
        tokenizer = spread_over(tokenizer, size, pad_token_id=0)
    if task == "clm":
        auto = transformers.AutoModelForCausalLM
        config = transformers.GPT2Config(
            vocab_size=size, n_embd=width, n_layer=4, n_head=width // 64, n_positions=LONGEST,
            bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        )  # fmt: skip
    else:
        auto = transformers.AutoModelForMaskedLM
        config = transformers.BertConfig(
            vocab_size=size, hidden_size=width, num_hidden_layers=4,
            num_attention_heads=width // 64, intermediate_size=4 * width,
        )  # fmt: skip
    transformers.set_seed(SEED)
    auto.from_config(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def load_documents(data: Path | None) -> list[str]:
    """The texts of CoNLL-2003's documents; else sentences of the sample, joined to documents."""
    folder = find_corpus(data)
    if folder and folder != SAMPLE:
        text = (folder / "eng.train").read_text(encoding="utf-8")
        documents = [document.split("\n")[1:] for document in text.split("-DOCSTART-")[1:]]
        return [" ".join(line.split()[0] for line in lines if line) for lines in documents]
    from tagloop.sample.corpus import build_sample_texts

    texts = [row["text"] for row in build_sample_texts()["train"]]
    sizes = np.random.default_rng(SEED).integers(1, 40, len(texts))
    ends = np.append(sizes.cumsum(), len(texts))
    begins = np.append(0, ends[:-1])
    pairs = zip(begins, ends, strict=True)
    return [" ".join(texts[begin:end]) for begin, end in pairs if begin < len(texts)]


def build_variants(
    inputs: Path, task: str, rows: str, options: argparse.Namespace
) -> dict[str, dict]:
    """The command of every loop that is asked for."""
    # An honest schedule: as long as the run will be, and a last update that is never taken.
    steps = (options.repeats + 1) * options.updates + 1
    sizes = [
        f"--inputs={inputs}", f"--batch_size={ROWS[rows]}", f"--updates={options.updates}",
        f"--max_steps={steps}",
    ]  # fmt: skip
    own = f"--task_name={task} --validation_split_percentage=0 --mixed_precision={best_precision()}"
    if rows == "ragged":
        own += f" --max_length={LONGEST}" + (" --line_by_line" if task == "mlm" else "")
    else:
        own += f" --{'block_size' if task == 'clm' else 'max_seq_length'}={rows}"
    variants = {}
    for name in options.loops:
        further = " --group_by_length" if name == GROUPED else ""
        if rows == "ragged" or name != GROUPED:  # Blocks have one length, so groups change nothing.
            command = [*WORKER, LOOPS[name], *sizes, f"--tagloop={own}{further}"]
            variants[name] = {"command": command}
    return variants


def rate(block: dict) -> float:
    """Real sub-tokens a second."""
    return block["sub_tokens"] / block["seconds"]


def cpu_rate(block: dict) -> float:
    """Real sub-tokens a CPU second."""
    return block["sub_tokens"] / block["cpu_seconds"]


def describe(task: str, rows: str, blocks: dict[str, list[dict]]) -> str:
    """The heading and the table of one task with one kind of rows."""
    first = next(iter(blocks))
    others = [first, GROUPED] if GROUPED in blocks and first != GROUPED else [first]
    ratios = [f"× {'grouped' if of == GROUPED else of}" for of in others]
    header = [
        "loop", "sub-tokens a second", *ratios, "a CPU second", "padding", "memory, MiB",
    ]  # fmt: skip
    lines = []
    for name, reports in blocks.items():
        cells, real = (sum(report[of] for report in reports) for of in ("cells", "sub_tokens"))
        lines.append(
            [
                name,
                spread([rate(report) for report in reports]),
                *(paired_ratio(blocks, name, of, rate) for of in others),
                spread([cpu_rate(report) for report in reports]),
                f"{1 - real / cells:.1%}",
                spread([report["peak_mib"] for report in reports]),
            ]
        )
    what = "a document a row" if rows == "ragged" else f"blocks of {rows}"
    own = blocks[first]
    mean = sum(report["cells"] for report in own) / sum(report["updates"] for report in own)
    logits = mean * VOCABULARY[task] * 4 / 2**20
    return (
        f"### {task}, {what}, {ROWS[rows]} rows an update\n\n{table(header, lines)}\n\n"
        f"The logits of all cells of {first}'s mean update would be {logits:,.0f} MiB in float32."
    )


if __name__ == "__main__":
    main()
