"""Images as bytes: decoded once, cropped and flipped at random, normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lr_env.tasks.sources import data_error

PADDING = 4


def decode_images(name: str, rows: Any, split: str, column: str, size: int) -> Tensor:
    """Return the images in a column of a `datasets.Dataset` as uint8 `[n, 3, size, size]`.

    Raises:
        DataError: something there is no image of that size.
    """
    import datasets

    decoded = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    try:
        images = rows.select_columns(column).cast_column(column, datasets.Image())
        for number, row in enumerate(images):
            image = row[column]
            if image is None or image.size != (size, size):
                what = "missing" if image is None else f"{image.width} by {image.height} pixels"
                raise data_error(
                    name, f"its {split} image {number} is {what}, not {size} by {size}"
                )
            decoded[number] = np.asarray(image.convert("RGB"))
    except (OSError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:160]
        raise data_error(
            name, f"the column {column!r} of its {split} split is not made of images ({why})"
        ) from error
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous()


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return `images` `[n, c, h, w]`, each cropped out of a padded copy and flipped or not.

    The usual augmentation of CIFAR (He et al. 2015, section 4.2): zeros of 4 pixels around, a
    crop of the old size anywhere in it, mirrored with probability one half. Padded pixels are
    black here, before normalisation.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    top, left = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
    mirrored = torch.randint(2, (count,), generator=generator).bool()
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    sample = torch.arange(count)[:, None, None]
    # Indices apart from each other put their dimensions first: [n, h, w, c].
    cropped = padded[sample, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def channel_scales(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation `[c, 1, 1]` of the channels of uint8 images, in bytes."""
    counts = torch.stack([torch.bincount(own.flatten(), minlength=256) for own in images.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64)
    mean = shares @ values
    deviation = ((shares @ values.square()) - mean.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return tuple(own.float().view(-1, 1, 1) for own in (mean, deviation))  # type: ignore[return-value]
