"""One global batch is one update, however it is cut. benchmarks/equivalence.py: peers fail this."""

import json
import random

import pytest
import torch
from launches import SMALL, assert_same_metrics, launch, read_metrics
from recordings import tone

import train_loop

# processes, per-device batch, accumulation
CUTS_OF_16 = [(1, 16, 1), (1, 8, 2), (1, 1, 16), (2, 8, 1), (2, 4, 2), (2, 1, 8)]
CUTS_OF_12 = [(1, 12, 1), (3, 4, 1), (3, 2, 2)]
# A global batch in one cut and in another.
PAIRS = [(whole, cut) for whole, *others in (CUTS_OF_16, CUTS_OF_12) for cut in others]
NUM_SENTENCES = 50  # the last update is short: 2 of 16 or of 12, so a process of 3 has nothing


# Every case learns every cut. One task learns them in float32 and float64; the loop is the same for
# all, so each of the others learns in one of the two.
IN_BOTH = "pos"
IN_FLOAT64 = ("classification", "qa")
# Further options, in float64.
KNOBS = {
    "pos, with options of the loss, the data and the optimizer": [
        "--class_weights={folder}/weights", "--label_smoothing_factor=0.1", "--focal_gamma=2",
        "--context_tokens=7", "--head_learning_rate=2e-3", "--layerwise_lr_decay=0.5",
        "--freeze_embeddings", "--optimizer=torch.optim:NAdam", "--weight_decay=0.1",
        "--ema_decay=0.9",
    ],
    "pos, with adapters": ["--lora_rank=4", "--lora_target_modules=all-linear"],
}  # fmt: skip
# What the starting model is made with, and how its configuration names its dropout.
MODELS = {
    "pos": ([], "hidden_dropout_prob"),
    "classification": ([], "hidden_dropout_prob"),
    "clm": (["--task_name=clm"], "resid_pdrop"),
    "mlm": (["--task_name=mlm"], "hidden_dropout_prob"),
    "t5_mlm": (["--task_name=t5_mlm"], "dropout_rate"),
    "qa": ([], "hidden_dropout_prob"),
    "summarization": (["--task_name=summarization"], "dropout_rate"),
    "speech": (["--task_name=speech"], "attention_dropout"),
}


def dtypes_of(case: str) -> list[str]:
    if case == IN_BOTH:
        return ["float32", "float64"]
    return ["float64" if case in KNOBS or case in IN_FLOAT64 else "float32"]


@pytest.fixture(scope="module", params=[*MODELS, *KNOBS])
def case(request) -> str:
    """A task, or a task with further options."""
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    """The cuts of a case, trained for an epoch by one launch per process count."""
    folder, task = tmp_path_factory.mktemp("equivalence"), case.partition(",")[0]
    knobs = [option.format(folder=folder) for option in KNOBS.get(case, [])]
    options, dropout = MODELS[task]
    train_loop.main([*SMALL, *options, "--max_train_steps=1", f"--output_dir={folder / 'model'}"])
    assert f'"{dropout}": 0.1' in (folder / "model" / "config.json").read_text()
    draw = random.Random(4)
    words = ["Carla", "works", "in", "Paris", "for", "a", "bank", "and", "we", "saw", "rain"]
    with (folder / "data.jsonl").open("w") as file:
        for number in range(NUM_SENTENCES):
            length = 1 + number * 59 // (NUM_SENTENCES - 1)  # 1 to 60 labels
            tokens = [draw.choice(words) + str(draw.randrange(9)) for _ in range(length)]
            tags = [draw.choice(["NN", "VB", "DT", "IN"]) for _ in tokens]
            if number % 7 == 3:  # no label at all: some micro-batches of one are all ignored
                tags = [None] * length
            topic = None if number % 7 == 3 else draw.choice(["news", "sport", "speech"])
            row = {"tokens": tokens, "pos_tags": tags, "text": " ".join(tokens), "label": topic}
            row |= question_about(tokens, number)
            row["summary"] = " ".join(tokens[: 1 + number % 9]) if row["label"] else None
            if "--context_tokens=7" in knobs:
                row["doc_id"] = number // 4
            if task == "speech":
                row["audio"] = f"{number}.wav"
                (folder / row["audio"]).write_bytes(tone(0.9, 300 + 10 * number, 2000))
            file.write(json.dumps(row) + "\n")
    (folder / "weights").write_text("NN 0.1\nVB 1\nDT 9\n")
    for processes in (1, 2, 3):
        cuts = [
            [batch_size, accumulation, dtype]
            for count, batch_size, accumulation in CUTS_OF_16 + CUTS_OF_12
            for dtype in dtypes_of(case)
            if count == processes
        ]
        launch(
            str(folder / str(processes)), str(folder / "data.jsonl"), str(folder / "model"),
            task, json.dumps(cuts), json.dumps(knobs),
            script="tests/equivalence_worker.py", processes=processes,
        )  # fmt: skip
    return folder


def question_about(tokens: list[str], number: int) -> dict:
    """A row's question: every third has no answer, and every seventh none that anybody knows."""
    at = number % len(tokens)
    start = len(" ".join(tokens[:at])) + (at > 0)
    answers = {"text": [tokens[at]], "answer_start": [start]}
    if number % 3 == 1:
        answers = {"text": [], "answer_start": []}
    if number % 7 == 3:
        answers = None
    question = f"Which word is number {at} ?"
    return {"question": question, "context": " ".join(tokens), "answers": answers}


def load(folder, cut, dtype):
    processes, batch_size, accumulation = cut
    place = folder / str(processes) / f"{batch_size}-{accumulation}-{dtype}"
    tensors = [torch.load(place / f"tensors-{rank}.pt") for rank in range(processes)]
    for other in tensors[1:]:
        for kind in ("gradients", "weights"):
            for name, value in tensors[0][kind].items():
                assert torch.equal(value, other[kind][name]), "processes must hold the same model"
    return place, tensors[0]


def relative_difference(actual: dict, expected: dict) -> float:
    assert actual.keys() == expected.keys()
    difference = sum((actual[name] - expected[name]).double().norm() ** 2 for name in expected)
    return float((difference / sum(v.double().norm() ** 2 for v in expected.values())).sqrt())


@pytest.mark.slow
def test_gradients_and_weights_do_not_depend_on_the_cut(case, folder):
    bounds = {"float32": (1e-5, 1e-4), "float64": (1e-10, 1e-9)}
    for whole, cut in PAIRS:
        for dtype in dtypes_of(case):
            first_update, whole_epoch = bounds[dtype]
            _, expected = load(folder, whole, dtype)
            _, actual = load(folder, cut, dtype)
            gradients = relative_difference(actual["gradients"], expected["gradients"])
            assert gradients < first_update, (cut, dtype)
            weights = relative_difference(actual["weights"], expected["weights"])
            assert weights < whole_epoch, (cut, dtype)


@pytest.mark.slow
def test_logged_losses_and_learning_rates_are_the_same(case, folder):
    for whole, cut in PAIRS:
        for dtype in dtypes_of(case):
            place, _ = load(folder, whole, dtype)
            other, _ = load(folder, cut, dtype)
            expected = read_metrics(place)
            assert len(expected) == -(-NUM_SENTENCES // whole[1])
            assert_same_metrics(read_metrics(other), expected)


@pytest.mark.slow
def test_every_update_learns_from_the_same_sentences(case, folder):
    def stream(cut):
        """Sentences (sorted sub-token ids) of every update, over all processes."""
        place, _ = load(folder, cut, dtypes_of(case)[0])
        ranks = [json.loads((place / f"stream-{r}.json").read_text()) for r in range(cut[0])]
        assert len({len(updates) for updates in ranks}) == 1
        return [
            sorted(row for micro_batches in share for batch in micro_batches for row in batch)
            for share in zip(*ranks, strict=True)
        ]

    for whole, cut in PAIRS:
        labelled = stream(whole)
        seen = [tuple(row) for update in labelled for row in update]
        assert len(seen) == len(set(seen)), "each sentence once an epoch"
        # Micro-batches without any label are left out of the stream: they teach nothing.
        unlabelled = {tuple(row) for row in seen} - {tuple(r) for u in stream(cut) for r in u}
        assert len(unlabelled) <= 8, cut
        kept = [[row for row in update if tuple(row) not in unlabelled] for update in labelled]
        assert stream(cut) == kept, cut


@pytest.mark.slow
def test_gradients_are_not_trivially_equal(case, folder):
    """The data is such that a mean of means would show."""
    dtype = dtypes_of(case)[-1]
    _, first = load(folder, (1, 16, 1), dtype)
    _, other = load(folder, (1, 12, 1), dtype)
    assert relative_difference(other["gradients"], first["gradients"]) > 1e-3
