"""Many versions of one network on the same images, of which each shared beginning runs once.

The network is flattened to a list of steps (torch.export, for one size of batches). Versions are
branches of a tree over its layers, in the order in which they run; the tree is walked depth first,
and at each branching what the rest of the network needs is kept. So no more tensors exist at a time
than (layers + 1) times those that are alive at one layer, whatever the number of versions.

Images and filters lie with their channels side by side (channels last), a quarter faster here than
one channel after the other; bfloat16 makes small pairs no faster.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from brpnas.errors import one_line, unknown_name
from brpnas.evaluating import evaluating
from brpnas.lowrank.cache import Recent
from brpnas.lowrank.flattened import Plan, Step, Values, flatten, scaled, scaled_layer
from brpnas.lowrank.layers import Layers
from brpnas.lowrank.modules import build
from brpnas.lowrank.schemes import DENSE, Choice
from brpnas.lowrank.surgery import WeightSource, replace

__all__ = ["StagedNetwork"]

_log = logging.getLogger(__name__)
_MODULE_BYTES = 1 << 28


class StagedNetwork:
    """Runs versions of a network in which pairs take the place of layers.

    A batch norm after a layer becomes part of it. A network that cannot be flattened is run as
    `replace` makes it, each version from its beginning; a line in the log says so.

    Attributes:
        shares: whether versions share what they have in common.
    """

    def __init__(
        self, model: nn.Module, layers: Layers, source: WeightSource, example: Tensor
    ) -> None:
        """Flatten the network and compare what it computes then.

        Args:
            model: not to be changed later; run in evaluation mode.
            layers: of it (`find_layers`).
            source: of pairs' weights, of which up to 256 MiB are kept as modules.
            example: a batch of images, best of the size that `scores` is asked for.
        """
        self._model, self._layers, self._source = model, layers, source
        self._modules = dict(model.named_modules())
        self._built: Recent[nn.Module] = Recent(_MODULE_BYTES)
        self._plans: dict[torch.Size, Plan] = {}
        self.shares = True
        self._plan(_channels_last(example))

    def scores(self, candidates: Sequence[Mapping[str, Choice]], batch: Tensor) -> Iterator[Tensor]:
        """Yield what each version returns for a batch, in order, such as (n, classes).

        Args:
            candidates: choices by the layer's name; a layer without one is as it was.
            batch: images as the network takes them; each size is flattened once.

        Raises:
            UserError: a choice for a layer that there is not, or that this layer does not have.
        """
        for name in {name for choices in candidates for name in choices}:
            if name not in self._layers.shapes and name not in self._layers.left:
                raise unknown_name("layer", name, self._layers.shapes)
        batch = _channels_last(batch)
        plan = self._plan(batch)
        if plan is None:
            yield from (self._alone(choices, batch) for choices in candidates)
            return
        early: dict[int, Tensor] = {}
        following = 0
        values: Values = {**plan.constants, plan.images: batch}
        for members, scores in self._walk(plan, 0, values, candidates, range(len(candidates))):
            early |= dict.fromkeys(members, scores)
            while following in early:
                yield early.pop(following)
                following += 1

    def _walk(
        self,
        plan: Plan,
        start: int,
        values: Values,
        candidates: Sequence[Mapping[str, Choice]],
        members: Sequence[int],
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Run the steps from one on for some candidates; yield these in parts, with the scores."""
        for place, step in enumerate(plan.steps[start:], start):
            if step.layer is None:
                args, kwargs = fx.map_arg((step.node.args, step.node.kwargs), values.__getitem__)
                with torch.no_grad():
                    values[step.output] = step.call(*args, **kwargs)
            else:
                groups: dict[Choice, list[int]] = {}
                for member in members:
                    choice = candidates[member].get(step.layer, DENSE)
                    groups.setdefault(choice, []).append(member)
                if len(groups) > 1:
                    for part in groups.values():
                        yield from self._walk(plan, place, dict(values), candidates, part)
                    return
                module = self._module(step, next(iter(groups)))
                with torch.no_grad():
                    values[step.output] = module(values[step.inputs[0]])
            for node in step.last:
                del values[node]
        yield members, values[plan.result]

    def _module(self, step: Step, choice: Choice) -> nn.Module:
        """Return what takes a layer's place, with the batch norm after it."""
        name, norm = str(step.layer), step.norm
        layer = self._modules[name]

        def make() -> nn.Module:
            if choice.pairs:
                weights = self._source.weights(name, choice)
                made = build(layer, weights if norm is None else scaled(weights, norm))
            else:
                made = copy.deepcopy(layer) if norm is None else scaled_layer(layer, norm)
            for part in made.parameters():
                part.data = _channels_last(part.data)
            return made

        return self._built.get((name, choice, norm and norm.name), make)

    def _alone(self, choices: Mapping[str, Choice], batch: Tensor) -> Tensor:
        key = tuple(sorted(choices.items()))
        network = self._built.get(key, lambda: replace(self._model, choices, self._source)[0])
        with evaluating(network), torch.no_grad():
            scores: Tensor = network(batch)
        return scores

    def _plan(self, batch: Tensor) -> Plan | None:
        """Return the steps for batches of a size; None where the network cannot be flattened."""
        if self.shares and batch.shape not in self._plans:
            with evaluating(self._model), torch.no_grad():
                expected = self._model(batch)
                try:
                    plan = self._plans[batch.shape] = flatten(self._model, self._layers, batch)
                    values: Values = {**plan.constants, plan.images: batch}
                    ((_, scores),) = self._walk(plan, 0, values, [{}], [0])
                    _compare(scores, expected)
                except Exception as error:  # noqa: BLE001 - whatever the network's code may raise
                    self.shares = False
                    _log.warning(
                        "the network cannot be flattened, each of its versions runs from the "
                        "beginning (%s)", one_line(error)
                    )  # fmt: skip
        return self._plans[batch.shape] if self.shares else None


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _compare(scores: object, expected: object) -> None:
    if not isinstance(scores, Tensor) or not isinstance(expected, Tensor):
        raise TypeError("it returns something else than one tensor")
    if not torch.allclose(scores, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
        raise ValueError("it computes something else then")
