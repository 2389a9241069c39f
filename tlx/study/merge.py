"""What a cell of a study trained, folded into a plain model of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tlx import artifact, tree
from tlx.adapt.merging import gap, merge
from tlx.checkpoint import load_artifact, save_artifact
from tlx.errors import CheckpointError, ConfigError, FileError, RuleError
from tlx.models.inputs import TOKENS
from tlx.models.registry import Model
from tlx.records import Records
from tlx.seeds import derive
from tlx.study.context import fresh_variables
from tlx.study.copied import above
from tlx.study.plan import resets
from tlx.study.weights import MERGED, moved, open_weights
from tlx.surgery import transplant

# The inputs on which both models are compared.
INPUTS, SEED = 32, 0


@dataclass(frozen=True)
class Outcome:
    """A merged cell.

    Args:
      cell: its id.
      changed: leaves of the base model that are others now.
      gap: largest absolute difference between the logits of the adapted and the merged model.
      inputs: random inputs it was taken over.
      folder: where the merged leaves are.
    """

    cell: str
    changed: int
    gap: float
    inputs: int
    folder: str

    def line(self) -> str:
        """One line for the terminal."""
        leaves = f"{self.changed} {'leaf' if self.changed == 1 else 'leaves'} changed"
        return f"{leaves}; logits differ by at most {self.gap:.2g} on {self.inputs} random inputs; {self.folder}"


def merge_cell(work: Path, prefix: str, out: Path) -> Outcome:
    """Merge the adapters of a finished cell into plain leaves, and save those.

    Args:
      work: of a study that was run with `config.artifacts=True`.
      prefix: the beginning of a cell's id that no other cell has.
      out: folder to write; does not exist, or holds the same.

    Returns:
      What was done. The leaves are `params`, and `batch_stats` where there are any.

    Raises:
      FileError: there is no such cell, or nothing was kept of it.
      CheckpointError: the leaves it began with are gone, or `out` holds something else.
      ConfigError: its method adds what no plain model has a place for.
    """
    record, kept, _ = kept_of(work, prefix)
    try:
        merged = merge(kept.adapted, kept.variables)
    except ConfigError as error:
        raise error.within(f"config.adapt.{record['cell']['entry']}.method") from None
    meta = {
        "kind": MERGED,
        "model": artifact.describe_model(kept.adapted.model),
        "method": record["cell"]["method"],
        "cell": record["id"],
    }
    save_artifact(out, merged.variables, meta | {"lineage": record["lineage"]})
    difference = gap(kept.adapted, kept.variables, merged, random_inputs(kept.adapted.model))
    return Outcome(record["id"], len(merged.kept), difference, INPUTS, str(out))


def kept_of(work: Path, prefix: str) -> tuple[dict[str, Any], artifact.Artifact, dict[str, Any]]:
    """What was kept of a cell, on the leaves it began with.

    Args:
      work: of a study that was run with `config.artifacts=True`.
      prefix: the beginning of a cell's id that no other cell has.

    Returns:
      The record, the adapted model, and the config of the cell's source, empty where it had none.

    Raises:
      FileError: there is no such cell, or nothing was kept of it.
      CheckpointError: the leaves it began with are gone.
    """
    records = Records(work)
    record = find(records, prefix)
    folder = work / "artifacts" / record["id"]
    if not folder.is_dir():
        raise FileError(
            folder, "nothing was kept of this cell; run the study with --config.artifacts=True in a new --workdir"
        )
    model = artifact.model_from(folder, load_artifact(folder).meta["model"])
    name = (record["lineage"] or {}).get("source")
    source: dict[str, Any] = records.manifest()["config"]["sources"][name] if name else {}
    return record, artifact.load(folder, _base(work, record, model, source)), source


def find(records: Records, prefix: str) -> dict[str, Any]:
    """The record of the one cell whose id begins so.

    Args:
      records: of a study.
      prefix: the beginning of the id, or all of it.

    Returns:
      The record.

    Raises:
      FileError: no finished cell has such an id, or several have.
    """
    every = sorted(cell["id"] for cell in records.manifest()["cells"])
    ids = [name for name in every if name.startswith(prefix)]
    if len(ids) != 1:
        several = f"begins the ids of {len(ids)} cells ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
        raise FileError(records.folder, f"{prefix!r} {several if ids else 'begins the id of no cell'}")
    return records.get(ids[0])


def random_inputs(model: Model, size: int = INPUTS, seed: int = SEED) -> jax.Array:
    """Inputs of a model from a fixed seed: pixels from U(-1, 1), or token ids.

    Args:
      model: the architecture.
      size: number of examples.
      seed: integer.

    Returns:
      [size, ...].
    """
    key, shape = jax.random.key(seed), (size, *model.input_shape)
    if model.kind.takes == TOKENS:
        return jax.random.randint(key, shape, 0, dict(model.settings)["vocab"], jnp.int32)
    return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)


def _base(work: Path, record: Mapping[str, Any], model: Model, source: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves the cell began with, as `starts.initial_variables` made them."""
    fresh = fresh_variables(model, record["cell"]["seed"])
    if record["lineage"] is None:
        return fresh
    digest = record["lineage"]["checkpoint"]
    if source.get("checkpoint"):
        found = _released(source["checkpoint"], model, digest)
    elif record["lineage"].get("objective"):
        found = _trained(work, digest, _starts_of_tokens(work, model, derive(source["seed"], "source")))
    else:
        found = _trained(work, digest)
    copied = record["config"]["entry"].get("copied", 0)
    return transplant(found, fresh, (*resets(fresh), *above(model, copied)))[0]


def _released(path: str, model: Model, digest: str) -> dict[str, Any]:
    """The leaves of a checkpoint that is not ours to keep, if it still holds them."""
    weights = open_weights(path)
    leaves, _, _ = weights.load(weights.for_study(model.settings, model.input_shape, model.num_classes))
    if tree.digest(leaves) != digest:
        raise CheckpointError(weights.path, "no longer holds what the cell began with")
    return leaves


def _starts_of_tokens(work: Path, model: Model, seed: int) -> list[dict[str, Any]]:
    """Trees that a source of tokens may have gone on as: under the fresh head of any of the study's targets."""
    counts = {len(record["data"]["train"].get("per_class", (0,))) for record in Records(work).load_all()}
    return [fresh_variables(replace(model, num_classes=count), seed) for count in sorted(counts)]


def _trained(work: Path, digest: str, others: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The leaves with this digest that were pre-trained here, as they are or moved to another tree."""
    for path in sorted((work / "sources").glob("*/*"), reverse=True):
        try:
            state = load_artifact(path).tree["state"]
        except CheckpointError:
            continue  # damaged, or put aside as such; another may be the one
        leaves = {**(state.get("ema") or state["trainable"]), **state.get("stats", {})}
        if tree.digest(leaves) == digest:
            return leaves
        for fresh in others:
            try:
                other = moved(jax.tree.map(jnp.asarray, leaves), fresh)
            except RuleError:
                break  # an earlier study's, of another model
            if tree.digest(other) == digest:
                return other
    raise CheckpointError(work / "sources", "holds no intact checkpoint the cell began with; run the study again")
