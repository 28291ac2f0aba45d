"""How windows slide over an image: torch's paddings, and the two that TFLite has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brpnas.devices.tflite.graph import Options, UnsupportedError

__all__ = ["Windows"]


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution or a pool; every sequence is (height, width).

    Attributes:
        image: size of what they slide over.
        size: of a window, dilation included.
        steps: strides.
        before: padding at the top and the left.
        after: padding at the bottom and the right.
        ceil_mode: whether a window may end beyond the padding, as torch's pools allow.
    """

    image: Sequence[int]
    size: Sequence[int]
    steps: Sequence[int]
    before: Sequence[int]
    after: Sequence[int]
    ceil_mode: bool = False

    @property
    def outputs(self) -> tuple[int, ...]:
        """How many windows there are."""
        counts = []
        for n, k, s, b, a in self._axes():
            room = n + b + a - k
            if room < 0:
                raise UnsupportedError(
                    f"a window of {k} on an image of {n} with padding {b} and {a}"
                )
            count = room // s + 1
            # torch's rule: the last window has to begin inside the image or the padding before it
            if self.ceil_mode and room % s and count * s < n + b:
                count += 1
            counts.append(count)
        return tuple(counts)

    @property
    def overhang(self) -> tuple[int, ...]:
        """How far the last windows reach beyond the image, from 0."""
        return tuple(
            max((count - 1) * s + k - n - b, 0)
            for count, (n, k, s, b, _) in zip(self.outputs, self._axes(), strict=True)
        )

    @property
    def scheme(self) -> str | None:
        """TFLite's padding that places every window alike: SAME, VALID or neither."""
        beyond = tuple(zip(self.before, self.overhang, strict=True))
        if not any(map(any, beyond)):
            return "VALID"
        for (before, after), count, (n, k, s, _, _) in zip(
            beyond, self.outputs, self._axes(), strict=True
        ):
            total = max((count - 1) * s + k - n, 0)
            if count != -(-n // s) or (before, after) != (total // 2, total - total // 2):
                return None
        return "SAME"

    def pool_options(self, scheme: str) -> Options:
        """Fields of TFLite's Pool2DOptions."""
        return (
            ("Padding", scheme),
            ("StrideH", self.steps[0]),
            ("StrideW", self.steps[1]),
            ("FilterHeight", self.size[0]),
            ("FilterWidth", self.size[1]),
        )

    def _axes(self) -> list[tuple[int, int, int, int, int]]:
        return list(zip(self.image, self.size, self.steps, self.before, self.after, strict=True))
