"""Adapters that Hugging Face PEFT wrote, as methods of ours with their leaves.

PEFT itself loads a file of which no tensor fits, with a warning or none; here every tensor is used or an error, and so
is every layer that the config names and every field that could change the numbers.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import FileError
from tlx.interop import layout as layouts
from tlx.interop.format import Format
from tlx.interop.layout import Layout
from tlx.interop.peft_base import Base
from tlx.interop.peft_config import read_config
from tlx.interop.peft_contents import COPIES, Contents, open_contents
from tlx.interop.peft_plans import PLANS, Plan, adapted_by
from tlx.interop.released import resized
from tlx.interop.report import RESET, Report, Row
from tlx.models import stack
from tlx.models.registry import Model

Leaves = dict[str, np.ndarray]


def load_adapter(folder: Path | str, format: Format, model: Model) -> tuple[Adapted, dict[str, Any], Report]:
    """An adapter as PEFT's `save_pretrained` writes it.

    Args:
      folder: with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`).
      format: of the base model it was made for.
      model: the base model; where its blocks are scanned, the file must adapt all of them alike.

    Returns:
      The adapted model, whose sequences are shortened where prompts need their positions; the leaves that the file
      holds, float32, for `onto`: adapters, and the head and others in whose place they stand; and what became of every
      tensor.

    Raises:
      FileError: something is missing, left over, misshapen, or not computed by any method of ours.
    """
    folder = Path(folder)
    config = read_config(folder)
    is_scanned = bool(dict(model.settings).get("scan"))
    contents = open_contents(folder, config, Base(format, resized(model, scan=False) if is_scanned else model))
    plan = PLANS[config.kind](contents)
    leaves, report = _read(contents, plan)
    if is_scanned:
        leaves = _stacked(contents, leaves)
    trained = [path for path in leaves if path.startswith("params/") and not path.startswith("params/head/")]
    adapted, adapters = adapted_by(contents, plan, model, trained)
    if plan.method == "ia3":
        leaves, report = _with_ones(leaves, report, adapters)
    found = {path: leaf.shape for path, leaf in leaves.items() if path.startswith("adapters/")}
    wanted = {path: tuple(leaf.shape) for path, leaf in adapters.items()}
    if found != wanted:
        path = next(path for path in sorted({**found, **wanted}) if found.get(path) != wanted.get(path))
        what = f"{found.get(path)} in the file, {wanted.get(path)} in the method {plan.method!r}"
        raise FileError(contents.path, f"does not fit the model: {path!r} is {what}")
    return adapted, tree.unflatten(leaves), report


def onto(variables: Mapping[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The base model's variables with an adapter's leaves added, or put in the place of the base's own.

    Args:
      variables: of the base model.
      leaves: from `load_adapter`.
    """
    return tree.unflatten({**tree.flatten(dict(variables)), **tree.flatten(dict(leaves))})


def _read(contents: Contents, plan: Plan) -> tuple[Leaves, Report]:
    shapes = {path: part.shape for part in plan.parts for path in part.tensor.ours}
    saved = contents.saved
    shapes |= {path: contents.base.leaves[path].shape for tensor in saved for path in tensor.ours}
    unused = (COPIES,) if contents.config.values.get("bias", "none") != "none" else ()
    layout = Layout((*(part.tensor for part in plan.parts), *saved), unused=unused)
    fresh = tree.unflatten({path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in shapes.items()})
    loaded, report = layouts.load(layout, contents.path, contents.file, fresh)
    leaves: Leaves = tree.flatten(loaded)
    rows = {row.ours or row.theirs: row for row in report.rows}
    for part in plan.parts:
        for path in part.shared:
            leaves[path] = leaves[part.tensor.ours[0]]
            rows[path] = replace(rows[part.tensor.ours[0]], ours=path)
    for path, other in plan.fold.items():
        leaves[other] = leaves[other] * leaves.pop(path)
        rows[other] = replace(rows[other], what=f"multiplied by {rows.pop(path).theirs.rpartition('.')[2]}")
    for path, change in plan.changes.items():
        leaves[path] = change.make(leaves[path])
        said = [rows[path].what, change.said] if rows[path].what != "copied" else [change.said]
        rows[path] = replace(rows[path], what=", ".join(said), shape=leaves[path].shape)
    return leaves, Report(tuple(rows.values()))


def _stacked(contents: Contents, leaves: Leaves) -> Leaves:
    try:
        joined: Leaves = tree.flatten(stack.stacked(tree.unflatten(leaves)))
    except ValueError:
        raise FileError(contents.path, "adapts its blocks in different ways; load it with scan = false") from None
    return joined


def _with_ones(leaves: Leaves, report: Report, adapters: Mapping[str, Any]) -> tuple[Leaves, Report]:
    """Factors of one where the method has some and the file has none."""
    ones = {path: np.ones(leaf.shape, np.float32) for path, leaf in adapters.items() if path not in leaves}
    rows = tuple(Row(path, "", RESET, leaf.shape) for path, leaf in ones.items())
    return {**leaves, **ones}, Report((*report.rows, *rows))
