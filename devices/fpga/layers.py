"""What one layer costs on an FPGA: a plain function for each kind of layer.

The model is fpgaConvNet's (Venieris and Bouganis, "fpgaConvNet: A Framework for Mapping
Convolutional Neural Networks on FPGAs", FCCM 2016; Montgomerie-Corcoran et al., "SAMO", FPL
2022): a layer is a chain of modules through which words stream, and a folding says how many words
at a time. Its functions work on whole tables: each column is an array of shape (rows,), float64
throughout, which holds every whole number below 2^53 exactly and divides faster than int64.

A kind's sizes: ``rows``, ``cols``, ``channels`` of the input, ``filters`` of the output. Its
folding: ``coarse_in`` and ``coarse_out``, the streams; ``coarse_group``, the groups at a time;
``fine``, the products of one kernel at a time; the simple kinds have one ``coarse``. Widths are in
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.logic import ModuleUse
from brpnas.devices.fpga.memory import fifo_blocks, memory_blocks

__all__ = ["LAYERS", "OPERATIONS", "Costs", "Fold", "Layer", "padded"]

Array = NDArray[np.float64]
Columns = Mapping[str, Array]

OPERATIONS = {"add": 0.0, "mul": 1.0}
"""The multipliers of a stream of an element-wise layer."""

# fpgaConvNet counts these for each stream of a hard-swish.
_HARD_SWISH_DSP = 5.0


@dataclass(frozen=True)
class Costs:
    """What layers cost, each of shape (rows,).

    Attributes:
        latency: cycles from one feature map to the next.
        depth: cycles until the first word leaves, the pipeline's length.
        dsp: slices.
        bram: blocks of 18 Kbit.
        modules: what takes LUTs and flip-flops.
    """

    latency: Array
    depth: Array
    dsp: Array
    bram: Array
    modules: tuple[ModuleUse, ...]


@dataclass(frozen=True)
class Fold:
    """A column that must divide something.

    Attributes:
        column: the divisor.
        of: what it divides, in words.
        value: the dividend, shape (rows,).
    """

    column: str
    of: str
    value: Callable[[Columns], Array]


@dataclass(frozen=True)
class Layer:
    """A kind of layer.

    Attributes:
        cost: the columns, and whether to count as the reference does where it is odd, to costs.
        inputs: columns that are needed.
        folds: what must divide what.
        optional: columns with the value they have where they are missing.
    """

    cost: Callable[[Columns, bool], Costs]
    inputs: tuple[str, ...]
    folds: tuple[Fold, ...] = ()
    optional: Mapping[str, float] = field(default_factory=dict)


def convolution(x: Columns, _: bool) -> Costs:
    """Return the costs of convolutions: plain, grouped and depthwise.

    Per stream ``channels / (coarse_in coarse_group)`` words of a pixel arrive, and each output
    pixel takes ``weights`` turns of the ``lanes fine`` multipliers.
    """
    kernel = x["kernel_rows"] * x["kernel_cols"]
    fine, acc_width = x["fine"], x["acc_width"]
    streams_in = x["coarse_in"] * x["coarse_group"]
    streams_out = x["coarse_out"] * x["coarse_group"]
    lanes = streams_in * x["coarse_out"]
    channels = x["channels"] / streams_in
    filters = x["filters"] / (x["coarse_out"] * x["groups"])
    turns = channels * (kernel / fine)  # of one output word
    weights = turns * filters
    padded_cols = padded(x, "cols")
    # What follows the dot products (sums over streams, bias) has at most as many words to pass.
    latency = np.maximum(
        padded(x, "rows") * padded_cols * channels,
        _positions(x, "rows") * _positions(x, "cols") * weights,
    )
    window = _Window(x, streams_in, channels, padded_cols)
    adder_tree = np.frexp(fine)[1].astype(np.float64)  # floor(log2(fine)) + 1
    bias = x["has_bias"] * memory_blocks(x["filters"] / streams_out, acc_width * streams_out)
    products = np.ceil(lanes * fine * _multiplier(x["data_width"], x["weight_width"]) * _packed(x))
    ones = np.ones_like(fine)
    dot = {
        "acc_bits": lanes * acc_width,
        "lanes": lanes,
        "fine": fine,
        "channels": turns,
        "filters": filters,
    }
    modules = (
        ModuleUse("pad", {"rows": x["rows"]}, ones),
        ModuleUse("sliding_window", window.sizes, _where(kernel > 1)),
        ModuleUse(
            "squeeze",
            {
                "bits": window.sizes["bits"],
                "in": kernel,
                "out": fine,
                "buffer": kernel,  # their least common multiple, since fine divides the kernel
            },
            _where(fine < kernel),
        ),
        ModuleUse(
            "fork",
            {"words": streams_in * fine, "data_width": x["data_width"]},
            _where(x["coarse_out"] > 1),
        ),
        ModuleUse("vector_dot", dot, ones),
        ModuleUse("accum", dot, _where(channels > 1)),
        *_ending(x, streams_out),
    )
    return Costs(
        latency,
        window.depth + adder_tree + weights + x["coarse_in"],
        products + x["block_floating_point"] * streams_out,
        memory_blocks(weights, x["weight_width"] * fine * lanes)
        + bias
        + np.where(kernel > 1, window.blocks, 0),
        modules,
    )


def inner_product(x: Columns, reference_exact: bool) -> Costs:
    """Return the costs of fully connected layers.

    The reference's scaling at the end takes a cycle for each *input* word however the layer is
    folded, and half of a DSP slice is left unrounded: neither is physical.
    """
    words = x["rows"] * x["cols"] * x["channels"]
    lanes = x["coarse_in"] * x["coarse_out"]
    turns = words / x["coarse_in"]
    filters = x["filters"] / x["coarse_out"]
    weights = turns * filters
    products = lanes * _multiplier(x["data_width"], x["weight_width"]) * _packed(x)
    ones = np.ones_like(lanes)
    dot = {
        "acc_bits": lanes * x["acc_width"],
        "lanes": lanes,
        "fine": ones,
        "channels": turns,
        "filters": filters,
    }
    fork = {"words": x["coarse_in"], "data_width": x["data_width"]}
    modules = (
        ModuleUse("fork", fork, _where(x["coarse_out"] > 1)),
        ModuleUse("vector_dot", dot, ones),
        ModuleUse("accum", dot, _where(turns > 1)),
        *_ending(x, x["coarse_out"]),
    )
    return Costs(
        np.maximum(weights, words) if reference_exact else weights,
        weights + 1 + x["coarse_in"],
        (products if reference_exact else np.ceil(products))
        + x["block_floating_point"] * x["coarse_out"],
        memory_blocks(weights, x["weight_width"] * lanes)
        + x["has_bias"] * memory_blocks(filters, x["acc_width"] * x["coarse_out"]),
        modules,
    )


def pooling(x: Columns, _: bool) -> Costs:
    """Return the costs of maximum and average pooling over windows."""
    channels = x["channels"] / x["coarse"]
    cols = padded(x, "cols")
    window = _Window(x, x["coarse"], channels, cols)
    ones, zeros = np.ones_like(cols), np.zeros_like(cols)
    modules = (
        ModuleUse("pad", {"rows": x["rows"]}, ones),
        ModuleUse("sliding_window", window.sizes, ones),
        ModuleUse("pool", window.sizes, ones),
    )
    latency = padded(x, "rows") * cols * channels
    return Costs(latency, window.depth, zeros, window.blocks, modules)


def global_pool(x: Columns, reference_exact: bool) -> Costs:
    """Return the costs of averages over whole feature maps.

    The reference counts only the cycles of the words that leave; the physical layer has to take
    in a whole feature map before the next.
    """
    channels = x["channels"] / x["coarse"]
    words = x["rows"] * x["cols"] * channels
    sizes = {
        "data_width": x["data_width"],
        "acc_width": x["acc_width"],
        "channels": channels,
    }
    return Costs(
        channels if reference_exact else words,
        words,
        x["coarse"] * _multiplier(x["data_width"], x["acc_width"]),
        np.zeros_like(words),
        (ModuleUse("global_pool", sizes, x["coarse"]),),
    )


def relu(x: Columns, _: bool) -> Costs:
    """Return the costs of rectifiers: a word of every stream at a time, no memory."""
    return _streaming(x, "relu", np.zeros_like(x["rows"]))


def hard_swish(x: Columns, _: bool) -> Costs:
    """Return the costs of hard-swishes: those of a rectifier, and 5 DSP slices per stream."""
    return _streaming(x, "relu", _HARD_SWISH_DSP * x["coarse"])


def hard_sigmoid(x: Columns, reference_exact: bool) -> Costs:
    """Return the costs of hard-sigmoids: a hard-swish without its last product takes no more."""
    return hard_swish(x, reference_exact)


def split(x: Columns, _: bool) -> Costs:
    """Return the costs of copying a feature map to several outputs."""
    return _streaming(x, "split", np.zeros_like(x["rows"]))


def eltwise(x: Columns, reference_exact: bool) -> Costs:
    """Return the costs of adding or multiplying feature maps word by word.

    Every input waits in a queue of ``buffer_depth`` words for the others. A broadcast input, one
    pixel for all, is kept in a queue of its own. The reference counts one DSP slice per stream
    however many inputs are multiplied; the physical layer has a multiplier for each after the
    first.
    """
    channels = x["channels"] / x["coarse"]
    queues = x["ports_in"] * fifo_blocks(x["buffer_depth"], x["data_width"])
    pixel = x["broadcast"] * fifo_blocks(channels, x["data_width"])
    multipliers = x["op_type"] * x["coarse"]
    if not reference_exact:
        multipliers = multipliers * (x["ports_in"] - 1) * _multiplier(*[x["data_width"]] * 2)
    return _streaming(x, "eltwise", multipliers, x["coarse"] * (queues + pixel))


def concat(x: Columns, _: bool) -> Costs:
    """Return the costs of putting feature maps behind each other, channel by channel."""
    zeros = np.zeros_like(x["rows"])
    queues = x["ports_in"] * x["coarse"] * fifo_blocks(x["buffer_depth"], x["data_width"])
    return Costs(_words(x), zeros, zeros, queues, ())


def pad_channels(x: Columns, _: bool) -> Costs:
    """Return the costs of putting channels of zeros before and behind those of a feature map.

    It is a concatenation of which all inputs but one are zeros: they come from nowhere, and
    nothing waits in queues.
    """
    zeros = np.zeros_like(x["rows"])
    channels = x["channels"] + x["zeros_before"] + x["zeros_behind"]
    return Costs(x["rows"] * x["cols"] * (channels / x["coarse"]), zeros, zeros, zeros, ())


def squeeze(x: Columns, _: bool) -> Costs:
    """Return the costs of passing words from so many streams to another number of them."""
    ins, outs = x["coarse_in"], x["coarse_out"]
    buffer = np.lcm(ins.astype(np.int64), outs.astype(np.int64)).astype(np.float64)
    zeros = np.zeros_like(ins)
    sizes = {"bits": x["data_width"], "in": ins, "out": outs, "buffer": buffer}
    return Costs(
        x["rows"] * x["cols"] * x["channels"] / np.minimum(ins, outs),
        zeros,
        zeros,
        buffer * fifo_blocks(buffer / ins + 1, x["data_width"]),
        (ModuleUse("squeeze", sizes, np.ones_like(ins)),),
    )


class _Window:
    """The sliding window over lines and pixels of a feature map."""

    def __init__(self, x: Columns, streams: Array, channels: Array, cols: Array) -> None:
        bits = streams * x["data_width"]
        lines, pixels = x["kernel_rows"] - 1, x["kernel_cols"] - 1
        self.depth = (lines * cols + pixels) * channels
        self.blocks = fifo_blocks(channels * cols, lines * bits) + x["kernel_rows"] * fifo_blocks(
            channels, pixels * bits
        )
        self.sizes = {
            "bits": bits,
            "cols": cols,
            "channels": channels,
            "kernel_rows": x["kernel_rows"],
            "kernel_cols": x["kernel_cols"],
        }


def _ending(x: Columns, streams_out: Array) -> tuple[ModuleUse, ModuleUse]:
    """What sums over the input streams and adds the bias."""
    glue = {"acc_bits": streams_out * x["acc_width"], "ways": x["coarse_in"]}
    return (
        ModuleUse("glue", glue, _where(x["coarse_in"] > 1)),
        ModuleUse("bias", {"bits": streams_out * x["data_width"]}, x["has_bias"]),
    )


def _streaming(x: Columns, module: str, dsp: Array, bram: Array | None = None) -> Costs:
    """A layer that passes a word of every stream per cycle through one module per stream."""
    zeros = np.zeros_like(dsp)
    use = ModuleUse(module, {"coarse": x["coarse"]}, x["coarse"])
    return Costs(_words(x), zeros, dsp, zeros if bram is None else bram, (use,))


def _words(x: Columns) -> Array:
    """Words of a stream."""
    return x["rows"] * x["cols"] * (x["channels"] / x["coarse"])


_BEFORE = {"rows": "pad_top", "cols": "pad_left"}
_BEHIND = {"rows": "pad_bottom", "cols": "pad_right"}


def padded(x: Columns, side: str) -> Array:
    """Return the size of the input with its padding along ``"rows"`` or ``"cols"``."""
    return x[side] + x[_BEFORE[side]] + x[_BEHIND[side]]


def _positions(x: Columns, side: str) -> Array:
    """Where the kernel stands along a side: the output's size."""
    return np.ceil((padded(x, side) - x[f"kernel_{side}"] + 1) / x[f"stride_{side}"])


def _multiplier(first_width: Array, second_width: Array) -> Array:
    """DSP slices of a multiplier: each multiplies 18 by 27 bits."""
    return np.ceil(first_width / 18) * np.ceil(second_width / 27)


def _packed(x: Columns) -> Array:
    """The share of a multiplier that a product takes: two fit at 8 bits, four at 4."""
    width = np.maximum(x["data_width"], x["weight_width"])
    return np.where(width <= 4, 0.25, np.where(width <= 8, 0.5, 1.0))


def _where(condition: NDArray[np.bool_]) -> Array:
    return condition.astype(np.float64)


_SHAPE = ("rows", "cols", "channels")
_WINDOW = (
    "kernel_rows",
    "kernel_cols",
    "stride_rows",
    "stride_cols",
    "pad_top",
    "pad_right",
    "pad_bottom",
    "pad_left",
)
_FOLDING = ("coarse_in", "coarse_out", "coarse_group", "fine")
_WIDTHS = ("data_width", "weight_width", "acc_width")
_COARSE = (Fold("coarse", "channels", lambda x: x["channels"]),)
_BLOCK_FLOATING_POINT = {"block_floating_point": 0.0}

LAYERS: dict[str, Layer] = {
    "convolution": Layer(
        convolution,
        (*_SHAPE, "filters", *_WINDOW, "groups", "has_bias", *_FOLDING, *_WIDTHS),
        (
            Fold("groups", "channels", lambda x: x["channels"]),
            Fold("groups", "filters", lambda x: x["filters"]),
            Fold("coarse_in", "channels / groups", lambda x: x["channels"] / x["groups"]),
            Fold("coarse_out", "filters / groups", lambda x: x["filters"] / x["groups"]),
            Fold("coarse_group", "groups", lambda x: x["groups"]),
            Fold(
                "fine", "kernel_rows x kernel_cols", lambda x: x["kernel_rows"] * x["kernel_cols"]
            ),
        ),
        _BLOCK_FLOATING_POINT,
    ),
    "inner_product": Layer(
        inner_product,
        (*_SHAPE, "filters", "has_bias", "coarse_in", "coarse_out", *_WIDTHS),
        (
            Fold("coarse_in", "channels", lambda x: x["channels"]),
            Fold("coarse_out", "filters", lambda x: x["filters"]),
        ),
        _BLOCK_FLOATING_POINT,
    ),
    "pooling": Layer(pooling, (*_SHAPE, *_WINDOW, "coarse", "data_width"), _COARSE),
    "global_pool": Layer(global_pool, (*_SHAPE, "coarse", "data_width", "acc_width"), _COARSE),
    "relu": Layer(relu, (*_SHAPE, "coarse", "data_width"), _COARSE),
    "hard_swish": Layer(hard_swish, (*_SHAPE, "coarse", "data_width"), _COARSE),
    "hard_sigmoid": Layer(hard_sigmoid, (*_SHAPE, "coarse", "data_width"), _COARSE),
    "eltwise": Layer(
        eltwise,
        (*_SHAPE, "ports_in", "coarse", "op_type", "broadcast", "data_width", "buffer_depth"),
        _COARSE,
    ),
    "concat": Layer(
        concat,
        (*_SHAPE, "ports_in", "coarse", "data_width", "buffer_depth"),
        (Fold("coarse", "channels of every port", lambda x: x["common_channels"]),),
    ),
    "pad_channels": Layer(
        pad_channels,
        (*_SHAPE, "zeros_before", "zeros_behind", "coarse", "data_width"),
        (
            *_COARSE,
            Fold("coarse", "zeros_before", lambda x: x["zeros_before"]),
            Fold("coarse", "zeros_behind", lambda x: x["zeros_behind"]),
        ),
    ),
    "split": Layer(split, (*_SHAPE, "ports_out", "coarse", "data_width"), _COARSE),
    "squeeze": Layer(
        squeeze,
        (*_SHAPE, "coarse_in", "coarse_out", "data_width"),
        (
            Fold("coarse_in", "channels", lambda x: x["channels"]),
            Fold("coarse_out", "channels", lambda x: x["channels"]),
        ),
    ),
}
