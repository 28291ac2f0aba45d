"""The training loop: of any network, and of the graph networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.predictors._batch import GraphBatch
from brpnas.predictors._network import GraphNetwork, NetworkSize
from brpnas.predictors._rows import shuffled
from brpnas.spaces import Graph

__all__ = ["Training", "compute_device", "one_cycle", "score", "train_network"]

_PREDICTION_BATCH = 256  # larger ones fall out of the cache


@dataclass(frozen=True)
class Training:
    """How a network is trained: AdamW, one cycle.

    Attributes:
        epochs: passes over the training networks.
        batch: networks per step, at most.
        learning_rate: at the peak of the cycle.
        weight_decay: of AdamW.
    """

    epochs: int = 90
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2


Loss = Callable[[Tensor, Tensor], Tensor]
"""From scores (members, networks) and targets (networks,) to a loss per member (members,)."""


def compute_device() -> torch.device:
    """Return the CUDA GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def one_cycle(
    network: nn.Module,
    training: Training,
    rows: int,
    draw: Callable[[int], Iterable[Tensor]],
    loss: Callable[[Tensor], Tensor],
) -> Iterator[int]:
    """Train epoch by epoch; yield the number of each one when it is over.

    Args:
        network: whose weights are changed.
        training: the recipe.
        rows: in an epoch.
        draw: divides the rows, in another order each time, into as many steps as it is told.
        loss: of some rows.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
    )
    steps = -(-rows // training.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=training.epochs * steps, pct_start=0.2
    )
    network.train()
    for epoch in range(training.epochs):
        for some in draw(steps):
            optimiser.zero_grad()
            torch.autograd.backward(loss(some))
            optimiser.step()
            cycle.step()
        yield epoch


def train_network(
    graphs: Sequence[Graph],
    targets: Tensor,
    size: NetworkSize,
    training: Training,
    loss: Loss,
    seed: int,
    valid: float,
) -> tuple[GraphNetwork, NDArray[np.int64]]:
    """Train an ensemble of graph networks; every member sees the same batches.

    Args:
        graphs: the networks to learn from.
        targets: what the loss compares the scores with, shape (networks,).
        size: of the graph network.
        training: the recipe.
        loss: what to minimise.
        seed: of initial weights, held-out networks and order.
        valid: share of the networks that is held out: not looked at, so that errors on them are
            those on networks unseen. The cycle ends with a rate of zero, and its last epoch is
            about as good as the best.

    Returns:
        The network and the rows that were held out.
    """
    device = compute_device()
    generator = torch.Generator().manual_seed(seed)
    learnt = max(len(graphs) - round(len(graphs) * valid), 1)
    kept, held_out = torch.from_numpy(shuffled(len(graphs), seed)).tensor_split([learnt])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = GraphNetwork(size).to(device)
        batch, targets = GraphBatch.of(graphs).to(device), targets.to(device)
        kept = kept.to(device)
        network.calibrate(batch.take(kept))

        def draw(steps: int) -> Iterable[Tensor]:
            return kept[torch.randperm(len(kept), generator=generator).to(device)].chunk(steps)

        def of_all(rows: Tensor) -> Tensor:
            return loss(network(batch.take(rows)), targets[rows]).sum()

        for _ in one_cycle(network, training, len(kept), draw, of_all):
            pass
    return network.eval(), held_out.numpy()


def score(network: GraphNetwork, graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return scores, shape (members, networks)."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        scores = [
            network(GraphBatch.of(graphs[start : start + _PREDICTION_BATCH]).to(device)).cpu()
            for start in range(0, len(graphs), _PREDICTION_BATCH)
        ]
    joined: NDArray[np.float64] = torch.cat(scores, 1).double().numpy()
    return joined
