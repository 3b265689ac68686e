"""packing.py: rows that hold several examples give what rows of their own give."""

import itertools

import numpy as np
import pytest
import tiny
import torch
from launches import SMALL, read_json, read_metrics

import train_loop
from tagloop.batches.packing import Packing, build_micro_batch, pack_rows
from tagloop.batches.plan import deal_update
from tagloop.models.class_loss import CROSS_ENTROPY
from tagloop.training.dropout import ExampleDropout
from tagloop.training.dry_pass import dry_pass

LABELS = ["O", "B-PER", "I-PER"]
PACKED = [
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "albert",
    "mpnet",
    "modernbert",
    "xlm-roberta",
    "t5",
    "gpt2",
    "llama",
]
DROPOUTS = [
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout",
    "embedding_dropout", "mlp_dropout", "classifier_dropout",
]  # fmt: skip
NOT_PACKED = ["deberta-v2", "fnet", "convbert", "longformer"]


def windows(number=14, **options):
    tokens = tiny.sentences(5, number)
    tags = tiny.random_tags(6, tokens, LABELS)
    return tiny.build_windows(tiny.tokenizer_like("word_piece"), tokens, tags, LABELS, **options)


def build(model_type, **options):
    sizes = {
        "fnet": {"max_position_embeddings": 64},
        "convbert": {"embedding_size": 16, "conv_kernel_size": 9, "num_hidden_layers": 2},
    }
    options = sizes.get(model_type, {}) | options
    return tiny.build_model(tiny.model_config(model_type, LABELS, **options))


def find(model, examples, **options):
    options = {"dropout": True, "backward": False, "pack_to_multiple_of": 1} | options
    return dry_pass(model, [examples], **options).packing


def packed_rows(lengths, how):
    """The examples of every row, in the order in which they lie there, and the columns."""
    first_cells, num_rows, columns = pack_rows(lengths, how)
    rows = [[] for _ in range(num_rows)]
    ends = [row * columns for row in range(num_rows)]
    for example in first_cells.argsort():
        row = first_cells[example] // columns
        assert first_cells[example] == ends[row], "examples lie side by side"
        rows[row].append(example)
        ends[row] += lengths[example]
    return rows, columns


@pytest.mark.parametrize("multiple", [1, 8])
def test_every_example_lies_in_one_row_and_rows_are_short(multiple):
    generator = np.random.default_rng(multiple)
    for size in [1, 2, 3, 16, 100]:
        lengths = generator.geometric(0.08, size).clip(2, 120)
        most = -(-120 // multiple) * multiple
        rows, columns = packed_rows(lengths, Packing(0, multiple, most))
        assert sorted(itertools.chain(*rows)) == list(range(size))
        assert max(lengths[row].sum() for row in rows) <= columns <= most
        assert columns % multiple == 0
        assert len(rows) * columns <= size * -(-lengths.max() // multiple) * multiple


def test_a_row_has_no_more_columns_than_it_may():
    rows, columns = packed_rows(np.array([9, 3, 3, 3]), Packing(0, multiple=8, max_columns=10))
    assert columns == 10
    assert len(rows) == 2


@pytest.mark.parametrize("multiple", [1, 8])
def test_the_packing_is_the_cheapest_of_the_plain_rule(multiple):
    """LPT, written plainly: a run that is resumed has to pack as it packed before."""
    for seed, size in enumerate([1, 2, 5, 16, 60]):
        lengths = np.random.default_rng(seed).geometric(0.05, size).clip(1, 120)
        longest, total = lengths.max(), lengths.sum()
        counts = range(min(total // longest + 2, size), max(1, total // (2 * longest)) - 1, -1)[:10]
        best = None
        for num_rows in (*counts, size):
            rows = [[] for _ in range(num_rows)]
            for example in np.argsort(-lengths, kind="stable"):
                min(rows, key=lambda row: sum(lengths[row])).append(example)
            needed = max(sum(lengths[row]) for row in rows)
            columns = min(-(-needed // multiple) * multiple, 120)
            cost = num_rows * columns * (1 + columns / 1000)
            if needed <= columns and (best is None or cost < best[0]):
                best = cost, rows, columns
        assert packed_rows(lengths, Packing(0, multiple, 120)) == best[1:]


def test_little_is_padding():
    lengths = np.random.default_rng(0).geometric(0.06, 16 * 50).clip(3, 150)
    padded = packed = 0
    for ids in lengths.reshape(-1, 16):
        rows, columns = packed_rows(ids, Packing(0, 1, 150))
        packed += len(rows) * columns
        padded += 16 * ids.max()
    assert lengths.sum() / packed > 0.95
    assert lengths.sum() / padded < 0.5


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_processes_get_as_many_sub_tokens(num_processes):
    lengths = np.random.default_rng(1).geometric(0.06, 64).clip(3, 150)
    shares = [
        deal_update(
            np.arange(64), lengths, num_processes=num_processes, process_index=index,
            per_device_batch_size=8, packed=True,
        )
        for index in range(num_processes)
    ]  # fmt: skip
    assert len({len(share) for share in shares}) == 1
    assert sorted(np.concatenate([*itertools.chain(*shares)])) == list(range(64))
    assert max(len(ids) for share in shares for ids in share) <= 8
    sums = [sum(lengths[ids].sum() for ids in share) for share in shares]
    assert max(sums) < 1.1 * min(sums)


# The promise: packed or not, the same numbers.


SLIDING = {
    "modernbert": {"local_attention": 8, "num_hidden_layers": 2},
    "qwen2": {
        "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
        "num_hidden_layers": 2, "num_key_value_heads": 2,
    },
}  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize(
    ("model_type", "attention", "options"),
    [(each, attention, {}) for each in PACKED for attention in ("sdpa", "eager")]
    + [(each, "sdpa", SLIDING[each]) for each in SLIDING],  # eager: NaN where padded, in float64
)
def test_gradients_are_those_of_rows_of_their_own(model_type, attention, options):
    """With dropout, in float64, in one micro-batch and in three."""
    model, examples = build(model_type, **dict.fromkeys(DROPOUTS, 0.1), **options), windows()
    model.set_attn_implementation(attention)
    found = find(model, examples)
    assert found is not None
    model.double().train()
    everything = np.arange(len(examples))

    def gradient(packing, cuts):
        model.zero_grad(set_to_none=True)
        for ids in np.array_split(everything, cuts):
            micro_batch = build_micro_batch(examples, ids, packing).to(torch.device("cpu"))
            with ExampleDropout(0, 0, ids, micro_batch.layout) as dropout:
                outputs = model(**micro_batch.inputs)
            assert dropout.num_calls
            losses = CROSS_ENTROPY(outputs.logits.flatten(0, 1), micro_batch.labels.flatten())
            losses.sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    padded = gradient(None, 1)
    for cuts in (1, 3):
        difference = (gradient(found, cuts) - padded).norm()
        assert difference < 1e-7 * padded.norm()  # ModernBERT's softmax is float32


@pytest.mark.parametrize("model_type", NOT_PACKED)
def test_models_that_do_not_keep_examples_apart_are_found(model_type):
    assert find(build(model_type), windows()) is None


def test_a_decoder_whose_longest_window_takes_all_its_positions_packs():
    """Positions that begin at 1 do not fit then; those that begin at 0, with a causal mask, do."""
    examples = windows()
    model = build("gpt2", n_positions=int(examples.lengths.max()))
    found = find(model, examples, pack_to_multiple_of=1)
    assert found is not None
    assert (found.causal, found.first_position) == (True, 0)


@pytest.mark.slow
def test_a_run_is_the_same_packed_or_padded(tmp_path):
    for name in ("packing", "no_packing"):
        options = ["--max_train_steps=6", "--logging_steps=1", f"--output_dir={tmp_path / name}"]
        train_loop.main([*SMALL, *options, f"--{name}"])
    packed, padded = (read_metrics(tmp_path / name) for name in ("packing", "no_packing"))
    assert [line.get("loss") for line in packed] == [line.get("loss") for line in padded]
    share = {
        name: read_json(tmp_path / name / "all_results.json")["train_padding_share"]
        for name in ("packing", "no_packing")
    }
    assert share["packing"] < 0.5 * share["no_packing"]
