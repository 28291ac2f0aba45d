"""``brpnas models``: networks that the package can build, and the one that it can train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brpnas.cli._options import Json, seed_option
from brpnas.cli._output import note, print_json, show, show_result
from brpnas.errors import UserError

__all__ = ["models"]

models = typer.Typer(
    no_args_is_help=True, help="List the networks that can be built, and train the one included."
)


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the networks that --model knows by name."""
    from brpnas.models import BUILTIN

    if as_json:
        facts = {
            name: {
                "title": one.title,
                "image_shape": list(one.image_shape),
                "classes": one.classes,
                "normalisation": str(one.normalisation),
                "weights": one.weights is not None,
            }
            for name, one in BUILTIN.items()
        }
        print_json({"models": facts})
        return
    rows = [
        (name, one.title, " x ".join(map(str, one.image_shape)), one.classes)
        for name, one in BUILTIN.items()
    ]
    show("Networks", ("name", "title", "channels x height x width", "classes"), rows)


@models.command()
def describe(
    weights: Annotated[
        str, typer.Argument(help="digits-cnn, or a .safetensors file that says where it is from.")
    ],
    as_json: Json = False,
) -> None:
    """Show the card of trained weights: accuracy, images, how they were trained."""
    from brpnas.models import BUILTIN, read_metadata

    known = BUILTIN.get(weights)
    if known and known.weights is None:
        raise UserError(f"{weights} comes without weights")
    card = read_metadata((known and known.weights) or Path(weights))
    show_result(weights, card, as_json)


@models.command()
def build(
    name: Annotated[str, typer.Argument(help="What to train: digits-cnn.")],
    out: Annotated[Path, typer.Option(help="Weights to write: .safetensors.")],
    seed: Annotated[int, seed_option("the first weights and the order of the images")] = 0,
    as_json: Json = False,
) -> None:
    """Train the network that comes with the package, on small digits. Takes half a minute."""
    from brpnas.evaluate.digits_cnn import build_digits_cnn
    from brpnas.resolver import resolve

    card = resolve("network to train", name, {"digits-cnn": build_digits_cnn})(out, seed)
    if as_json:
        print_json({"out": str(out), "card": card})
    else:
        note(f"{out}: {card['test_acc_pct']}% of the test images")
