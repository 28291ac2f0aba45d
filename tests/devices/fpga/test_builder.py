from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from brpnas.devices.fpga.builder import Builder, Value
from brpnas.devices.fpga.network import INPUT, Network
from brpnas.devices.fpga.windows import Window
from brpnas.errors import UserError

THREE = Window((3, 3), before=(1, 1), behind=(1, 1))


@pytest.fixture
def builder() -> Builder:
    return Builder("net", (8, 6, 4))


def conv(builder: Builder, x: Value, name: str = "conv", bias: bool = False) -> Value:
    return builder.convolution(name, x, (4, x.shape[2], 3, 3), THREE, groups=1, bias=bias)


def shown(network: Network) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(node.name, node.kind, node.inputs) for node in network.nodes]


def test_what_is_taken_twice_is_split(builder: Builder) -> None:
    one = conv(builder, builder.input, "one")
    two = conv(builder, builder.input, "two")
    network = builder.finish([builder.eltwise("sum", "add", [one, two, one])])
    assert shown(network) == [
        ("input_split", "split", (INPUT,)),
        ("one", "convolution", ("input_split",)),
        ("one_split", "split", ("one",)),
        ("two", "convolution", ("input_split",)),
        ("sum", "eltwise", ("one_split", "two", "one_split")),
    ]
    split = network.node("one_split")
    assert split.sizes == {"rows": 8, "cols": 6, "channels": 4, "ports_out": 2}
    assert split.output == (8, 6, 4)
    assert network.node("sum").sizes["ports_in"] == 3


def test_what_nothing_needs_is_left_out(builder: Builder) -> None:
    x = conv(builder, builder.input)
    builder.relu("dead", conv(builder, x, "dead too"))
    assert shown(builder.finish([x])) == [("conv", "convolution", (INPUT,))]


@pytest.mark.parametrize("shift", [False, True])
def test_a_batch_norm_folds_into_the_convolution_before(builder: Builder, shift: bool) -> None:
    x = conv(builder, builder.input)
    x = builder.affine("norm", x, (4, 1, 1), 4, shift=shift)
    x = builder.affine("scale", x, (), 4, shift=False)
    network = builder.finish([builder.relu("relu", x)])
    assert shown(network) == [("conv", "convolution", (INPUT,)), ("relu", "relu", ("conv",))]
    assert network.node("conv").sizes["has_bias"] == shift


def test_a_bias_stays_when_a_scale_is_folded(builder: Builder) -> None:
    x = builder.affine("scale", conv(builder, builder.input, bias=True), (), 4, shift=False)
    assert builder.finish([x]).node("conv").sizes["has_bias"] == 1


def test_elsewhere_a_batch_norm_is_a_depthwise_convolution(builder: Builder) -> None:
    x = conv(builder, builder.input)
    norm = builder.affine("norm", x, (4, 1, 1), 4, shift=True)
    network = builder.finish([builder.eltwise("sum", "add", [x, norm])])  # x is needed as it is
    assert shown(network)[2:] == [
        ("norm", "convolution", ("conv_split",)),
        ("sum", "eltwise", ("conv_split", "norm")),
    ]
    sizes = network.node("norm").sizes
    assert (sizes["filters"], sizes["groups"], sizes["has_bias"]) == (4, 4, 1)
    assert (sizes["kernel_rows"], sizes["kernel_cols"], sizes["pad_top"]) == (1, 1, 0)


def test_equal_work_without_weights_is_done_once(builder: Builder) -> None:
    x = builder.input
    window = Window((2, 2), (2, 2))
    pools = [
        builder.pool(f"pool{i}", builder.relu(f"relu{i}", x), window, average=False)
        for i in range(2)
    ]
    other = builder.pool("average", builder.relu("relu2", x), window, average=True)
    network = builder.finish([builder.concat("both", [*pools, other])])
    assert [node.name for node in network.nodes] == [
        *("relu0", "relu0_split", "pool0", "pool0_split", "average", "both")
    ]


def test_equal_convolutions_have_weights_of_their_own(builder: Builder) -> None:
    two = [conv(builder, builder.input) for _ in range(2)]
    network = builder.finish([builder.concat("both", two)])
    assert [node.name for node in network.nodes] == ["input_split", "conv", "conv_2", "both"]
    assert network.node("both").sizes["channels"] == (4, 4)


def test_zeros_lead_to_nothing(builder: Builder) -> None:
    x, zeros = builder.input, builder.zeros((8, 6, 4))
    dead = builder.relu("relu", conv(builder, zeros))
    kept = builder.relu("kept", builder.eltwise("sum", "add", [dead, x, zeros]))
    assert shown(builder.finish([kept])) == [("kept", "relu", (INPUT,))]
    for end in (
        builder.eltwise("product", "mul", [x, dead]),
        builder.eltwise("nothing", "add", [dead, zeros]),
    ):
        with pytest.raises(UserError, match="an output of the network does not depend on"):
            builder.finish([end])


def test_padding_belongs_to_the_convolution_behind(builder: Builder) -> None:
    x = builder.pad(builder.input, (0, 1, 2, 3))
    assert x.shape == (10, 10, 4)
    sizes = builder.finish([conv(builder, x)]).node("conv").sizes
    assert [sizes[f"pad_{side}"] for side in ("top", "left", "bottom", "right")] == [1, 2, 3, 4]
    assert (sizes["rows"], sizes["cols"]) == (8, 6)


def test_the_last_window_may_widen_the_padding(builder: Builder) -> None:
    x = builder.pool("pool", builder.input, Window((3, 3), (2, 2), ceil_mode=True), average=False)
    node = builder.finish([x]).nodes[0]
    assert node.output == (4, 3, 4)
    assert (node.sizes["pad_bottom"], node.sizes["pad_right"]) == (1, 1)


def test_the_average_of_all_is_a_global_pool(builder: Builder) -> None:
    x = builder.pool("pool", builder.input, Window((8, 6), (8, 6)), average=True)
    assert builder.finish([x]).nodes[0].kind == "global_pool"


def test_a_range_of_channels_is_a_split_that_drops_the_rest(builder: Builder) -> None:
    node = builder.finish([builder.part("first", builder.input, [slice(None), slice(3)])]).nodes[0]
    assert (node.kind, node.output, node.sizes["ports_out"]) == ("split", (8, 6, 3), 2)
    assert node.sizes["channels"] == 4


def test_an_inner_product_takes_a_vector(builder: Builder) -> None:
    flat = builder.relu("relu", builder.reshape(builder.input, (1, 192)))
    x = builder.inner_product("fc", flat, 192, 10, bias=True)
    node = builder.finish([builder.softmax(x)]).node("fc")
    assert node.sizes == {"rows": 1, "cols": 1, "channels": 192, "filters": 10, "has_bias": 1}


def test_a_gate_is_broadcast(builder: Builder) -> None:
    gate = builder.relu("gate", builder.global_pool("mean", builder.input))
    vector = builder.reshape(gate, (1, 4))
    x = builder.eltwise("scaled", "mul", [builder.reshape(vector, (1, 4, 1, 1)), builder.input])
    sizes = builder.finish([x]).node("scaled").sizes
    assert (sizes["rows"], sizes["cols"], sizes["broadcast"], sizes["op_type"]) == (8, 6, 1, "mul")


def test_a_hard_swish_in_parts(builder: Builder) -> None:
    x = builder.input
    y = builder.eltwise("product", "mul", [x, builder.hard_sigmoid("gate", x)])
    assert shown(builder.finish([y])) == [("product", "hard_swish", (INPUT,))]


def test_a_hard_sigmoid_of_something_else_is_a_layer(builder: Builder) -> None:
    x = builder.input
    gate = builder.hard_sigmoid("gate", builder.global_pool("mean", x))
    y = builder.eltwise("scaled", "mul", [gate, x])
    assert shown(builder.finish([y]))[1:] == [
        ("mean", "global_pool", ("input_split",)),
        ("gate", "hard_sigmoid", ("mean",)),
        ("scaled", "eltwise", ("gate", "input_split")),
    ]


def test_the_first_channels_and_every_other_row_and_column(builder: Builder) -> None:
    x = builder.part("part", builder.input, [slice(None), slice(0, 2), slice(None, None, 2)])
    x = builder.part("rest", x, [slice(None)] * 3 + [slice(0, 6, 3)])
    first, pool = builder.finish([x]).nodes
    assert (first.kind, first.output) == ("split", (8, 6, 2))
    # Two steps, as some files have them, are one: a window of one word that moves by 2 and 3.
    assert (pool.name, pool.kind, pool.output) == ("rest", "pooling", (4, 2, 2))
    assert (pool.sizes["stride_rows"], pool.sizes["stride_cols"]) == (2, 3)
    assert pool.sizes["kernel_rows"] == pool.sizes["kernel_cols"] == 1


def test_a_part_that_is_all_of_it(builder: Builder) -> None:
    whole = [slice(0, 2**63 - 1)] * 4
    assert builder.part("part", builder.input, whole) == builder.input
    assert builder.pad_channels("pad", builder.input, 0, 0) == builder.input


def test_channels_of_zeros(builder: Builder) -> None:
    (node,) = builder.finish([builder.pad_channels("pad", builder.input, 2, 6)]).nodes
    assert (node.kind, node.output, node.macs) == ("pad_channels", (8, 6, 12), 0)
    assert (node.sizes["channels"], node.sizes["zeros_before"]) == (4, 2)


def first(builder: Builder, x: Value) -> Value:
    return builder.part("first", x, [slice(None), slice(2)])


FLAT = "a flatten; accepted after one: an inner product"


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (lambda b, x: b.relu("r", b.pad(x, (1, 1, 1, 1))), "a ReLU after a padding; accepted"),
        (lambda b, x: conv(b, b.reshape(x, (1, 192))), f"a convolution after {FLAT}"),
        (lambda b, x: b.global_pool("p", b.reshape(x, (1, 192))), f"a global pool after {FLAT}"),
        (lambda b, x: b.relu("r", b.softmax(x)), "a ReLU after a softmax; accepted after one: no"),
        (lambda b, x: b.reshape(x, (1, 6, 8, 4)), "reshape of 4 x 8 x 6 .* to 6 x 8 x 4; acc"),
        (lambda b, x: b.pad(x, (-1, 0, 0, 0)), "a padding of (-1, 0, 0, 0); accepted: from 0"),
        (lambda b, x: b.part("p", x, [slice(1)] * 2 + [slice(1, None)]), "0:1:1, 1:8:1, 0:6:1 of"),
        (lambda b, x: b.part("p", x, [slice(1), slice(1, 3)]), "accepted: the first channels, and"),
        (lambda b, x: b.part("p", x, [slice(1), slice(0)]), "the part 0:1:1, 0:0:1, 0:8:1, 0:6:1"),
        (lambda b, x: b.part("p", x, [slice(1, None)]), "the part 1:1:1, 0:4:1"),
        (lambda b, x: b.part("p", x, [slice(None)] * 2 + [slice(4)]), "of 4 x 8 x 6 (channels x"),
        (lambda b, x: b.pad_channels("p", x, -1, 0), "a padding of -1 and 0 channels; accepted"),
        (lambda b, x: b.inner_product("i", x, 5, 3, bias=False), "for 5 words on an input of 192"),
        (lambda b, x: b.affine("a", x, (8, 6), 4, shift=False), "a constant of shape (8, 6)"),
        (lambda b, x: b.affine("a", x, (4,), 4, shift=False), "each of the 4 channels, or for all"),
        (lambda b, x: b.affine("a", x, (1, 1, 4, 1, 1), 4, shift=False), "a constant of shape"),
        (lambda b, x: b.concat("c", [x, b.global_pool("g", x)]), "a concatenation of different"),
        (
            lambda b, x: b.eltwise("e", "add", [x, first(b, x)]),
            "element-wise add of 8 x 6 x 4, 8 x 6 x 2 (rows x cols x channels); accepted: values",
        ),
        (
            lambda b, x: b.convolution("c", x, (4, 4, 3, 3), THREE, groups=2, bias=False),
            "weights of shape (4, 4, 3, 3) and 2 groups on an input of 4 channels",
        ),
        (
            lambda b, x: b.convolution("c", x, (4, 4, 3, 3), THREE, groups=0, bias=False),
            "and 0 groups on",
        ),
        (
            lambda b, x: b.convolution("c", x, (3, 2, 3, 3), THREE, groups=2, bias=False),
            "weights of shape (3, 2, 3, 3) and 2 groups",
        ),
        (
            lambda b, x: b.pool("p", x, Window((2, 2), dilation=(2, 1)), average=True),
            "dilation 2 x 1; accepted: 1 x 1",
        ),
        (lambda b, x: b.pool("p", x, Window((0, 2)), average=True), "kernel (0, 2)"),
        (lambda b, x: b.pool("p", x, Window((2, 2), (0, 1)), average=True), "strides (0, 1)"),
        (lambda b, x: b.pool("p", x, Window((9, 2)), average=True), "a window of 9 on an image"),
        (
            lambda b, x: b.convolution("c", x, (2**21, 4, 3, 3), THREE, groups=1, bias=False),
            "filters is 2097152; accepted: up to 1048576",
        ),
    ],
)
def test_what_there_is_no_layer_for(
    builder: Builder, add: Callable[[Builder, Value], Value], reason: str
) -> None:
    pattern = re.escape(reason).replace(re.escape(".*"), ".*")
    with pytest.raises(UserError, match=pattern):
        builder.finish([add(builder, builder.input)])


def test_ends(builder: Builder) -> None:
    x = builder.relu("relu", builder.input)
    with pytest.raises(UserError, match="an output of the network is also used inside it"):
        builder.finish([x, conv(builder, x)])
    with pytest.raises(UserError, match="does not depend on its input, or is its input"):
        builder.finish([builder.input])


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 2**20 + 1, 1)])
def test_sizes_of_the_input(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=r"the input has .* rows x cols x channels; accepted"):
        Builder("net", shape)
