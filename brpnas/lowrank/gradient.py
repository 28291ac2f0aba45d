"""Choose among the options of a super-network by gradients.

Each layer has one parameter theta for each of its options; options are mixed by Gumbel-softmax
(Jang et al. 2017; Maddison et al. 2017) with chances that grow with theta, and gradients say which
thetas should grow. `GradientSchedule.published` with the goal `Penalty` is the search of SVD-NAS
(Yu and Bouganis 2023), which starts from nothing and learns slowly. The quick way starts from what
is known of each option alone (`from_errors`), mixes all options of a layer, makes many draws in a
step, and learns fast; and costs are met by `Budget`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brpnas.errors import UserError, one_line
from brpnas.lowrank.cache import Cache, content_hash
from brpnas.lowrank.costs import Goal
from brpnas.lowrank.schedule import GradientSchedule
from brpnas.lowrank.schemes import Choice
from brpnas.lowrank.supernet import SuperNetwork

__all__ = ["Chosen", "from_errors", "train_supernet"]

State = dict[str, Tensor]
_SHARPNESS = 100.0
"""Of chances to start from: an error of a hundredth more makes an option e times rarer."""
_OURS = ("theta", "places", "loss")
"""Of a state; all else is the optimiser's."""
_LEAST_GRADIENT = 1e-30
_BATCH = 128
"""Images of a pass through the network as it is."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a super-network was trained to.

    Attributes:
        choices: by the layer's name, ``dense`` among them.
        cost: of the whole network with them, in the unit of the costs.
        parameters: theta by the layer's name, in the order of its options, shape (options,): for
            a next training to start from.
    """

    choices: Mapping[str, Choice]
    cost: float
    parameters: Mapping[str, Tensor]


def from_errors(errors: Mapping[str, Sequence[float]]) -> dict[str, Tensor]:
    """Return theta to start from: the less an option alone changes a layer, the greater.

    Args:
        errors: of the options by the layer's name, in the options' order: mean squared changes of
            the layer's outputs as shares of their power (`Factors.error`).
    """
    return {
        name: -_SHARPNESS * torch.tensor(values, dtype=torch.float64)
        for name, values in errors.items()
    }


def train_supernet(
    network: SuperNetwork,
    images: Tensor,
    labels: Tensor | None,
    goal: Goal,
    schedule: GradientSchedule | None = None,
    *,
    seed: int = 0,
    start: Mapping[str, Tensor] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    folder: Path | None = None,
) -> Chosen:
    """Find the options that lose least.

    Args:
        network: with the options.
        images: as the network takes them, shape (images, ...).
        labels: classes, shape (images,): the loss is the cross-entropy. None: it is KL(the network
            as it is || with the options), in nats.
        goal: `Budget` or `Penalty`.
        schedule: how long, and how; without one the quick way.
        seed: of all that is drawn, 0 or more.
        start: theta of `from_errors`, or that an earlier training ended with; without it all
            options are alike, which takes a much longer schedule.
        progress: told of every epoch that is done.
        folder: where the state is kept after each epoch. The same call with the same folder goes
            on from the last one that is there; other calls may use the folder too.

    Raises:
        UserError: no images, labels that do not fit them, a start of other options, scores that
            are not finite, a goal that cannot be met, a folder that cannot be written.
    """
    schedule = schedule or GradientSchedule()
    goal.check(network.costs)
    expected = _expected(network, images, labels)
    # Images may be in the order of their classes.
    order = torch.randperm(len(images), generator=_generator(seed))
    held_out = min(int(schedule.held_out * len(images)), len(images) - 1)
    parts = order[held_out:], order[:held_out]
    training = _Training(network, images, expected, goal, schedule, seed, *parts)
    theta = _padded(network, start)
    state = training.judged({"theta": theta})
    cache = None if folder is None else Cache(folder)
    key = content_hash(training.key(), theta) if cache else ""
    for done in range(schedule.epochs):
        run = functools.partial(training.epoch, state, done)
        state = run() if cache is None else cache.get(content_hash(key, str(done)), run)
        progress(done + 1, schedule.epochs)
    theta, places = state["theta"], state["places"]
    options = network.options.items()
    return Chosen(
        {name: choices[place] for (name, choices), place in zip(options, places, strict=True)},
        network.costs.of_places(places),
        {name: row[: len(choices)] for (name, choices), row in zip(options, theta, strict=True)},
    )


@dataclass(frozen=True, eq=False)
class _Training:
    network: SuperNetwork
    images: Tensor
    expected: Tensor  # classes, or logarithms of chances
    goal: Goal
    schedule: GradientSchedule
    seed: int
    trained: Tensor  # places of images
    held_out: Tensor

    def key(self) -> str:
        """Return a hash of all that the result depends on, but theta."""
        asked = f"gradient 2 {self.goal} {self.schedule} {self.seed}"
        return content_hash(asked, self.network.content_hash(), self.images, self.expected)

    def epoch(self, before: State, done: int) -> State:
        """Return theta and the optimiser's state after one more epoch."""
        plan = self.schedule
        rng = _generator(self.seed, done)
        theta = before["theta"].clone().requires_grad_()
        optimiser = _optimiser(theta, plan)
        if done:
            optimiser.state[theta] = {n: x.clone() for n, x in before.items() if n not in _OURS}
        temperature = plan.draws.temperature * plan.draws.cooling**done
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(plan.steps):
            while len(order) < plan.batch:
                order = torch.cat(
                    [order, self.trained[torch.randperm(len(self.trained), generator=rng)]]
                )
            batch, order = order[: plan.batch], order[plan.batch :]
            optimiser.zero_grad()
            self._add_gradients(theta, batch, temperature, rng)
            if not plan.adam:
                assert theta.grad is not None  # noqa: S101 - for the type checker
                size = theta.grad[self.network.costs.there].square().mean().sqrt()
                theta.grad /= size.clamp_min(_LEAST_GRADIENT)
            optimiser.step()
        return self.judged({**before, "theta": theta.detach(), **optimiser.state[theta]})

    def judged(self, state: State) -> State:
        """Return the state with what theta decides, unless what it had before loses less."""
        costs = self.network.costs
        places = self.goal.decide(state["theta"], costs)
        loss = torch.tensor(torch.inf, dtype=torch.float64)
        if len(self.held_out):
            shares = F.one_hot(places, costs.options.shape[1])
            with torch.no_grad():
                parts = torch.split(self.held_out, _BATCH)
                scores = torch.cat([self.network.forward(shares, self.images[p]) for p in parts])
                losses = _losses(scores, self.expected[self.held_out])
                loss = self.goal.loss(losses.mean(), shares, costs)
            if "places" in state and state["loss"] <= loss:
                return state
        return {**state, "places": places, "loss": loss}

    def _add_gradients(
        self, theta: Tensor, batch: Tensor, temperature: float, rng: torch.Generator
    ) -> None:
        costs = self.network.costs
        absent = ~costs.there
        if self.schedule.draws.options is not None:
            chances = (self.goal.logits(theta.detach(), costs) / temperature).softmax(1)
            count = min(self.schedule.draws.options, chances.shape[1])
            # A layer with fewer options draws places where there is none, which stay absent.
            drawn = torch.multinomial(chances.clamp_min(1e-30), count, generator=rng)
            absent = absent | torch.ones_like(absent).scatter(1, drawn, False)
        draw = torch.arange(len(batch)) // self.schedule.draws.images  # of each image
        logits = self.goal.logits(theta, costs).expand(int(draw[-1]) + 1, *theta.shape)
        noise = torch.empty_like(logits).exponential_(generator=rng).log()  # minus Gumbel's
        shares = ((logits - noise) / temperature).masked_fill(absent, -torch.inf).softmax(2)
        # Of few options, each is run on all images; of many, their mixture on each draw's.
        together = self.schedule.draws.options is not None
        parts = [draw >= 0] if together else [draw == one for one in range(len(shares))]
        for part in parts:
            images, own = batch[part], shares[draw[part]]
            scores = self.network.forward(own if together else own[0], self.images[images])
            losses = self.goal.loss(_losses(scores, self.expected[images]), own, costs)
            if not bool(losses.isfinite().all()):
                raise UserError("the loss is not finite: the network's scores with some of the "
                                "options are not")  # fmt: skip
            total = losses.sum() / len(batch)
            torch.autograd.backward(total, retain_graph=part is not parts[-1])


def _generator(*seeds: int) -> torch.Generator:
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)  # torch takes 63 bits


def _optimiser(theta: Tensor, schedule: GradientSchedule) -> torch.optim.Optimizer:
    if schedule.adam:
        return torch.optim.Adam([theta], schedule.learning_rate)
    return torch.optim.SGD([theta], schedule.learning_rate, momentum=0.9, dampening=0.9)


def _losses(scores: Tensor, expected: Tensor) -> Tensor:
    """Return the loss of each image, shape (images,)."""
    if expected.ndim == 1:
        return F.cross_entropy(scores, expected, reduction="none").double()
    logs = scores.log_softmax(1)
    return F.kl_div(logs, expected, reduction="none", log_target=True).sum(1).double()


def _expected(network: SuperNetwork, images: Tensor, labels: Tensor | None) -> Tensor:
    """Return the classes, or the logarithms of the chances that the network as it is gives them."""
    if not len(images):
        raise UserError("the gradient search needs calibration images; there are none")
    if labels is not None:
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise UserError(
                f"{len(images)} calibration images with labels of shape {tuple(labels.shape)}, "
                f"{labels.dtype}; accepted: one whole number for each image"
            )
        return labels.long()
    shares = F.one_hot(network.costs.dense, network.costs.options.shape[1])
    with torch.no_grad():
        try:
            parts = [network.forward(shares, x).log_softmax(1) for x in torch.split(images, _BATCH)]
        except (RuntimeError, ValueError, TypeError) as error:
            size = " x ".join(map(str, images.shape))
            raise UserError(
                f"the network does not run on calibration images of {size}: {one_line(error)}"
            ) from error
    expected = torch.cat(parts)
    if not bool(expected.isfinite().all()):
        raise UserError("the network's scores for the calibration images are not finite")
    return expected


def _padded(network: SuperNetwork, start: Mapping[str, Tensor] | None) -> Tensor:
    """Return theta, shape (layers, most options of a layer), float64."""
    theta = torch.zeros_like(network.costs.options)
    for row, (name, choices) in zip(theta, network.options.items(), strict=True):
        if start is None:
            break
        if name not in start or start[name].shape != (len(choices),):
            raise UserError(
                f"layer '{name}' has {len(choices)} options: the parameters to start from are of "
                "others"
            )
        row[: len(choices)] = start[name]
    return theta.masked_fill(~network.costs.there, -torch.inf)
