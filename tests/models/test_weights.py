"""weights.py: only a head may be new, and a head that is not trained scores nothing."""

import json

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
)

from tagloop.errors import InputError
from tagloop.models.model import load_model, load_model_config
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.command_line import parse_config
from tagloop.training.memory import recompute_layers

LABELS = ["B-PER", "I-PER", "O"]
TOKEN, SEQUENCE = AutoModelForTokenClassification, AutoModelForSequenceClassification
TRAIN = ["--train_file", "a.json", "--do_train"]
EVALUATE = ["--validation_file", "a.json", "--do_eval"]
COUNTS = np.array([5, 3, 90])


def load(folder, *more, do=TRAIN, head=TOKEN, labels=LABELS, counts=None, warnings=None):
    config = parse_config([*do, "--model_name_or_path", str(folder), *more])
    tokenizer = load_tokenizer(config, [], pre_split=True)
    model_config = load_model_config(config, head, tokenizer, labels)
    warnings = [] if warnings is None else warnings
    return load_model(
        config, head, model_config, tokenizer, warnings, has_labels=True, label_counts=counts
    )


def save(folder, model):
    model.save_pretrained(folder)
    tiny.tokenizer_like("word_piece").save_pretrained(folder)
    return folder


@pytest.fixture
def trained(tmp_path):
    """A trained BERT of two layers with a head for LABELS."""
    config = tiny.model_config("bert", LABELS, num_hidden_layers=2)
    return save(tmp_path / "trained", tiny.build_model(config))


def change(folder, rewrite):
    """Pass the checkpoint's weights through a function."""
    path = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(rewrite(weights), path, metadata={"format": "pt"})
    return folder


def configure(folder, **facts):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return folder


PRETRAINED = [
    ("bert", AutoModelForMaskedLM),
    ("bert", AutoModelForPreTraining),
    ("bert", AutoModel),  # names without "bert.", and a pooler
    ("roberta", AutoModelForMaskedLM),
    ("roberta", AutoModel),
    ("electra", AutoModelForPreTraining),
    ("distilbert", AutoModelForMaskedLM),
    ("albert", AutoModelForPreTraining),
    ("deberta-v2", AutoModelForMaskedLM),
    ("modernbert", AutoModelForMaskedLM),  # its head is in part the one of the task
    ("longformer", AutoModelForMaskedLM),
    ("gpt2", AutoModelForCausalLM),
    ("t5", AutoModelForSeq2SeqLM),  # tied embeddings, and a decoder that is not asked for
]


@pytest.mark.parametrize(("model_type", "auto_class"), PRETRAINED)
@pytest.mark.parametrize("head", [TOKEN, SEQUENCE])
@pytest.mark.medium
def test_a_pretrained_checkpoint_gives_all_but_the_head(tmp_path, model_type, auto_class, head):
    config = tiny.model_config(model_type, ["LABEL_0", "LABEL_1"])
    torch.manual_seed(3)
    pretrained = auto_class.from_config(config)
    save(tmp_path / "m", pretrained)
    warnings = []
    model = load(tmp_path / "m", head=head, warnings=warnings)
    assert not warnings
    base = getattr(pretrained, model.base_model_prefix, pretrained).state_dict()
    loaded = model.base_model.state_dict()
    shared = [name for name in loaded if name in base]
    assert len(shared) > 0.8 * len(loaded)
    assert all(torch.equal(loaded[name], base[name]) for name in shared)


def test_old_spellings_of_norms_are_loaded(trained):
    spelled = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    mark = torch.arange(16.0)

    def rewrite(weights):
        weights["bert.embeddings.LayerNorm.weight"] = mark
        for new, old in spelled.items():
            weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
        return weights

    model = load(change(trained, rewrite))
    assert torch.equal(model.bert.embeddings.LayerNorm.weight, mark)


def with_prefix(weights):
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def without_second_layer(weights):
    return {name: tensor for name, tensor in weights.items() if "layer.1." not in name}


def without_a_bias(weights):
    return {n: tensor for n, tensor in weights.items() if n != "bert.embeddings.LayerNorm.bias"}


def with_a_stray(weights):
    return weights | {"bert.encoder.layer.0.attention.gate": torch.zeros(3)}


def headless(weights):
    return {n.removeprefix("bert."): t for n, t in weights.items() if n.startswith("bert.")}


def without_head(weights):
    return {name: tensor for name, tensor in weights.items() if "classifier" not in name}


def same(weights):
    return weights


FAULTS = [
    (with_prefix, {}, ["39 weights", "bert.", 'begin with "module."']),
    (without_second_layer, {}, ["16 weights", "bert.encoder.layer.1", "and 13 more", "missing"]),
    (without_a_bias, {}, ["1 weight (bert.embeddings.LayerNorm.bias) missing"]),
    (with_a_stray, {}, ["1 weight (bert.encoder.layer.0.attention.gate) without a place"]),
    (same, {"num_hidden_layers": 1}, ["16 weights", "bert.encoder.layer.1", "without a place"]),
    (headless, {"num_hidden_layers": 1}, ["16 weights (encoder.layer.1", "without a place"]),
    (same, {"intermediate_size": 20}, ["6 weights", "(16, in the model 20)", "another size"]),
    (same, {"vocab_size": 410}, ["400x16, in the model 410x16", "another size"]),
    (without_head, {}, ["2 weights (classifier.bias, classifier.weight) missing"]),
]


@pytest.mark.parametrize(("rewrite", "facts", "says"), FAULTS)
def test_weights_that_do_not_load_are_named(trained, rewrite, facts, says):
    configure(change(trained, rewrite), **facts)
    with pytest.raises(InputError) as caught:
        load(trained)
    message = str(caught.value)
    assert "\n" not in message
    assert str(trained) in message
    assert "--allow_partial_weights" in message
    assert not [part for part in says if part not in message], message
    assert len(message) < 700
    warnings = []
    load(trained, "--allow_partial_weights", warnings=warnings)
    assert says[0] in warnings[0]


def test_a_configuration_of_fewer_layers_has_to_be_asked_for(trained, tmp_path):
    config = BertConfig.from_pretrained(trained)
    config.num_hidden_layers = 1
    config.save_pretrained(tmp_path / "small")
    with pytest.raises(InputError, match=r"without a place .*--allow_partial_weights"):
        load(trained, "--config_name", str(tmp_path / "small"))
    model = load(trained, "--config_name", str(tmp_path / "small"), "--allow_partial_weights")
    assert len(model.bert.encoder.layer) == 1


def bias_of(folder):
    return load_file(folder / "model.safetensors")["classifier.bias"]


def test_a_trained_head_keeps_its_bias_when_other_weights_are_missing(trained):
    change(trained, lambda weights: weights | {"classifier.bias": torch.tensor([1.0, 2.0, 3.0])})
    change(trained, without_a_bias)
    model = load(trained, "--allow_partial_weights", counts=COUNTS)
    assert model.classifier.bias.tolist() == [1, 2, 3]


def test_a_new_head_starts_from_the_frequencies_of_the_labels(trained):
    labels = ["X", "Y", "O"]
    model = load(trained, "--ignore_mismatched_sizes", labels=labels, counts=COUNTS)
    expected = torch.tensor((COUNTS + 1) / (COUNTS + 1).sum()).log().float()
    torch.testing.assert_close(model.classifier.bias.detach(), expected)


def test_the_head_of_another_task_is_not_taken_for_ours(tmp_path):
    config = tiny.model_config("bert", ["LABEL_0", "LABEL_1", "LABEL_2"])  # as many as LABELS
    torch.manual_seed(1)
    other = SEQUENCE.from_config(config)
    save(tmp_path / "other", other)
    model = load(tmp_path / "other")
    assert not torch.isclose(model.classifier.weight, other.classifier.weight).any()


# A head that is not trained


def test_scores_of_a_trained_head_are_computed_without_training(trained):
    assert load(trained, do=EVALUATE).classifier.bias.tolist() == bias_of(trained).tolist()
    predict = ["--predict_file", "a.json", "--do_predict"]
    load(trained, do=predict, labels=[])


@pytest.mark.parametrize("option", [[], ["--ignore_mismatched_sizes"]])
@pytest.mark.parametrize("number", [2, 3])
def test_a_checkpoint_without_our_head_is_not_scored(tmp_path, option, number):
    names = [f"LABEL_{index}" for index in range(number)]
    save(tmp_path / "m", tiny.build_model(tiny.model_config("bert", names)))
    with pytest.raises(InputError, match=r"has no trained head .*--do_train") as caught:
        load(tmp_path / "m", *option, do=EVALUATE)
    assert "--ignore_mismatched_sizes" not in str(caught.value)


def test_labels_that_are_only_numbered_want_names(tmp_path):
    save(tmp_path / "m", tiny.build_model(tiny.model_config("bert", ["LABEL_0", "LABEL_1"])))
    with pytest.raises(InputError, match=r"LABEL_0 to LABEL_1.*id2label of config.json"):
        load(tmp_path / "m", do=EVALUATE, labels=["B-PER", "O"])


def test_other_labels_are_not_scored_and_no_new_head_is_advised(trained):
    with pytest.raises(InputError, match=r"lack B-LOC .*--do_train") as caught:
        load(trained, do=EVALUATE, labels=["B-LOC", "O"])
    assert "--ignore_mismatched_sizes" not in str(caught.value)
    with pytest.raises(InputError, match="has no trained head"):
        load(trained, "--ignore_mismatched_sizes", do=EVALUATE, labels=["B-LOC", "O"])


def test_a_model_from_scratch_is_not_scored(trained):
    argv = [*EVALUATE, "--model_type", "bert", "--tokenizer_name", str(trained)]
    config = parse_config(argv)
    tokenizer = load_tokenizer(config, [], pre_split=True)
    model_config = tiny.model_config("bert", LABELS)
    with pytest.raises(InputError, match="--model_type bert: has no trained head"):
        load_model(config, TOKEN, model_config, tokenizer, [], has_labels=True)


def test_a_trained_regression_is_scored(tmp_path):
    model = SEQUENCE.from_config(tiny.model_config("bert", ["LABEL_0"]))
    save(tmp_path / "m", model)
    loaded = load(tmp_path / "m", do=EVALUATE, head=SEQUENCE, labels=["LABEL_0"])
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)


# Label names


@pytest.mark.parametrize(
    ("id2label", "says"),
    [
        ({"0": "B-PER", "2": "O", "3": "I-PER"}, "has no name for 1"),
        ({"0": "B-PER", "1": "O", "2": "O"}, "names O twice"),
    ],
)
def test_label_names_with_holes_or_twins_are_refused(trained, id2label, says):
    configure(trained, id2label=id2label)
    with pytest.raises(InputError, match=f"{says}.*--ignore_mismatched_sizes"):
        load(trained)
    with pytest.raises(InputError, match=f"{says}.*--do_train"):
        load(trained, do=EVALUATE)
    model = load(trained, "--ignore_mismatched_sizes")
    assert list(model.config.id2label.values()) == LABELS


# The tokenizer and the embeddings


def test_a_tokenizer_of_another_model_is_refused_if_ids_have_no_embedding(trained, tmp_path):
    tokenizer = tiny.tokenizer_like("byte_level")
    tokenizer.add_tokens([f"word{number}" for number in range(200)])
    tokenizer.save_pretrained(tmp_path / "large")
    with pytest.raises(InputError, match=r"--tokenizer_name .*400 embeddings"):
        load(trained, "--tokenizer_name", str(tmp_path / "large"))


def test_embeddings_for_a_models_own_larger_tokenizer_are_added_and_reported(trained):
    tokenizer = tiny.tokenizer_like("word_piece")
    tokenizer.add_tokens([f"word{number}" for number in range(400)])
    tokenizer.save_pretrained(trained)
    warnings = []
    model = load(trained, warnings=warnings)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert f"{len(tokenizer)} ids, the model 400 embeddings" in warnings[0]


@pytest.mark.parametrize("model_type", ["albert", "mpnet", "ibert"])
def test_models_without_gradient_checkpointing_say_so(model_type):
    model = tiny.build_model(tiny.model_config(model_type, LABELS))
    with pytest.raises(InputError, match=r"--gradient_checkpointing: .* does not support"):
        recompute_layers(model)


def test_a_model_without_labels_keeps_its_own_configuration(tmp_path):
    tokenizer = tiny.tokenizer_like("word_piece")
    saved = AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False)
    )
    save(tmp_path / "m", saved)
    config = parse_config([*TRAIN, f"--model_name_or_path={tmp_path / 'm'}"])
    model_config = load_model_config(config, AutoModelForCausalLM, tokenizer)
    assert "id2label" not in model_config.to_diff_dict()
    model = load_model(config, AutoModelForCausalLM, model_config, tokenizer, [])
    assert torch.equal(model.lm_head.weight, saved.lm_head.weight)


def test_a_missing_output_layer_of_a_model_without_labels_is_an_error(tmp_path):
    tokenizer = tiny.tokenizer_like("word_piece")
    gpt2 = GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False)
    save(tmp_path / "m", AutoModel.from_config(gpt2))
    config = parse_config([*TRAIN, f"--model_name_or_path={tmp_path / 'm'}"])
    model_config = load_model_config(config, AutoModelForCausalLM, tokenizer)
    with pytest.raises(InputError, match=r"lm_head\.weight\) missing in the checkpoint.*Mend"):
        load_model(config, AutoModelForCausalLM, model_config, tokenizer, [])
