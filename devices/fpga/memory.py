"""On-chip memory of Xilinx FPGAs: what an array of words takes.

Block RAM is counted in blocks of 18 Kbit, which can be shaped from 16384 words of 1 bit to 512
words of 36 (AMD UG473, 7 Series Memory Resources; UltraScale+ has the same shapes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_shape", "fifo_blocks", "memory_blocks", "queue_units", "ultra_blocks"]

Array = NDArray[np.float64]

_SHAPES = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}  # width in bits: words
_WIDEST = max(_SHAPES)
# The narrowest shape that a word of 0, 1, ..., 36 bits fits into, and its words.
_SHAPE_OF = [min(shape for shape in _SHAPES if shape >= width) for width in range(_WIDEST + 1)]
_WIDTH = np.array(_SHAPE_OF, dtype=np.float64)
_DEPTH = np.array([_SHAPES[shape] for shape in _SHAPE_OF], dtype=np.float64)

# What is smaller goes into LUTs.
_MEMORY_BITS = 1024
_QUEUE_WORDS = 32

# A block of UltraRAM has one shape (AMD UG573, UltraScale Architecture Memory Resources).
_ULTRA_WIDTH, _ULTRA_DEPTH = 72, 4096


def memory_blocks(words: Array, width: Array) -> Array:
    """Return the blocks of 18 Kbit that a memory takes; 0 below 1,024 bits.

    Args:
        words: how many it holds, shape (rows,).
        width: bits of a word, shape (rows,); words wider than 36 bits lie in blocks side by side.
    """
    return np.where(words * width < _MEMORY_BITS, 0.0, _blocks(words, width))


def fifo_blocks(words: Array, width: Array) -> Array:
    """Return the blocks of 18 Kbit that a queue takes; 0 to 32 words, and to 1,024 bits.

    Args:
        words: how many it holds, shape (rows,).
        width: bits of a word, shape (rows,).
    """
    small = (words * width <= _MEMORY_BITS) | (words <= _QUEUE_WORDS)
    return np.where(small, 0.0, _blocks(words, width))


def ultra_blocks(words: Array, width: Array) -> Array:
    """Return the blocks of 288 Kbit of UltraRAM that a memory takes.

    Args:
        words: how many it holds, shape (rows,).
        width: bits of a word, shape (rows,).
    """
    return np.ceil(width / _ULTRA_WIDTH) * np.ceil(words / _ULTRA_DEPTH)


def block_shape(width: Array) -> tuple[Array, Array]:
    """Return how many blocks lie side by side for words so wide, and how many words they hold.

    Args:
        width: bits of a word, shape (rows,).

    Returns:
        Two arrays of shape (rows,).
    """
    shape = np.minimum(width, _WIDEST).astype(np.intp)
    return np.ceil(width / _WIDTH[shape]), _DEPTH[shape]


def queue_units(words: Array, width: Array) -> Array:
    """Return the units of LUT RAM of a queue, whose words have one more bit: that they are valid.

    A unit is what eight LUTs that share their addresses hold: 32 words of 16 bits or 64 of 8.

    Args:
        words: how many it holds, shape (rows,).
        width: bits of a word, shape (rows,).
    """
    short = words <= _QUEUE_WORDS
    across, along = np.where(short, 16.0, 8.0), np.where(short, 32.0, 64.0)
    # A kernel of one row or column has a queue of no bits: there is none.
    return np.where(width > 0, np.ceil((width + 1) / across) * np.ceil(words / along), 0.0)


def _blocks(words: Array, width: Array) -> Array:
    across, depth = block_shape(width)
    return across * np.ceil(words / depth)
