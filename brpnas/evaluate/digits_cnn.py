"""The network that comes with the package: digits-cnn, trained on distorted digits."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save

from brpnas.errors import UserError
from brpnas.evaluate.digits import DESCRIPTION, distorted_digits
from brpnas.evaluate.training import Protocol, accuracy_pct, train
from brpnas.files import replace_file
from brpnas.images import ImageSet
from brpnas.models import BUILTIN
from brpnas.reproducible import reproducible

__all__ = ["PROTOCOL", "build_digits_cnn", "digits_image_sets"]

# To the end, with a strong decay: what is left over is what a smaller network does not need.
PROTOCOL = Protocol(epochs=60, batch=64, learning_rate=0.05, weight_decay=2e-3, crop=1, flip=False)


def build_digits_cnn(path: Path, seed: int = 0, protocol: Protocol = PROTOCOL) -> dict[str, str]:
    """Train the network, half a minute, and write its weights with a card.

    Args:
        path: ``.safetensors`` file to write; what it says of itself is the card.
        seed: of the weights and the order of the images.
        protocol: how to train; the card says how.

    Returns:
        The card: its values are text, as safetensors want it.

    Raises:
        UserError: another suffix, or a folder that does not exist.
    """
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise UserError(f"{path}: accepted is a .safetensors file in a folder that exists")
    split = distorted_digits()
    known = BUILTIN["digits-cnn"]
    with reproducible(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = known.build()
        train(module, split, protocol, seed)
        parts = {"train": split.train, "valid": split.valid, "test": split.test}
        accuracies = {
            f"{name}_acc_pct": f"{accuracy_pct(module, part, like=split.train)[0]:.2f}"
            for name, part in parts.items()
            if part is not None
        }
    card = {
        "title": "digits-cnn: four 3 x 3 convolutions and a linear layer, trained on digits",
        **accuracies,
        "split": DESCRIPTION,
        "source": "trained by brpnas on the handwritten digits of scikit-learn (load_digits)",
        "normalisation": str(known.normalisation),
        "conditions": (
            f"SGD with Nesterov momentum {protocol.momentum:g}, {protocol.epochs} epochs, batch "
            f"{protocol.batch}, learning rate {protocol.learning_rate:g} to 0 by a cosine, weight "
            f"decay {protocol.weight_decay:g}, shifts of up to {protocol.crop} pixel, no flips; "
            "batch-norm statistics averaged over the training images at the end; seed "
            f"{seed}, CPU, float32, torch {version('torch')}, one thread"
        ),
        "rebuild": f"brpnas models build digits-cnn --seed {seed} --out {path.name}",
        "licence": "Apache-2.0",
    }
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    replace_file(path, save(state, card))
    return card


def digits_image_sets() -> tuple[ImageSet, ImageSet]:
    """Return images to calibrate and to test the network with; it was trained on neither.

    Those are the validation and the test part of `distorted_digits`.
    """
    split = distorted_digits()
    assert split.test is not None  # noqa: S101 - it has one
    calibration = ImageSet("digits, validation", split.valid.x, split.valid.y)
    return calibration, ImageSet("digits, test", split.test.x, split.test.y)
