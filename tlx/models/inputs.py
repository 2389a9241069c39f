"""What goes into a model: images, as its weights know them, or token ids."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from tlx.errors import ConfigError
from tlx.fields import Field

IMAGE = "image"
TOKENS = "tokens"

# What every model of images may be told of them; a released checkpoint's own values come from its preprocessor config.
IMAGE_FIELDS = {
    "mean": Field((0.5,), "what is subtracted from pixels of 0 to 1; one number, or one for each channel"),
    "std": Field((0.5,), "what they are then divided by; as many numbers as there are means"),
    "resize": Field(0, "side that images are resized to first, in pixels; 0 to leave them", low=0, high=4096),
}
_SHARE = Field(0.5, "a share of the full range", low=0.0, high=1.0)


def check_input(name: str, takes: str, input_shape: tuple[int, ...]) -> None:
    """Whether a model can read inputs of this shape.

    Args:
      name: of the model.
      takes: `image` or `tokens`.
      input_shape: of one input: [rows, columns, channels] of an image, [length] of token ids.

    Raises:
      ConfigError: of the field `name`, as another model is needed.
    """
    wanted = {IMAGE: "images", TOKENS: "token ids"}[takes]
    if len(input_shape) != {IMAGE: 3, TOKENS: 1}[takes]:
        raise ConfigError("name", f"{name!r} takes {wanted}, but the inputs are {in_words(input_shape)}")


def in_words(input_shape: tuple[int, ...]) -> str:
    """What inputs of a shape are.

    Args:
      input_shape: of one input: [rows, columns, channels] of an image, [length] of token ids.

    Returns:
      Such as `images of 28×28×1`.
    """
    size = "×".join(map(str, input_shape))
    return {3: f"images of {size}", 1: f"sequences of {size} token ids"}.get(len(input_shape), f"arrays of {size}")


def check_images(settings: Mapping[str, Any], input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Whether the images' settings fit them.

    Args:
      settings: a value for each of `IMAGE_FIELDS`.
      input_shape: [rows, columns, channels] of an image.

    Returns:
      The shape of an image as the first layer sees it.

    Raises:
      ConfigError: with the field's own name.
    """
    mean, std, side = settings["mean"], settings["std"], settings["resize"]
    for name in ("mean", "std"):
        for i, value in enumerate(settings[name]):
            _SHARE.check(f"{name}[{i}]", value)
    if len(mean) != len(std):
        raise ConfigError("std", f"{len(std)} numbers, but there are {len(mean)} of mean")
    if min(std) <= 0:
        raise ConfigError("std", "expected numbers above 0")
    rows, columns, channels = input_shape
    if len(mean) not in (1, channels) and channels != 1:
        raise ConfigError("mean", f"{len(mean)} numbers, but the images have {channels} channels")
    return (side or rows, side or columns, max(channels, len(mean)))


def prepared(x_BHWC: jax.Array, mean: Sequence[float], std: Sequence[float], resize: int) -> jax.Array:
    """Images as the weights were trained on them: of their size, channels and statistics.

    Args:
      x_BHWC: float images in [-1, 1].
      mean: of pixels from 0 to 1, one number or one for each channel; gray images get as many channels.
      std: likewise.
      resize: side in pixels, 0 to keep the size.

    Returns:
      [images, rows, columns, channels].
    """
    size = len(x_BHWC)
    if resize and x_BHWC.shape[1:3] != (resize, resize):
        x_BHWC = jax.image.resize(x_BHWC, (size, resize, resize, x_BHWC.shape[-1]), "bilinear", antialias=True)
    if len(mean) > 1 and x_BHWC.shape[-1] == 1:
        x_BHWC = repeat(x_BHWC, "b h w 1 -> b h w c", c=len(mean))
    if set(mean) == set(std) == {0.5}:
        return x_BHWC
    # Pixels are 0.5 + x / 2.
    shift, scale = (rearrange(jnp.asarray(each, x_BHWC.dtype), "c -> 1 1 1 c") for each in (mean, std))
    return (0.5 * x_BHWC + (0.5 - shift)) / scale
