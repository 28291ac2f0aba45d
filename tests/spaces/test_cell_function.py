"""The 5,044 classes, proved by computing: nothing here shares code with the symbolic form.

Every cell is evaluated on random maps. The values that it reaches over all ways of giving
distinct weights to its convolutions identify its function; canonical forms have to be equal
exactly where these sets are. With a pool that is not linear, the same proof holds for the 5,260
networks that a runtime tells apart: then a pool of a sum is no sum of pools, but pools of equal
values are equal.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brpnas.spaces import Cell, NASBench201

SPACE = NASBench201()
CELLS = np.array(list(itertools.product(range(5), repeat=6)))  # (15625, 6), as SPACE iterates
NONE, SKIP, CONV1, CONV3, POOL = range(5)
PAIRS = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
# Fewer channels die too often: relu of a 1x1 convolution with negative weights is zero.
CHANNELS, SIZE, SETS = 6, 4, 12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _map_of_kernel(kernel: Floats) -> Floats:
    """The linear map, on a flattened image, of a 3x3 kernel with zero padding."""
    linear = np.zeros((SIZE,) * 4)
    for i, j, a, b in itertools.product(range(SIZE), range(SIZE), range(-1, 2), range(-1, 2)):
        if 0 <= i + a < SIZE and 0 <= j + b < SIZE:
            linear[i + a, j + b, i, j] = kernel[a + 1, b + 1]
    return linear.reshape(SIZE**2, SIZE**2)


class _Numbers:
    """Random input, weight sets and projection; evaluates many cells at once."""

    def __init__(self, seed: int, *, linear_pool: bool = True) -> None:
        self.linear_pool = linear_pool
        rng = np.random.default_rng(seed)
        window = _map_of_kernel(np.ones((3, 3)))
        # Each output is the mean over those pixels of its window that are in the image.
        self.pool = np.kron(np.eye(CHANNELS), window / window.sum(axis=0))
        self.weights = {
            CONV1: [
                np.kron(rng.normal(size=(CHANNELS, CHANNELS)), np.eye(SIZE**2)) for _ in range(SETS)
            ],
            CONV3: [
                np.block(
                    [
                        [_map_of_kernel(rng.normal(size=(3, 3))) / 2 for _ in range(CHANNELS)]
                        for _ in range(CHANNELS)
                    ]
                )
                for _ in range(SETS)
            ],
        }
        # What batch-norm adds: without it relu(2x) = 2 relu(x) would merge functions.
        self.biases = {
            kind: np.repeat(rng.normal(size=(SETS, CHANNELS)), SIZE**2, axis=1)
            for kind in (CONV1, CONV3)
        }
        values = CHANNELS * SIZE**2
        self.input = rng.normal(size=values)
        self.projection = rng.normal(size=(values, 3)) / values

    def evaluate(self, cells: Ints, sets: Ints) -> Floats:
        """Three numbers for each cell; ``sets`` says which weights each of its convolutions has."""
        nodes = np.zeros((4, len(cells), len(self.input)))
        nodes[0] = self.input
        for place, (source, target) in enumerate(PAIRS):
            operations, values = cells[:, place], nodes[source]
            skips, pools = operations == SKIP, operations == POOL
            nodes[target, skips] += values[skips]
            pooled = values[pools] @ self.pool
            nodes[target, pools] += pooled if self.linear_pool else np.sin(pooled)
            for kind, chosen in itertools.product((CONV1, CONV3), range(SETS)):
                rows = (operations == kind) & (sets[:, place] == chosen)
                rows &= values.any(axis=1)  # fed by nothing, it gives nothing
                made = np.maximum(values[rows], 0) @ self.weights[kind][chosen]
                nodes[target, rows] += made + self.biases[kind][chosen]
        return np.asarray(nodes[3] @ self.projection)

    def signatures(self, cells: Ints) -> Ints:
        """The identity of what each cell computes, as a number from 0."""
        first = np.tile(np.arange(6), (len(cells), 1))
        values = self.evaluate(cells, first)
        matters = np.zeros(cells.shape, bool)  # whether other weights change the output
        for place in range(6):
            changed = first.copy()
            changed[:, place] += 6
            matters[:, place] = np.abs(self.evaluate(cells, changed) - values).max(axis=1) > 1e-9
        rows, sets = [], []
        for row, cell in enumerate(cells):
            places = [np.flatnonzero(matters[row] & (cell == kind)) for kind in (CONV1, CONV3)]
            for orders in itertools.product(
                *(itertools.permutations(range(len(alike))) for alike in places)
            ):
                chosen = np.zeros(6, np.int64)
                for alike, order in zip(places, orders, strict=True):
                    chosen[alike] = order
                rows.append(row)
                sets.append(chosen)
        reached = np.rint(self.evaluate(cells[rows], np.array(sets)) * 1e7).astype(np.int64)
        # Sets of two functions are equal or have nothing in common, so the smallest will do.
        ordered = np.lexsort((*reached.T, rows))
        smallest = reached[ordered][np.unique(np.array(rows)[ordered], return_index=True)[1]]
        return np.unique(smallest, axis=0, return_inverse=True)[1].ravel()


def _labels(representative: Callable[[Cell], Cell]) -> Ints:
    """A number for each cell's class."""
    texts = [str(representative(cell)) for cell in SPACE]
    return np.unique(texts, return_inverse=True)[1]


@pytest.fixture(scope="module")
def canonical() -> Ints:
    return _labels(SPACE.canonical)


@pytest.fixture(scope="module")
def deployed() -> Ints:
    return _labels(SPACE.deployed)


@pytest.fixture(scope="module")
def computed() -> Ints:
    return _Numbers(seed=0).signatures(CELLS)


def _refinements(one: Ints, other: Ints) -> tuple[int, int, int]:
    """Classes of one partition, of the other, and of both together."""
    both = np.unique(np.stack([one, other]), axis=1).shape[1]
    return len(np.unique(one)), len(np.unique(other)), both


def test_canonical_forms_are_equal_exactly_where_the_functions_are(
    canonical: Ints, computed: Ints
) -> None:
    assert [SPACE.encode(cell) for cell in SPACE] == [tuple(cell) for cell in CELLS.tolist()]
    assert _refinements(canonical, computed) == (5044, 5044, 5044)


def test_deployed_forms_are_equal_exactly_where_unlinear_pools_leave_equal_functions(
    deployed: Ints, canonical: Ints
) -> None:
    computed = _Numbers(seed=0, linear_pool=False).signatures(CELLS)
    assert _refinements(deployed, computed) == (5260, 5260, 5260)
    assert _refinements(deployed, canonical) == (5260, 5044, 5260)  # a refinement


def _executed(operations: tuple[str, ...]) -> Counter[str]:
    """What a runtime runs, by writing every tensor out down to the input and running it once."""
    live = SPACE.graph(Cell(operations)).live[1:-1]
    tensors = ["x", "", "", ""]
    run = set()
    additions = 0
    for target in (1, 2, 3):
        arriving = []
        for place, (source, end) in enumerate(PAIRS):
            if end != target or not live[place]:
                continue
            kind, read = operations[place], tensors[source]
            if kind == "skip_connect":
                arriving.append(read)
            else:
                weights = "" if kind == "avg_pool_3x3" else place
                arriving.append(f"{kind}{weights}({read})")
                run.add(arriving[-1])
        additions += max(0, len(arriving) - 1)
        tensors[target] = "+".join(sorted(arriving))
    kinds = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
    return Counter(add=additions) + Counter(
        kind for made in run for kind in kinds if made.startswith(kind)
    )


def test_writings_of_a_deployed_class_run_the_same_operations() -> None:
    for cell in SPACE:
        assert _executed(cell.operations) == _executed(SPACE.deployed(cell).operations), str(cell)


def test_a_canonical_cell_is_deployed_as_it_is() -> None:
    for cell in SPACE:
        canonical = SPACE.canonical(cell)
        assert SPACE.deployed(canonical) == canonical
        assert SPACE.canonical(SPACE.deployed(cell)) == canonical


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_weights_and_images_give_the_same_classes(canonical: Ints, seed: int) -> None:
    assert _refinements(canonical, _Numbers(seed).signatures(CELLS)) == (5044, 5044, 5044)


def test_the_proof_notices_a_wrong_class(canonical: Ints, computed: Ints) -> None:
    merged, split = canonical.copy(), canonical.copy()
    merged[merged == merged[0]] = merged[-1]
    several = np.flatnonzero(np.bincount(canonical) > 1)[0]
    split[np.flatnonzero(split == several)[0]] = 5044
    assert _refinements(merged, computed) == (5043, 5044, 5044)
    assert _refinements(split, computed) == (5045, 5044, 5045)


@pytest.mark.parametrize("name", ["canonical", "deployed"])
def test_representative_is_the_cheapest_and_has_nothing_dead(
    name: str, request: pytest.FixtureRequest
) -> None:
    classes: Ints = request.getfixturevalue(name)
    cost = [tuple((cell == kind).sum() for kind in (CONV3, CONV1, POOL, SKIP)) for cell in CELLS]
    cheapest: dict[int, tuple[int, ...]] = {}
    for label, price in zip(classes.tolist(), cost, strict=True):
        cheapest[label] = min(price, cheapest.get(label, price))
    index = {str(cell): row for row, cell in enumerate(SPACE)}
    for cell in {getattr(SPACE, name)(cell) for cell in SPACE}:
        row = index[str(cell)]
        assert cost[row] == cheapest[int(classes[row])]
        written = [operation != "none" for operation in cell.operations]
        assert SPACE.graph(cell).live[1:-1].tolist() == written


def test_official_classes_are_wrong_both_ways(shared: Path, computed: Ints) -> None:
    table = pd.read_parquet(shared / "data" / "nasbench201.parquet", columns=["arch", "rep_index"])
    index = {str(cell): row for row, cell in enumerate(SPACE)}
    ours = computed[[index[text] for text in table["arch"]]]
    official = table["rep_index"].to_numpy()
    frame = pd.DataFrame({"function": ours, "official": official})
    assert frame["official"].nunique() == 6466
    split = int((frame.groupby("function")["official"].nunique() > 1).sum())
    merged = int((frame.groupby("official")["function"].nunique() > 1).sum())
    assert (split, merged) == (792, 430)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (  # merged: 2 pool(x) + conv(x) + conv'(x), and 2 pool(x) + 2 conv(x)
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
            "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            "|nor_conv_1x1~0|+|avg_pool_3x3~0|skip_connect~1|"
            "+|avg_pool_3x3~0|skip_connect~1|skip_connect~2|",
            False,
        ),
        (  # split: pool(x) is added after the second pool, or before it
            "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|"
            "+|avg_pool_3x3~0|nor_conv_3x3~1|avg_pool_3x3~2|",
            "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|"
            "+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|",
            True,
        ),
    ],
)
def test_two_official_errors(
    shared: Path, computed: Ints, one: str, other: str, same: bool
) -> None:
    table = pd.read_parquet(shared / "data" / "nasbench201.parquet", columns=["arch", "rep_index"])
    official = table.set_index("arch")["rep_index"]
    assert (official[one] == official[other]) is np.bool_(not same)
    assert (SPACE.canonical(SPACE.parse(one)) == SPACE.canonical(SPACE.parse(other))) is same
    index = {str(cell): row for row, cell in enumerate(SPACE)}
    assert (computed[index[one]] == computed[index[other]]) is np.bool_(same)
