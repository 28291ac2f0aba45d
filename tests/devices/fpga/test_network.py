from __future__ import annotations

import pickle
from typing import Any

import pytest

from brpnas.devices.fpga.network import INPUT, Network, Node

MAP = {"rows": 4, "cols": 6, "channels": 8}
WINDOW = {"kernel_rows": 3, "kernel_cols": 1, "stride_rows": 2, "stride_cols": 1}


def node(name: str, kind: str, *inputs: str, **sizes: Any) -> Node:
    return Node(name, kind, {**MAP, **sizes}, inputs, (4, 6, 8))


CHAIN = (node("a", "relu", INPUT), node("b", "split", "a", ports_out=2), node("c", "relu", "b"))
NETWORK = Network("net", (4, 6, 8), (*CHAIN, node("d", "eltwise", "b", "c"), node("e", "relu", "")))


def test_macs_and_weights_of_a_convolution() -> None:
    sizes = {**MAP, **WINDOW, "filters": 16, "groups": 4, "has_bias": 1}
    conv = Node("conv", "convolution", sizes, (INPUT,), (1, 6, 16))
    assert conv.weights == 3 * 1 * (8 // 4) * 16
    assert conv.macs == conv.weights * 1 * 6


def test_macs_and_weights_of_an_inner_product() -> None:
    product = Node("fc", "inner_product", {**MAP, "filters": 10}, (INPUT,), (1, 1, 10))
    assert product.weights == product.macs == 4 * 6 * 8 * 10


def test_other_layers_have_none() -> None:
    pool = node("pool", "pooling", INPUT, **WINDOW)
    assert (pool.macs, pool.weights) == (0, 0)


def test_who_takes_what() -> None:
    assert NETWORK.consumers(INPUT) == ("a", "e")
    assert NETWORK.consumers("b") == ("c", "d")
    assert NETWORK.consumers("d") == ()
    assert NETWORK.outputs == ("d", "e")
    assert NETWORK.node("c") is NETWORK.nodes[2]


def test_one_that_takes_an_output_twice_is_there_twice() -> None:
    network = Network("net", (4, 6, 8), (CHAIN[0], CHAIN[1], node("twice", "eltwise", "b", "b")))
    assert network.consumers("b") == ("twice", "twice")


def test_no_such_node() -> None:
    with pytest.raises(KeyError):
        NETWORK.node("f")


@pytest.mark.parametrize(
    "nodes",
    [(CHAIN[1], CHAIN[0]), (CHAIN[0], CHAIN[0]), (node(INPUT, "relu", INPUT),), CHAIN[2:]],
)
def test_nodes_out_of_order(nodes: tuple[Node, ...]) -> None:
    with pytest.raises(ValueError, match="of network 'net' is out of order"):
        Network("net", (4, 6, 8), nodes)


def test_it_is_a_value() -> None:
    again = pickle.loads(pickle.dumps(NETWORK))
    assert again == NETWORK
    assert hash(again) == hash(NETWORK)
    assert again.outputs == NETWORK.outputs
