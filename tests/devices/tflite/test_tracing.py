from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brpnas.devices.tflite.graph import UnsupportedError
from brpnas.devices.tflite.tracing import trace

Error = Callable[[nn.Module, Tensor], float]


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _plus_in_place(x: Tensor) -> Tensor:
    y = x * 2
    z = y
    y += 1
    return y * z  # z is y: it saw the addition


def _activated_in_place(x: Tensor) -> Tensor:
    y = x * 2
    return nn.ReLU(inplace=True)(y) + y


def _kept(x: Tensor) -> Tensor:
    y = x * 2
    return torch.relu(y) + y


@pytest.mark.parametrize("function", [_plus_in_place, _activated_in_place, _kept])
def test_writing_into_a_tensor_shows_where_it_is_read(
    function: Callable[[Tensor], Tensor], error: Error
) -> None:
    assert error(_Function(function), torch.randn(1, 3, 4, 4)) < 1e-6


def _into_a_view(x: Tensor) -> Tensor:
    y = x * 2
    z = y.flatten(1)
    z += 1
    return y


def _into_a_part(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1:] += 1
    return y


def _into_what_a_part_shows(x: Tensor) -> Tensor:
    y = x * 2
    z = y.narrow(1, 0, 2)
    y += 1
    return z


def _into_what_has_a_view(x: Tensor) -> Tensor:
    y = x * 2
    z = y.view(1, -1)
    y.mul_(3)
    return z


def _into_a_constant(x: Tensor) -> Tensor:
    y = torch.zeros(1, 3, 4, 4)
    y += x
    return y


@pytest.mark.parametrize(
    "function",
    [
        *(_into_a_view, _into_a_part, _into_what_a_part_shows),
        *(_into_what_has_a_view, _into_a_constant),
    ],
)
def test_writing_that_would_show_elsewhere_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedError, match="writes into a shared tensor"):
        trace(_Function(function), torch.zeros(1, 3, 4, 4), "net")


def test_equal_work_is_drawn_once() -> None:
    def twice(x: Tensor) -> Tensor:
        return torch.relu(x) + torch.relu(x)

    graph, output = trace(_Function(twice), torch.zeros(1, 5), "net")
    assert [node.kind for node in graph.nodes] == ["INPUT", "RELU", "ADD"]
    assert output.kind == "ADD"


def test_the_order_of_an_addition_does_not_matter() -> None:
    def both(x: Tensor) -> Tensor:
        y = torch.relu(x)
        return (x + y) * (y + x)

    graph, _ = trace(_Function(both), torch.zeros(1, 5), "net")
    assert [node.kind for node in graph.nodes] == ["INPUT", "RELU", "ADD", "MUL"]


def test_what_does_not_depend_on_the_input_is_computed_at_once() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)

    def half(x: Tensor) -> Tensor:
        return x + layer(torch.ones_like(x))

    graph, output = trace(_Function(half), torch.zeros(1, 3, 4, 4), "net")
    assert [node.kind for node in graph.nodes] == ["INPUT", "TRANSPOSE", "ADD", "TRANSPOSE"]
    constant = output.inputs[0].inputs[1].value
    assert constant is not None
    expected = layer(torch.ones(1, 3, 4, 4)).detach().permute(0, 2, 3, 1)
    assert torch.equal(torch.from_numpy(constant), expected)


def test_an_error_of_the_module_names_its_layer() -> None:
    class Fails(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise KeyError("missing")

    with pytest.raises(UnsupportedError, match=r"'net': layer '1', a Fails: 'missing'"):
        trace(nn.Sequential(nn.ReLU(), Fails()), torch.zeros(1, 3), "net")
