from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    DENSE,
    Choice,
    Factors,
    LayerShape,
    find_layers,
    gather_moments,
    replace,
)
from brpnas.lowrank.counting import count_macs
from brpnas.lowrank.flow import IMAGE, SCORES, Flow, find_flow
from brpnas.lowrank.options import find_options
from brpnas.spaces import LowRankNetwork, LowRankSpace, Space
from brpnas.spaces.lowrank import Option
from brpnas.testing import SpaceContract

LAYERS = ("stem", "strided", "point", "head")


class Network(nn.Module):
    """Of each kind of layer one; ``fixed`` and ``tiny`` stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.fixed = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.strided = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.point = nn.Conv2d(16, 16, 1, bias=False)
        self.head = nn.Linear(16, 10)
        self.tiny = nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.strided(x + self.fixed(x).relu())
        x = self.head(self.point(x).relu().mean((2, 3)))
        return x + self.tiny(x)


@dataclass(frozen=True)
class Made:
    model: nn.Module
    factors: Factors
    flow: Flow
    options: dict[str, list[Option]]
    space: LowRankSpace
    x: Tensor


@pytest.fixture(scope="module")
def made() -> Made:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Network().eval(), torch.randn(8, 3, 8, 8)
    layers = find_layers(model, x[:1])
    factors = Factors(model, layers, "output", gather_moments(model, layers, [x]))
    flow = find_flow(model, layers, x[:1])
    options = {
        name: [Option(choice, error, 10 * error) for choice, error in known]
        for name, known in find_options(factors).items()
    }
    space = LowRankSpace(
        layers.shapes,
        flow,
        options,
        fixed_macs=count_macs(model, x[:1]) - sum(one.macs for one in layers.shapes.values()),
        fixed_params=sum(p.numel() for p in model.fixed.parameters()),
        adds_bias=factors.method.adds_bias,
    )
    return Made(model, factors, flow, options, space, x)


class TestLowRankSpace(SpaceContract):
    @pytest.fixture
    def space(self, made: Made) -> Space[Any]:
        return made.space


def test_options_begin_with_the_layer_as_it_is(made: Made) -> None:
    assert tuple(made.space.options) == (*LAYERS, "tiny")
    for name, known in made.space.options.items():
        assert known == (Option(DENSE, 0.0, 0.0), *made.options[name])
    again = LowRankSpace(made.space.layers, made.flow, made.space.options)  # with dense ones
    assert again.options == made.space.options
    assert [
        len(known) for known in LowRankSpace(made.space.layers, made.flow, {}).options.values()
    ] == [1] * 5


def test_counts_are_those_of_the_network_built(made: Made) -> None:
    texts = ("dense", "stem=separable:r3+input:g3:r1 head=plain:r4", "strided=output:g4:r2")
    archs = [*map(made.space.parse, texts), *made.space.sample(12, np.random.default_rng(0))]
    for arch in archs:
        network = replace(made.model, arch.choices, made.factors)[0]
        assert made.space.macs(arch) == count_macs(network, made.x[:1])
        assert made.space.params(arch) == sum(p.numel() for p in network.parameters())


def test_texts_may_name_layers_in_any_order(made: Made) -> None:
    text = "stem=separable:r3 head=plain:r4"
    arch = made.space.parse("head=plain:r4 stem=separable:r3")
    assert arch == made.space.parse(text)
    assert str(arch) == text
    assert arch.choices == {
        name: Choice.parse(c) for name, c in (("stem", "separable:r3"), ("head", "plain:r4"))
    }
    assert made.space.network({"head": DENSE}) == LowRankNetwork()
    assert str(LowRankNetwork()) == "dense"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stem=separable:r3 stem=separable:r4", "layer 'stem' is there twice"),
        ("steam=separable:r3", "unknown layer 'steam'"),
        ("fixed=separable:r3", "unknown layer 'fixed'"),
        ("stem=separable:r300", "the greatest rank of separable is 9"),
        ("head=input:g2:r1", "layer 'head' cannot be input:g2:r1"),
        ("stem=separable", "'separable' is no choice"),
        ("stem=dense", "expected LAYER=CHOICE"),
        ("dense dense", "expected LAYER=CHOICE"),
        ("stem=separable:r3  head=plain:r4", "expected LAYER=CHOICE"),
    ],
)
def test_wrong_texts_say_what_is_wrong(made: Made, text: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        made.space.parse(text)
    assert said in str(raised.value)


def test_samples_spread_over_budgets(made: Made) -> None:
    drawn = made.space.sample(400, np.random.default_rng(0))
    whole = made.space.macs(LowRankNetwork())
    shares = np.array([made.space.macs(arch) for arch in drawn]) / whole
    assert shares.min() < 0.25
    counts, _ = np.histogram(shares, np.linspace(0.2, 1, 9))
    assert counts.min() > 15  # an even spread has 50
    ranks = [{str(arch.choices.get(name, DENSE)) for arch in drawn} for name in LAYERS]
    assert [len(seen) for seen in ranks] == [len(made.space.options[name]) for name in LAYERS]


def test_mutation_changes_one_layer_and_each_in_its_turn(made: Made) -> None:
    rng = np.random.default_rng(0)
    changed: dict[str, int] = {}
    near = 0
    for arch in made.space.sample(300, rng):
        mutant = made.space.mutate(arch, rng)
        (name,) = (
            name
            for name in made.space.options
            if arch.choices.get(name) != mutant.choices.get(name)
        )
        changed[name] = changed.get(name, 0) + 1
        order = [option.choice for option in made.space.options[name]]
        before, after = (order.index(one.choices.get(name, DENSE)) for one in (arch, mutant))
        near += abs(before - after) <= 2
    assert set(changed) == set(LAYERS)  # a layer without options cannot change
    assert min(changed.values()) > 40
    assert 150 < near < 250  # a half at least


def test_mutation_takes_what_is_no_option_to_one(made: Made) -> None:
    foreign = made.space.parse("stem=separable:r3+input:g3:r1")
    rng = np.random.default_rng(0)
    mutants = [made.space.mutate(foreign, rng) for _ in range(60)]
    moved = [arch for arch in mutants if arch.choices.get("stem") != foreign.choices["stem"]]
    known = {option.choice for option in made.space.options["stem"]}
    assert moved
    assert all(arch.choices.get("stem", DENSE) in known for arch in moved)


def test_graph_is_the_networks_own_with_the_choice_on_its_node(made: Made) -> None:
    dense = made.space.graph(LowRankNetwork())
    names = [made.space.schema.operations[operation] for operation in dense.operations]
    assert names == [
        "image", "dense", "fixed", "join", "dense", "dense", "dense", "dense", "join", "scores"
    ]  # fmt: skip
    assert tuple(map(tuple, dense.edges.tolist())) == made.flow.edges
    option = made.space.options["strided"][-1]
    arch = made.space.network({"strided": option.choice})
    graph = made.space.graph(arch)
    (node,) = np.flatnonzero((graph.numbers != dense.numbers).any(1))
    assert made.flow.nodes[node] == "strided"
    (pair,) = option.choice.pairs
    assert made.space.schema.operations[graph.operations[node]] == pair.scheme.family
    numbers = dict(zip(made.space.schema.numbers, graph.numbers[node].tolist(), strict=True))
    shape = made.space.layers["strided"]
    saved = made.space.macs(LowRankNetwork()) - made.space.macs(arch)
    assert numbers == pytest.approx(
        {
            "depth": node / 10,
            "log_macs": np.log1p(option.choice.macs(shape)),
            "log_params": np.log1p(option.choice.params(shape, True)),
            "log_first_macs": np.log1p(_first_macs(made, arch, "strided")),
            "log_rank": np.log1p(pair.rank),
            "log_groups": np.log1p(pair.scheme.groups),
            "log_second_rank": 0.0,
            "log_inputs": np.log1p(12),
            "log_outputs": np.log1p(16),
            "kernel": 3.0,
            "log_positions": np.log1p(16),
            "saved_macs_share": saved / made.space.macs(LowRankNetwork()),
            "error": option.error,
            "log_error": np.log(option.error + 1e-4),
            "log_damage": np.log(option.damage + 1e-6),
        },
        rel=1e-4,
    )


@pytest.mark.parametrize("text", ["separable:r2", "input:g2:r2", "output:g4:r1"])
def test_first_of_two_layers_costs_what_it_does_when_run(made: Made, text: str) -> None:
    choice = Choice.parse(text)
    options = {"strided": [Option(choice, 0.1, 0.1)]}
    space = LowRankSpace(made.space.layers, made.flow, options)
    arch = space.network({"strided": choice})
    graph = space.graph(arch)
    column = space.schema.numbers.index("log_first_macs")
    node = made.flow.nodes.index("strided")
    expected = np.log1p(_first_macs(made, arch, "strided"))
    assert graph.numbers[node, column] == pytest.approx(expected, rel=1e-6)


def _first_macs(made: Made, arch: LowRankNetwork, name: str) -> int:
    """Count the first convolution that is in a layer's place."""
    network = replace(made.model, arch.choices, made.factors)[0]
    first = next(m for m in network.get_submodule(name).modules() if isinstance(m, nn.Conv2d))
    shape: LayerShape = made.space.layers[name]
    return count_macs(first, torch.zeros(shape.input_size))


def test_graph_of_what_is_no_option_is_the_users_error(made: Made) -> None:
    arch = made.space.parse("stem=separable:r3+input:g3:r1")
    with pytest.raises(UserError, match="nothing is known of layer 'stem' as separable:r3"):
        made.space.graph(arch)


@pytest.mark.parametrize("name", ["a b", "a=b", "a\nb"])
def test_names_that_texts_cannot_hold_are_refused(made: Made, name: str) -> None:
    flow = Flow((IMAGE, name, SCORES), ((0, 1), (1, 2)))
    with pytest.raises(UserError, match="its name holds '=' or a space"):
        LowRankSpace({name: made.space.layers["stem"]}, flow, {})


def test_option_that_a_layer_does_not_have_is_refused(made: Made) -> None:
    with pytest.raises(UserError, match="layer 'head' cannot be separable:r1"):
        LowRankSpace(
            made.space.layers,
            made.flow,
            {"head": [Option(Choice.parse("separable:r1"), 0.1, 0.1)]},
        )


def test_network_without_options_has_one_version_and_no_mutants(made: Made) -> None:
    space = LowRankSpace(made.space.layers, made.flow, {})
    rng = np.random.default_rng(0)
    assert space.sample(1, rng) == space.draw(40, rng) == [LowRankNetwork()]
    with pytest.raises(UserError, match="asked for 2 networks; only 1 were found"):
        space.sample(2, rng)
    with pytest.raises(UserError, match="no layer of the network can be replaced"):
        space.mutate(LowRankNetwork(), rng)
