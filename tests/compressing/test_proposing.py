"""Versions that suit a board."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brpnas.compressing import proposing
from brpnas.compressing.subject import Progress, Subject, prepare
from brpnas.devices.fpga import FPGADevice, network_of, read_platform
from brpnas.devices.fpga.network import Network
from brpnas.errors import UserError
from brpnas.models import LoadedModel
from brpnas.spaces import LowRankNetwork

SPAN = (0.3, 0.9)
_ZEDBOARD = read_platform("zedboard")


def board(**resources: int) -> FPGADevice:
    changed = {**_ZEDBOARD.resources, **resources}
    return FPGADevice(dataclasses.replace(_ZEDBOARD, resources=changed))


def propose(
    subject: Subject, device: FPGADevice, count: int, span: tuple[float, float]
) -> list[LowRankNetwork]:
    shown: list[tuple[int, int]] = []
    found = proposing.propose(
        device, subject, count, span, lambda done, total: shown.append((done, total))
    )
    assert [done for done, _ in shown] == sorted({done for done, _ in shown})
    assert not found or shown[-1][0] == shown[-1][1]
    return found


def seconds(subject: Subject, device: FPGADevice, arch: LowRankNetwork) -> float:
    return device.map(network_of(subject.build(arch), subject.images.calibration[:1])).seconds


def damage(subject: Subject, arch: LowRankNetwork) -> float:
    return sum(
        known.damage
        for name, options in subject.space.options.items()
        for known in options
        if known.choice == arch.choices.get(name)
    )


def test_proposals_are_quicker_than_what_is_drawn(subject: Subject) -> None:
    device = board(DSP=100)
    found = propose(subject, device, 16, SPAN)
    assert 4 <= len(found) <= 16
    assert len(set(found)) == len(found)
    drawn = subject.space.draw(40, np.random.default_rng(0))
    known = {arch: (damage(subject, arch), seconds(subject, device, arch)) for arch in drawn}
    beaten = 0
    for arch in found:
        own, time = damage(subject, arch), seconds(subject, device, arch)
        assert own > 0
        beaten += not any(other < own and slower < time for other, slower in known.values())
    assert beaten >= 0.9 * len(found)


def test_the_span_is_kept_as_far_as_layers_tell(subject: Subject) -> None:
    device = board(DSP=100)
    whole = seconds(subject, device, LowRankNetwork())
    narrow = propose(subject, device, 12, (0.45, 0.5))
    assert narrow
    shares = [seconds(subject, device, arch) / whole for arch in narrow]
    assert 0.35 < np.median(shares) < 0.65


def test_what_fits_at_once_is_proposed_where_the_network_does_not(subject: Subject) -> None:
    device = board(DSP=60, BRAM=0, LUT=14000)
    assert seconds(subject, device, LowRankNetwork()) > 0.08  # loaded in two parts
    found = propose(subject, device, 8, SPAN)
    assert min(seconds(subject, device, arch) for arch in found) < 0.001


def test_a_board_that_is_too_small(subject: Subject) -> None:
    assert propose(subject, board(DSP=1), 8, SPAN) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_are_asked_for(subject: Subject, count: int) -> None:
    assert len(propose(subject, board(DSP=100), count, SPAN)) == count


class Twice(nn.Module):
    """One of its layers is called twice, and the name of another looks as if it were."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.again = nn.Conv2d(16, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 32, 3, padding=1)
        self.wide_2 = nn.Conv2d(32, 16, 3, padding=1)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.again(torch.relu(self.again(torch.relu(self.first(x))))))
        x = torch.relu(self.wide_2(torch.relu(self.wide(x))))
        return torch.as_tensor(self.last(x.mean((2, 3))))


def test_a_layer_that_is_called_twice_stays(subject: Subject, bars: Progress) -> None:
    torch.manual_seed(0)
    loaded = LoadedModel("twice", Twice().eval(), None, None)
    own = prepare(loaded, subject.images, cost="macs", seed=0, bars=bars, options=5)
    assert "again" in own.space.options
    found = propose(own, board(DSP=100), 16, SPAN)
    replaced = {name for arch in found for name in arch.choices}
    assert {"wide", "wide_2"} <= replaced <= {"first", "wide", "wide_2", "last"}


def test_a_layer_the_board_cannot_compute_is_left(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(subject.space.options))
    refused = str(subject.space.options[first][2].choice)

    def reading(model: nn.Module, example: Tensor, name: str) -> Network:
        if f"{first}={refused}" in name:
            raise UserError("no such layer")
        return network_of(model, example, name)

    monkeypatch.setattr("brpnas.compressing.proposing.network_of", reading)
    found = propose(subject, board(DSP=100), 16, SPAN)
    assert found
    assert all(str(arch.choices.get(first)) != refused for arch in found)
    assert len({arch.choices.get(name) for arch in found for name in subject.space.options}) > 3
