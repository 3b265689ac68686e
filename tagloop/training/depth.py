"""How deep a parameter lies in a model: below the layers, in one of them, or in the head."""

from dataclasses import dataclass

from torch import nn

from tagloop.errors import InputError
from tagloop.models.weights import is_in_base


@dataclass(frozen=True)
class Depths:
    """The depth of every parameter of a model.

    Attributes:
        of: the depth by parameter: 0 for the embeddings and all else that comes before the first
            layer; the number of the layer, from 1, for its parameters and for those that follow
            it, such as a last norm; num_layers + 1 for the head.
        num_layers: the layers of an encoder, then those of a decoder.
    """

    of: dict[nn.Parameter, int]
    num_layers: int

    @property
    def head(self) -> list[nn.Parameter]:
        """The parameters that a pretrained model does not bring, as they belong to a task."""
        return [parameter for parameter, depth in self.of.items() if depth > self.num_layers]

    def layers_above(self, parameter: nn.Parameter) -> int:
        """The number of layers between a parameter and the head: 0 for the last layer."""
        return max(self.num_layers - self.of[parameter], 0)


def find_depths(model: nn.Module) -> Depths:
    """Find the depth of every parameter. A shared parameter has the depth of its first place.

    An embedding outside of the layers has depth 0 wherever it stands.
    """
    layers = find_layers(model)
    layer_of = {part: number for number, layer in enumerate(layers, 1) for part in layer.modules()}
    depths: dict[nn.Parameter, int] = {}
    last = 0
    for prefix, module in model.named_modules():
        last = layer_of.get(module, last)
        is_embedding = isinstance(module, nn.Embedding) and module not in layer_of
        for name, parameter in module.named_parameters(prefix, recurse=False):
            depth = 0 if is_embedding else last
            depths.setdefault(parameter, depth if is_in_base(model, name) else len(layers) + 1)
    return Depths(depths, len(layers))


def find_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model in their order, those of an encoder before those of a decoder.

    They are the members of the outermost lists of modules. A list does not count if its members
    have no parts, or if its parent holds several lists, as XLM has a list for each part of a layer.
    """
    layers: list[nn.Module] = []

    def collect(parent: nn.Module) -> None:
        lists = [child for child in parent.children() if isinstance(child, nn.ModuleList)]
        for child in parent.children():
            if not isinstance(child, nn.ModuleList):
                collect(child)
            elif len(lists) == 1 and all(any(member.children()) for member in child):
                layers.extend(child)

    prefix = getattr(model, "base_model_prefix", "")
    collect(getattr(model, prefix, model) if prefix else model)
    return layers


def require_layers(model: nn.Module, depths: Depths, option: str) -> None:
    """Refuse an option that counts layers. Raises InputError if the model has none in a list."""
    if not depths.num_layers:
        raise InputError(
            f"--{option}: {type(model).__name__} has no list of layers to count; leave the option "
            "out, or name another model"
        )
