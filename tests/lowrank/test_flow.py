from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.lowrank import find_layers
from brpnas.lowrank.flow import IMAGE, JOIN, SCORES, Flow, find_flow

X = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
TOKENS = X.flatten(2)  # (2, 3, 36)


class Network(nn.Module):
    """Named layers, and what is done with them."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self._forward(self, x)
        return found


def conv(inputs: int = 4, outputs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def flow(forward: Callable[[Any, Tensor], Any], x: Tensor = X, **layers: nn.Module) -> Flow:
    model = Network(forward, **layers)
    return find_flow(model, find_layers(model, x), x)


def edges(found: Flow) -> set[str]:
    return {f"{found.nodes[a]} {found.nodes[b]}" for a, b in found.edges}


def test_chain_leaves_out_what_has_no_weights() -> None:
    found = flow(
        lambda m, x: m.c(m.norm(m.b(m.a(x).relu())).flatten(1)),
        **{"a": conv(3), "b": conv(), "norm": nn.BatchNorm2d(4), "c": nn.Linear(144, 5)},
    )
    assert found == Flow((IMAGE, "a", "b", "c", SCORES), ((0, 1), (1, 2), (2, 3), (3, 4)))


@pytest.mark.parametrize("in_place", [False, True])
def test_sums_are_joins_in_place_too(in_place: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        y = m.b(x)
        if in_place:
            x.relu_()
            y += x
        else:
            y = y + x.relu()
        found: Tensor = m.c(F.relu(y, inplace=in_place))
        return found

    found = flow(forward, a=conv(3), b=conv(), c=conv())
    join = found.nodes[3]
    assert join.startswith(JOIN)
    assert found.nodes == (IMAGE, "a", "b", join, "c", SCORES)
    assert edges(found) == {
        f"{IMAGE} a", "a b", f"a {join}", f"b {join}", f"{join} c", f"c {SCORES}"
    }  # fmt: skip


def test_every_meeting_has_its_own_join() -> None:
    found = flow(
        lambda m, x: torch.cat([m.a(x), m.b(x)], 1) * m.c(x).mean(), a=conv(3), b=conv(3), c=conv(3)
    )
    one, other = (name for name in found.nodes if name.startswith(JOIN))
    assert edges(found) == {
        f"{IMAGE} a", f"{IMAGE} b", f"{IMAGE} c", f"a {one}", f"b {one}",
        f"{one} {other}", f"c {other}", f"{other} {SCORES}",
    }  # fmt: skip


def test_module_that_is_called_twice_is_one_node_of_a_graph_without_cycles() -> None:
    found = flow(lambda m, x: m.b(m.a(m.b(m.a(x)))), a=conv(3, 3), b=conv(3, 3))
    assert found.nodes == (IMAGE, "a", "b", SCORES)
    assert edges(found) == {f"{IMAGE} a", "a b", f"b {SCORES}"}


def test_attention_joins_queries_with_keys_and_then_values() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        weights = (m.q(x) @ m.k(x).transpose(1, 2)).softmax(2)
        found: Tensor = m.o(weights @ m.v(x))
        return found

    found = flow(forward, TOKENS, **{name: nn.Linear(36, 36) for name in "qkvo"})
    one, other = (name for name in found.nodes if name.startswith(JOIN))
    assert {"q " + one, "k " + one, f"{one} {other}", "v " + other, other + " o"} < edges(found)
    assert len(found.edges) == 9


def test_parameters_and_constants_are_no_nodes() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        token = torch.zeros(len(x), 1, 36)
        found: Tensor = m.b(torch.cat([token, m.a(x)], 1) + torch.ones(36))[:, 0]
        return found

    found = flow(forward, TOKENS, a=nn.Linear(36, 36), b=nn.Linear(36, 5))
    assert found.nodes == (IMAGE, "a", "b", SCORES)


def test_layers_that_stay_are_nodes_and_those_inside_are_not() -> None:
    model = Network(
        lambda m, x: m.attend(*[m.depth(x).flatten(2)] * 3)[0],
        depth=nn.Conv2d(3, 3, 3, padding=1, groups=3),
        attend=nn.MultiheadAttention(36, 2, batch_first=True),
    )
    layers = find_layers(model, X)
    assert set(layers.left) == {"depth", "attend", "attend.out_proj"}
    assert find_flow(model, layers, X).nodes == (IMAGE, "depth", "attend", SCORES)


def test_network_is_left_as_it_was() -> None:
    model = Network(lambda m, x: m.a(x), a=conv(3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = X.clone()
    find_flow(model, find_layers(model, X), x)
    assert torch.equal(x, X)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_resnet_has_a_join_for_each_block(resnet20: nn.Module, images: Tensor) -> None:
    layers = find_layers(resnet20, images[:1])
    found = find_flow(resnet20, layers, images[:1])
    joins = [name for name in found.nodes if name.startswith(JOIN)]
    assert len(joins) == 9
    assert {*found.nodes} == {IMAGE, SCORES, *joins, *layers.shapes}
    into = [sum(b == place for _, b in found.edges) for place in range(len(found.nodes))]
    assert into == [0, *(2 if name in joins else 1 for name in found.nodes[1:])]
    assert all(a < b for a, b in found.edges)
