"""Writes a model as an ONNX file, and reads the file as an object that is called like the model.

write_onnx(model, examples, path); quantize(path, smaller)     # needs onnx
OnnxModel(path, model.config)(input_ids=..., attention_mask=...).logits
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from tagloop.batches.examples import Examples
from tagloop.errors import InputError
from tagloop.wording import first_line

NAME = "model.onnx"


def require_packages(*names: str) -> None:
    """Raise InputError if a package is not installed; the message names the remedy."""
    for name in names:
        try:
            __import__(name)
        except ImportError:
            raise InputError(
                f"ONNX needs {name}, which is not installed: "
                "pip install onnx onnxruntime onnxscript"
            ) from None


class _Logits(nn.Module):
    """A model that takes its inputs in the order of `names` and returns its logits as a tensor."""

    def __init__(self, model: nn.Module, names: list[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def write_onnx(model: nn.Module, examples: Examples, path: Path) -> None:
    """Write a model as an ONNX file for batches of any size and length.

    Args:
        model: in float32, on the CPU.
        examples: two of these examples show torch which inputs the model takes.

    Raises:
        InputError: a package is not installed, or torch cannot export this architecture.
    """
    require_packages("onnx", "onnxscript", "onnxruntime")
    # Two examples are needed, because torch would take a size of 1 for a constant.
    longest = np.argsort(examples.lengths, kind="stable")[-2:]
    batch = examples.collate(np.resize(longest, 2))
    del batch["labels"]
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                _Logits(model, list(batch)).eval(),
                tuple(batch.values()),
                path,
                input_names=list(batch),
                output_names=["logits"],
                dynamic_shapes={"inputs": tuple(dict(any_size) for _ in batch)},
                # An ONNX file without external data may have at most 2 GiB.
                external_data=sum(p.nbytes for p in model.parameters()) > 2**30,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # The exporter raises its own errors and those of the model.
            raise InputError(
                f"torch {torch.__version__} cannot export {type(model).__name__} to ONNX: "
                f"{first_line(error)}"
            ) from error


def quantize(path: Path, into: Path) -> None:
    """Write an ONNX model with matrices in int8; activations are quantised during a forward pass.

    Args:
        path: the ONNX model to read.
        into: the file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # onnxruntime logs advice about pre-processing that does not apply here.
    logging.getLogger().setLevel(logging.ERROR)
    quantize_dynamic(path, into, per_channel=True, weight_type=QuantType.QInt8)


def load_onnx(folder: Path) -> "OnnxModel":
    """Load the model from a folder that export.py wrote. Raises InputError without onnxruntime."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return OnnxModel(folder / NAME, config)


class OnnxModel(nn.Module):
    """An ONNX model on the CPU that is called like the torch model; it has no parameters."""

    device = torch.device("cpu")

    def __init__(self, path: Path, config: PreTrainedConfig):
        super().__init__()
        require_packages("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.config = config
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def forward(self, **batch: Any) -> TokenClassifierOutput:
        """Compute the logits of a batch, float32 [rows, columns, num_labels].

        Args:
            batch: int64 tensors [rows, columns] by name: input_ids, attention_mask and, if the
                model takes them, token_type_ids.
        """
        inputs = {name: tensor.numpy() for name, tensor in batch.items()}
        return TokenClassifierOutput(logits=torch.from_numpy(self.session.run(None, inputs)[0]))
