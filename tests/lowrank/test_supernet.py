from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    DENSE,
    Choice,
    Factors,
    Pair,
    Scheme,
    find_layers,
    gather_moments,
    replace,
)
from brpnas.lowrank.costs import Budget, Penalty
from brpnas.lowrank.gradient import from_errors, train_supernet
from brpnas.lowrank.schedule import Draws, GradientSchedule
from brpnas.lowrank.supernet import SuperNetwork
from brpnas.models import load_model

Options = dict[str, list[Choice]]
SHARES = (0.08, 0.15, 0.25, 0.4, 0.6, 0.8)
QUICK = GradientSchedule(epochs=3, steps=4, batch=64)


def _digits() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    pixels = torch.from_numpy(digits.images[:512]).float()[:, None] / 16
    return (pixels - 0.267) / 0.318, torch.from_numpy(digits.target[:512].astype(np.int64))


def _options(factors: Factors) -> Options:
    """Return pairs at a few shares of each layer's multiply-accumulates, and dense."""
    options: Options = {}
    for name, shape in list(factors.layers.shapes.items())[1:]:
        scheme = Scheme("plain" if shape.linear else "separable")
        ranks = [int(share * shape.macs / int(scheme.macs(shape, 1))) for share in SHARES]
        different = dict.fromkeys(max(1, rank) for rank in ranks)
        options[name] = [DENSE, *(Choice((Pair(scheme, rank),)) for rank in different)]
    options[next(iter(options))].pop(1)  # not all layers have as many
    return options


def _network(model: nn.Module, images: Tensor) -> tuple[SuperNetwork, Factors]:
    layers = find_layers(model, images[:1])
    factors = Factors(model, layers, "output", gather_moments(model, layers, [images]))
    options = _options(factors)
    shapes = layers.shapes
    costs = {name: [c.macs(shapes[name]) for c in all_] for name, all_ in options.items()}
    fixed = sum(shape.macs for name, shape in shapes.items() if name not in options)
    return SuperNetwork(model, factors, options, costs, fixed), factors


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return _digits()


@pytest.fixture(scope="module")
def network(digits: tuple[Tensor, Tensor]) -> SuperNetwork:
    return _network(load_model("digits-cnn").module, digits[0])[0]


@pytest.fixture(scope="module")
def errors(network: SuperNetwork, digits: tuple[Tensor, Tensor]) -> dict[str, list[float]]:
    factors = _network(load_model("digits-cnn").module, digits[0])[1]
    return {
        name: [factors.error(name, choice) for choice in all_]
        for name, all_ in network.options.items()
    }


def _dense_cost(network: SuperNetwork) -> float:
    return network.costs.of_places(network.costs.dense)


def _kl(network: SuperNetwork, choices: Mapping[str, Choice], images: Tensor) -> float:
    places = [all_.index(choices[name]) for name, all_ in network.options.items()]
    width = network.costs.options.shape[1]
    with torch.no_grad():
        dense, chosen = (
            network.forward(F.one_hot(taken, width), images).log_softmax(1)
            for taken in (network.costs.dense, torch.tensor(places))
        )
    return float(F.kl_div(chosen, dense, reduction="batchmean", log_target=True))


def test_one_option_of_each_layer_is_the_network_with_it(
    resnet20: nn.Module, images: Tensor
) -> None:
    network, factors = _network(resnet20, images)
    rng = np.random.default_rng(0)
    places = [int(rng.integers(len(all_))) for all_ in network.options.values()]
    choices = {n: c[k] for (n, c), k in zip(network.options.items(), places, strict=True)}
    smaller, report = replace(resnet20, choices, factors)
    mixture = F.one_hot(torch.tensor(places), network.costs.options.shape[1])
    with torch.no_grad():
        expected = smaller(images[:8])
        assert torch.allclose(network.forward(mixture, images[:8]), expected, atol=1e-3)
        dense = network.forward(F.one_hot(network.costs.dense, mixture.shape[1]), images[:8])
        assert torch.equal(dense, resnet20(images[:8]))
    saved = sum(before - after for before, after in (r.macs for r in report.replaced.values()))
    assert network.costs.of_places(torch.tensor(places)) == _dense_cost(network) - saved


@pytest.mark.parametrize("name", ["resnet20", "vit"])
def test_each_image_may_have_a_mixture_of_its_own(
    name: str, images: Tensor, request: pytest.FixtureRequest
) -> None:
    network, _ = _network(request.getfixturevalue(name), images)
    random = torch.Generator().manual_seed(0)
    mixture = torch.rand(5, *network.costs.options.shape, generator=random)
    mixture = (mixture * network.costs.there * (mixture > 0.5)).requires_grad_()
    own = torch.cat([network.forward(mixture[i], images[i : i + 1]) for i in range(5)])
    together = network.forward(mixture, images[:5])
    torch.testing.assert_close(together, own, atol=1e-3, rtol=1e-3)
    wanted, given = (torch.autograd.grad(x.square().sum(), mixture)[0] for x in (own, together))
    there = mixture.detach() > 0
    torch.testing.assert_close(
        given[there], wanted[there], atol=1e-3 * float(wanted.abs().max()), rtol=1e-3
    )


def test_budget_is_met_and_well_spent(
    network: SuperNetwork, digits: tuple[Tensor, Tensor], errors: dict[str, list[float]]
) -> None:
    images, rest = digits[0][:256], digits[0][256:]
    budget = 0.5 * _dense_cost(network)
    told: list[tuple[int, int]] = []
    chosen = train_supernet(
        network,
        images,
        None,
        Budget(budget),
        QUICK,
        start=from_errors(errors),
        progress=lambda *done: told.append(done),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert 0.8 * budget < chosen.cost <= budget
    rng = np.random.default_rng(0)
    losses: list[float] = []
    while len(losses) < 20:
        places = torch.tensor([int(rng.integers(len(c))) for c in network.options.values()])
        if 0.8 * budget < network.costs.of_places(places) <= budget:
            options = network.options.items()
            choices = {n: c[int(k)] for (n, c), k in zip(options, places, strict=True)}
            losses.append(_kl(network, choices, rest))
    assert _kl(network, chosen.choices, rest) < np.quantile(losses, 0.2)


def test_penalty_weighs_costs(network: SuperNetwork, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    costs = [
        train_supernet(network, images, labels, Penalty(beta), QUICK).cost for beta in (0, 100)
    ]
    assert costs[1] < 0.6 * costs[0]


def test_published_schedule_draws_two_options_and_learns_slowly(
    network: SuperNetwork, digits: tuple[Tensor, Tensor]
) -> None:
    published = GradientSchedule.published(4096)
    assert (published.epochs, published.steps, published.draws.options) == (100, 32, 2)
    assert published.draws.temperature * published.draws.cooling**100 == pytest.approx(
        0.14, abs=0.01
    )
    one_step = dataclasses.replace(published, epochs=1, steps=1, batch=4)
    found = train_supernet(network, digits[0], digits[1], Penalty(4), one_step)
    for theta in found.parameters.values():
        assert int((theta != 0).sum()) == 2
        assert theta.abs().max() == pytest.approx(0.01, rel=1e-3)


def test_goes_on_after_a_kill(
    network: SuperNetwork, digits: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    goal = Budget(0.5 * _dense_cost(network))
    whole = train_supernet(network, digits[0], None, goal, QUICK, seed=3)

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(
            network, digits[0], None, goal, QUICK, seed=3, folder=tmp_path, progress=stop
        )
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == 2
    again = train_supernet(network, digits[0], None, goal, QUICK, seed=3, folder=tmp_path)
    assert again.choices == whole.choices
    for name, theta in whole.parameters.items():
        assert torch.equal(theta, again.parameters[name])
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.read_bytes() == content for path, content in kept.items())
    other = train_supernet(network, digits[0], None, goal, QUICK, seed=4, folder=tmp_path)
    assert not torch.equal(other.parameters[name], whole.parameters[name])


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    script = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); torch.set_num_threads(1)\n"
        "import test_supernet as t\n"
        "print(t.found())"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = found()
    finally:
        torch.set_num_threads(threads)
    assert printed.stdout.strip() == here
    assert "separable" in here


def found() -> str:
    """Return what a short training finds, in full."""
    images, _ = _digits()
    network, _ = _network(load_model("digits-cnn").module, images[:64])
    goal = Budget(0.5 * _dense_cost(network))
    chosen = train_supernet(network, images, None, goal, dataclasses.replace(QUICK, epochs=1))
    texts = {name: str(choice) for name, choice in chosen.choices.items()}
    return f"{texts} {[theta.tolist() for theta in chosen.parameters.values()]}"


def test_starts_where_another_ended(
    network: SuperNetwork, digits: tuple[Tensor, Tensor], errors: dict[str, list[float]]
) -> None:
    dense, images = _dense_cost(network), digits[0]
    first = train_supernet(
        network, images, None, Budget(0.6 * dense), QUICK, start=from_errors(errors)
    )
    still = dataclasses.replace(QUICK, epochs=1, steps=1, learning_rate=1e-9, held_out=0.0)
    costs = []
    for share in (0.6, 0.4, 0.3):
        goal = Budget(share * dense)
        again = train_supernet(network, images, None, goal, still, start=first.parameters)
        costs.append(again.cost)
        assert again.cost <= goal.cost
    assert costs[0] > costs[1] > costs[2]
    goal = Budget(0.6 * dense)
    wrong = {name: theta[1:] for name, theta in first.parameters.items()}
    with pytest.raises(UserError, match="the parameters to start from are of others"):
        train_supernet(network, digits[0], None, goal, QUICK, start=wrong)


def test_what_cannot_be_is_said(network: SuperNetwork, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    with pytest.raises(UserError, match=r"a budget of 1 cannot be met: .* the network costs \d"):
        train_supernet(network, images, None, Budget(1))
    with pytest.raises(UserError, match="there are none"):
        train_supernet(network, images[:0], None, Penalty(1))
    with pytest.raises(UserError, match=r"512 calibration images with labels of shape \(511,\)"):
        train_supernet(network, images, labels[1:], Penalty(1))
    with pytest.raises(UserError, match="does not run on calibration images of 512 x 8"):
        train_supernet(network, images[:, 0, 0], None, Penalty(1))
    with pytest.raises(UserError, match="scores for the calibration images are not finite"):
        train_supernet(network, images * torch.nan, None, Penalty(1))
    with pytest.raises(UserError, match="beta -1"):
        train_supernet(network, images, None, Penalty(-1))
    with pytest.raises(UserError, match="cooling of the gradient search: a number above 0, not 0"):
        Draws(cooling=0)
    with pytest.raises(UserError, match="steps of the gradient search: at least 1, not 0"):
        GradientSchedule(steps=0)


@pytest.mark.parametrize(
    ("options", "costs", "said"),
    [
        ({}, {}, "nothing to choose"),
        ({"nowhere": [DENSE]}, {"nowhere": [1]}, "unknown layer 'nowhere'"),
        ({"0": ["separable:r1"]}, {"0": [1]}, "dense among them"),
        ({"0": ["dense", "dense"]}, {"0": [1, 1]}, "have to be different"),
        ({"0": ["dense"]}, {}, "1 options and 0 costs"),
        ({"0": ["dense"]}, {"0": [-1]}, "accepted: one for each, 0 or more"),
        ({"0": ["dense", "separable:r99"]}, {"0": [2, 1]}, "the greatest rank of separable is 12"),
    ],
)
def test_options_that_do_not_fit(
    options: dict[str, list[str]], costs: dict[str, list[float]], said: str
) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3))
    factors = Factors(model, find_layers(model, torch.zeros(1, 4, 8, 8)), "plain")
    parsed = {name: [Choice.parse(str(c)) for c in all_] for name, all_ in options.items()}
    with pytest.raises(UserError, match=re.escape(said)):
        SuperNetwork(model, factors, parsed, costs)
