"""Compressed images in a column of a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from brpnas.errors import DAMAGE, UserError, one_line
from brpnas.images.decoding import Pixels, decode_all
from brpnas.images.image_set import ImageSet

__all__ = ["read_parquet"]

_IMAGES = ("jpeg", "image", "png", "img")
_LABELS = ("label", "y", "labels", "fine_label")


def read_parquet(path: Path, pixels: Pixels) -> ImageSet:
    """Read a file with one image in each row.

    The images are bytes of an image file in a column ``jpeg``, ``image``, ``png`` or ``img``, or
    the field ``bytes`` of such a column; their classes, if there, integers in a column ``label``,
    ``y``, ``labels`` or ``fine_label``. The first name that is there counts.

    Args:
        path: of the file.
        pixels: how the images are to come out.

    Raises:
        UserError: no such file or columns, missing values, an image that cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        # Given the file, not its path, pyarrow takes no neighbours for parts of it.
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            image = next((name for name in _IMAGES if name in names), None)
            label = next((name for name in _LABELS if name in names), None)
            table = file.read([name for name in (image, label) if name])
            table.validate(full=True)
    except (OSError, pa.ArrowException, *DAMAGE) as error:
        raise UserError(f"{path}: not a readable Parquet file ({one_line(error)})") from None
    if image is None:
        raise UserError(
            f"{path}: no column of images; accepted: {', '.join(_IMAGES)}; there are: "
            f"{', '.join(names)}"
        )
    contents = _column(path, table, image)
    if pa.types.is_struct(contents.type) and contents.type.get_field_index("bytes") >= 0:
        contents = contents.combine_chunks().field("bytes")
    if not (pa.types.is_binary(contents.type) or pa.types.is_large_binary(contents.type)):
        raise UserError(f"{path}: column '{image}' holds {contents.type}, not bytes of images")
    rows = ((f"{path}, row {row}", one.as_py() or b"") for row, one in enumerate(contents))
    x = decode_all(rows, len(contents), pixels)
    return ImageSet(str(path), x, None if label is None else _labels(path, table, label))


def _labels(path: Path, table: Any, name: str) -> NDArray[np.int64]:  # noqa: ANN401 - untyped
    y: NDArray[np.int64] = _column(path, table, name).to_numpy()
    return y


def _column(path: Path, table: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    if table.column_names.count(name) != 1:
        raise UserError(f"{path}: column '{name}' appears twice")
    column = table.column(name)
    if not len(column) or column.null_count:
        raise UserError(
            f"{path}: column '{name}' lacks {column.null_count:,} of {len(column):,} values"
        )
    return column
