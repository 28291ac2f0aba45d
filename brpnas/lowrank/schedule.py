"""How long, and how, a super-network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from brpnas.errors import UserError

__all__ = ["Draws", "GradientSchedule"]


@dataclass(frozen=True)
class Draws:
    """How mixtures of options are drawn; the defaults are the quick way.

    Attributes:
        images: that share a draw; fewer of them mean more draws in a step, and more time for each.
        temperature: of the first epoch; high: all options are mixed, low: nearly one is taken.
        cooling: what the temperature is multiplied by after each epoch.
        options: of each layer that a step draws, without replacement, by
            softmax(theta / temperature); it mixes those only. None: all are mixed.

    Raises:
        UserError: a number out of its range.
    """

    images: int = 16
    temperature: float = 0.5
    cooling: float = 1.0
    options: int | None = None

    def __post_init__(self) -> None:
        _check_at_least("images of a draw", self.images, 1)
        _check_positive("temperature", self.temperature)
        _check_positive("cooling", self.cooling)
        if self.options is not None:
            _check_at_least("options drawn", self.options, 2)


@dataclass(frozen=True)
class GradientSchedule:
    """How a super-network is trained; the defaults are the quick way.

    Attributes:
        epochs: after each of them the state is kept, and the temperature falls.
        steps: of the optimiser, in an epoch.
        batch: images of a step.
        draws: of options.
        learning_rate: for theta.
        adam: whether it is Adam's, where each theta moves as fast as any other, however seldom its
            option is drawn. Else gradients are followed with momentum, all divided by their common
            root mean square, so that rare options, whose gradients are small, move little.
        held_out: share of the images that are not trained with, but tell which epoch's theta to
            decide by, that of the start among them. 0: it is the last one.

    Raises:
        UserError: a number out of its range.
    """

    epochs: int = 6
    steps: int = 10
    batch: int = 128
    draws: Draws = field(default_factory=Draws)
    learning_rate: float = 0.1
    adam: bool = False
    held_out: float = 0.5

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch"):
            _check_at_least(name, getattr(self, name), 1)
        _check_positive("learning_rate", self.learning_rate)
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out of the gradient search: 0 or more and less than 1, "
                            f"not {self.held_out}")  # fmt: skip

    @classmethod
    def published(cls, images: int) -> GradientSchedule:
        """Return that of SVD-NAS: 100 epochs, two options of each layer in a step.

        Args:
            images: how many there are; an epoch goes over all of them.
        """
        draws = Draws(1, 5.0, 0.965, 2)
        return cls(100, max(1, images // 128), 128, draws, 0.01, adam=True, held_out=0.0)


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{name} of the gradient search: at least {least}, not {value}")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise UserError(f"{name} of the gradient search: a number above 0, not {value}")
