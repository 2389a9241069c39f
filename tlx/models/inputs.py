"""What goes into a model: images or token ids, told apart by the shape of one input."""

from tlx.errors import ConfigError

IMAGE = "image"
TOKENS = "tokens"


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
    size = "×".join(map(str, input_shape))
    found = {3: f"images of {size}", 1: f"sequences of {size} token ids"}.get(len(input_shape), f"arrays of {size}")
    if len(input_shape) != {IMAGE: 3, TOKENS: 1}[takes]:
        raise ConfigError("name", f"{name!r} takes {wanted}, but the inputs are {found}")
