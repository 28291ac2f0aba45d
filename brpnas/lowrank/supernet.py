"""Many low-rank versions of a network in one, of which any mixture can be run.

Pairs are linear: multiplied out, an option is a weight of its layer's size, and a mixture of
options is a layer with the mixture of their weights. So a pass through the super-network costs
what one through the network costs, however many options it mixes, and all of them get gradients.
Where each image has a mixture of its own and few options are in any of them, the outputs are mixed
instead, which is the same, and one pass runs all images.

`train_supernet` chooses among them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from brpnas.errors import unknown_name
from brpnas.lowrank.cache import content_hash, model_hash
from brpnas.lowrank.costs import Costs
from brpnas.lowrank.equivalent import equivalent_weight
from brpnas.lowrank.schemes import Choice, check_choice
from brpnas.lowrank.surgery import WeightSource

__all__ = ["SuperNetwork"]


class SuperNetwork:
    """A network with several options for some of its layers.

    Its weights are fixed, and it runs in evaluation mode. It holds a weight of the layer's size
    for each option.

    Attributes:
        options: by the layer's name.
        costs: of the options, in the same order.
    """

    def __init__(
        self,
        model: nn.Module,
        source: WeightSource,
        options: Mapping[str, Sequence[Choice]],
        costs: Mapping[str, Sequence[float]],
        fixed_cost: float = 0.0,
    ) -> None:
        """Multiply all options out.

        Args:
            model: the network; left as it is.
            source: of the weights of its options, such as `Factors`.
            options: by the layer's name, ``dense`` among them.
            costs: of the layer with each option, in the same order: multiply-accumulates,
                parameters or milliseconds; costs of layers add up.
            fixed_cost: of everything else in the network.

        Raises:
            UserError: an unknown layer, options that it does not have, or that are there twice;
                no ``dense`` among them; costs of another number, negative or not finite.
        """
        for name in options:
            if name not in source.layers.shapes:
                raise unknown_name("layer", name, source.layers.shapes)
        self.options = {name: tuple(choices) for name, choices in options.items()}
        self.costs = Costs(self.options, costs, fixed_cost)
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        modules = dict(self._model.named_modules())
        self._weights: dict[str, Tensor] = {}  # (options, numbers of the layer's weight)
        self._biases: dict[str, Tensor] = {}  # (options, outputs)
        self._sizes: dict[str, torch.Size] = {}
        for name, choices in self.options.items():
            shape, layer = source.layers.shapes[name], modules[name]
            assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - for the type checker
            if layer.bias is None:  # an option may have one
                layer.bias = nn.Parameter(layer.weight.new_zeros(shape.outputs), False)
            weights, biases = [], []
            for choice in choices:
                check_choice(name, shape, choice)
                weight, bias = layer.weight.detach(), layer.bias.detach()
                if choice.pairs:
                    found = source.weights(name, choice)
                    weight = equivalent_weight(found, shape).to(layer.weight)
                    bias = torch.zeros_like(bias) if found.bias is None else found.bias.to(bias)
                weights.append(weight.flatten())
                biases.append(bias)
            self._sizes[name] = layer.weight.shape
            self._weights[name] = torch.stack(weights)
            self._biases[name] = torch.stack(biases)

    def forward(self, mixture: Tensor, images: Tensor) -> Tensor:
        """Return the scores, shape (images, classes), of the network with mixed options.

        Args:
            mixture: the share of each option, shape (layers, most options of a layer), or one
                mixture for each image, (images, layers, most options): of these, all options that
                have a share are run on all images. What stands behind a layer's last option is not
                read.
            images: as the network takes them.
        """
        parameters = {}
        hooks = []
        for i, (name, weights) in enumerate(self._weights.items()):
            shares = mixture[..., i, : len(weights)].to(weights)
            if mixture.ndim == 2:
                weight, bias = shares @ weights, shares @ self._biases[name]
            else:
                run = shares.detach().ne(0).any(0)
                weight, bias = weights[run], self._biases[name][run].flatten()
                layer = self._model.get_submodule(name)
                hooks.append(layer.register_forward_hook(_mixes(shares[:, run])))
            parameters[f"{name}.weight"] = weight.view(-1, *self._sizes[name][1:])
            parameters[f"{name}.bias"] = bias
        try:
            scores: Tensor = functional_call(self._model, parameters, (images,))
        finally:
            for hook in hooks:
                hook.remove()
        return scores

    def content_hash(self) -> str:
        """Return the SHA-256 of the network, its options and what they cost."""
        names = [f"{name}: {', '.join(map(str, all_))}" for name, all_ in self.options.items()]
        fixed = {name: x for name, x in self._model.state_dict().items() if isinstance(x, Tensor)}
        hashes = map(model_hash, (fixed, self._weights, self._biases))
        return content_hash(*names, *hashes, self.costs.options, str(self.costs.fixed))


def _mixes(shares: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Return a hook that mixes what a layer with the weights of several options returns.

    Args:
        shares: of the options, shape (images, options).
    """

    def hook(layer: nn.Module, _: Any, output: Tensor) -> Tensor:  # noqa: ANN401 - torch's signature
        at = 1 if isinstance(layer, nn.Conv2d) else -1
        each = torch.unflatten(output, at, (shares.shape[1], -1))
        # Of each image there may be several windows, one after the other.
        own = shares.repeat_interleave(len(each) // len(shares), 0)
        if at == 1:
            return torch.einsum("nk,nkohw->nohw", own, each)
        return torch.einsum("nk,n...ko->n...o", own, each)

    return hook
