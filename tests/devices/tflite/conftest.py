"""Run and read TFLite models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brpnas.devices.tflite import schema
from brpnas.devices.tflite.writer import write

pytest.importorskip("ai_edge_litert", reason="needs the extra 'measure'")

Run = Callable[[bytes, Tensor], NDArray[Any]]
Operators = Callable[[bytes], list[str]]
Error = Callable[[nn.Module, Tensor], float]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a model on an input in the model's own type."""
    from ai_edge_litert.interpreter import Interpreter

    def run(content: bytes, x: Tensor) -> NDArray[Any]:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(source["index"], x.numpy())
        interpreter.invoke()
        result: NDArray[Any] = interpreter.get_tensor(target["index"])
        return result

    return run


@pytest.fixture(scope="session")
def operators() -> Operators:
    """Lists a model's operators, with the activation that is fused into each."""
    codes, activations = schema.names("BuiltinOperator"), schema.names("ActivationFunctionType")

    def operators(content: bytes) -> list[str]:
        model = schema.tables().ModelT.InitFromPackedBuf(content, 0)
        found = []
        for one in model.subgraphs[0].operators:
            name = codes[model.operatorCodes[one.opcodeIndex].builtinCode]
            fused = getattr(one.builtinOptions, "fusedActivationFunction", 0)
            found.append(f"{name}+{activations[fused]}" if fused else name)
        return found

    return operators


@pytest.fixture(scope="session")
def error(run: Run) -> Error:
    """Largest difference between the written model and torch, as a part of the largest output."""

    def error(module: nn.Module, x: Tensor) -> float:
        module.eval()
        written = run(write(module, x, "tested").content, x)
        with torch.no_grad():
            expected: NDArray[np.float32] = module(x).numpy()
        assert written.shape == expected.shape
        return float(np.abs(written - expected).max() / np.abs(expected).max())

    return error


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Gives a module random weights and statistics, as after training."""

    def randomise(module: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        for name, value in module.state_dict().items():
            if not value.dtype.is_floating_point:
                continue
            if "running_var" in name:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            else:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
        return module.eval()

    return randomise
