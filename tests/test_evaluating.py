from __future__ import annotations

import pytest
import torch
from torch import nn

from brpnas.evaluating import evaluating


def test_every_module_gets_its_mode_back_after_an_error_too() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3)).train()
    model[1].eval()

    def fail() -> None:
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [module.training for module in model.modules()] == [True, True, False]


def test_an_exported_program_which_refuses_to_be_switched() -> None:
    program = torch.export.export(nn.Linear(2, 3).train(), (torch.zeros(1, 2),)).module()
    with pytest.raises(NotImplementedError):
        program.eval()
    with evaluating(program), torch.no_grad():
        assert program(torch.zeros(1, 2)).shape == (1, 3)
