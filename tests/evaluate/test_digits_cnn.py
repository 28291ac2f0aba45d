from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brpnas.errors import UserError
from brpnas.evaluate.digits import distorted_digits
from brpnas.evaluate.digits_cnn import PROTOCOL, build_digits_cnn, digits_image_sets
from brpnas.models import BUILTIN, load_model, read_metadata, read_weights

SHORT = replace(PROTOCOL, epochs=2)


def embedded() -> Path:
    path = BUILTIN["digits-cnn"].weights
    assert path is not None
    return path


def test_the_card_says_how_good_it_is() -> None:
    """On images that it was not trained on."""
    card = read_metadata(embedded())
    model = load_model("digits-cnn")
    calibration, test = digits_image_sets()
    for images, name in ((calibration, "valid"), (test, "test")):
        model.check_images(images)
        with torch.inference_mode():
            guesses = model.module(images.tensor(model.normalisation)).argmax(1).numpy()
        accuracy = 100 * np.mean(guesses == images.y)
        assert accuracy == pytest.approx(float(card[f"{name}_acc_pct"]), abs=0.1)
        assert accuracy > 94
    assert card["rebuild"] == "brpnas models build digits-cnn --seed 0 --out digits-cnn.safetensors"
    assert embedded().stat().st_size < 500_000


def test_its_normalisation_is_that_of_the_training_images() -> None:
    pixels = distorted_digits().train.x / 255
    normalisation = BUILTIN["digits-cnn"].normalisation
    assert normalisation.mean == pytest.approx([pixels.mean()], abs=1e-6)
    assert normalisation.std == pytest.approx([pixels.std()], abs=1e-6)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    cards = [
        build_digits_cnn(tmp_path / f"{n}.safetensors", seed, SHORT)
        for n, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = (read_weights(tmp_path / f"{n}.safetensors") for n in range(3))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["linear.weight"], other["linear.weight"])
    assert cards[0]["test_acc_pct"] == cards[1]["test_acc_pct"]
    assert read_metadata(tmp_path / "2.safetensors") == cards[2]
    assert "seed 2" in cards[2]["conditions"]
    assert load_model("digits-cnn", tmp_path / "0.safetensors").classes == 10


@pytest.mark.slow
def test_it_can_be_rebuilt(tmp_path: Path) -> None:
    card = build_digits_cnn(tmp_path / "w.safetensors")
    known = read_metadata(embedded())
    for part in ("valid_acc_pct", "test_acc_pct"):  # on another processor not to the bit
        assert float(card[part]) == pytest.approx(float(known[part]), abs=1)
    assert card["split"] == known["split"]


@pytest.mark.parametrize("name", ["w.pt", "none/w.safetensors"])
def test_files_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"accepted is a \.safetensors file in a folder that exi"):
        build_digits_cnn(tmp_path / name)
