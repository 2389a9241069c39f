"""Checkpoints: exact, whole or not there, never silently damaged, never silently started over."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tlx.atomic import digest_json
from tlx.checkpoint import Checkpoints, load_artifact, save_artifact
from tlx.errors import CheckpointError, FileError
from tlx.tree import digest


class Moments(NamedTuple):
    count: Any
    mu: Any


def tree(step: int) -> dict[str, Any]:
    """Leaves that Orbax keeps in different files, all of them different in every step."""
    kernel = np.arange(4096, dtype=np.float32).reshape(64, 64) + step
    return {"params": {"kernel": kernel, "bias": np.zeros(3) + step}, "step": np.int32(step), "none": {}}


def test_every_kind_of_leaf_comes_back_exactly(tmp_path: Path) -> None:
    saved = {
        "bool": jnp.array([True, False]),
        "int32": jnp.int32(-7),
        "uint32": jnp.array([0, 2**32 - 1], jnp.uint32),
        "float32": jnp.array([[jnp.nan, -0.0, jnp.inf, 1e-45]]),
        "bfloat16": jnp.array([1 / 3, 3e38], jnp.bfloat16),
        "scalar": {"bfloat16": jnp.bfloat16(2), "bool": np.bool_(True)},
        "no numbers": np.zeros((0, 3), np.float32),
        "no leaves": {"at all": {}},
    }
    Checkpoints(tmp_path).save(3, saved, {"best": 0.5, "classes": ["ü"]})
    restored = Checkpoints(tmp_path).restore()
    assert restored is not None and (restored.step, restored.meta) == (3, {"best": 0.5, "classes": ["ü"]})
    assert restored.digest == digest(saved) == digest(restored.tree)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(restored.tree))
    again = Checkpoints(tmp_path).restore(like=saved)
    assert again is not None and jax.tree.structure(again.tree) == jax.tree.structure(saved)
    assert digest(again.tree) == digest(saved)


def test_any_pytree_comes_back_as_what_it_was(tmp_path: Path) -> None:
    state = (Moments(jnp.int32(1), {"a": jnp.ones(2)}), (), {"lr": jnp.float32(0.1)})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    restored = checkpoints.restore(like=state)
    assert restored is not None and isinstance(restored.tree[0], Moments)
    assert jax.tree.structure(restored.tree) == jax.tree.structure(state)
    assert digest(restored.tree) == digest(state)


def test_leaves_go_to_the_devices_asked_for(tmp_path: Path) -> None:
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    saved = jnp.arange(4.0 * jax.device_count())
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": jax.device_put(saved, split), "b": saved}, {})
    abstract = jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=split)
    restored = checkpoints.restore(like={"a": abstract, "b": np.zeros_like(saved)})
    assert restored is not None and restored.tree["a"].sharding == split
    assert len(restored.tree["a"].addressable_shards) == jax.device_count()
    assert type(restored.tree["b"]) is np.ndarray
    np.testing.assert_array_equal(restored.tree["a"], restored.tree["b"])


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").restore() is None
    assert Checkpoints(tmp_path).steps() == []


def test_only_the_newest_are_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in range(0, 10, 2):
        checkpoints.save(step, tree(step), {})
        assert checkpoints.steps() == list(range(0, step + 1, 2))[-3:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000004", "00000006", "00000008"]
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpoints(tmp_path, keep=0)
    assert capfd.readouterr() == ("", "")


def test_a_saved_step_is_never_contradicted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, tree(5), {})
    checkpoints.save(5, tree(5), {})
    with pytest.raises(CheckpointError, match="00000005: holds another tree"):
        checkpoints.save(5, tree(6), {})
    with pytest.raises(CheckpointError, match="holds step 5, so step 4 cannot be saved"):
        checkpoints.save(4, tree(4), {})
    restored = checkpoints.restore()
    assert restored is not None and restored.digest == digest(tree(5)) and checkpoints.steps() == [5]


def test_another_tree_than_expected_names_the_leaf(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1), {})
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree(1))
    wrong = {
        r"has no leaf 'head/bias'": {**like, "head": {"bias": like["step"]}},
        r"has a leaf 'step' too many": {"params": like["params"]},
        r"leaf 'step' has shape \[\], not \[1\]": {**like, "step": jax.ShapeDtypeStruct((1,), "int32")},
        r"leaf 'step' has dtype int32, not uint32": {**like, "step": jax.ShapeDtypeStruct((), "uint32")},
    }
    for message, other in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            checkpoints.restore(other)
    assert checkpoints.steps() == [1]


def test_trees_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"differ only in '/' and '\.'"):
        save_artifact(tmp_path / "a", {"a.b": np.zeros(1), "a": {"b": np.ones(1)}}, {})
    with pytest.raises(CheckpointError, match="leaf 'name' is not an array of numbers"):
        save_artifact(tmp_path / "a", {"name": "resnet"}, {})
    with pytest.raises(ValueError, match="meta.loss is nan"):
        save_artifact(tmp_path / "a", tree(1), {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


# --- damage -------------------------------------------------------------------------------------------


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"1"


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "truncate": lambda data: data[: len(data) // 2],
    "flip one bit": flip,
    "zero": lambda data: bytes(len(data)),
    "delete": lambda data: None,
}


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two steps")
    for step in (1, 2):
        Checkpoints(folder).save(step, tree(step), {"step": step})
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if (damaged := DAMAGES[how](data)) is None:
        path.unlink()
    else:
        path.write_bytes(damaged)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_never_used(two_steps: Path, tmp_path: Path, how: str) -> None:
    names = [path.relative_to(two_steps) for path in files(two_steps / "00000002")]
    assert len(names) >= 10
    for number, name in enumerate(names):
        folder = shutil.copytree(two_steps, tmp_path / str(number))
        damage(folder / name, how)
        said: list[str] = []
        restored = Checkpoints(folder, warn=said.append).restore()
        assert restored is not None and (restored.step, restored.meta) == (1, {"step": 1})
        assert restored.digest == digest(restored.tree) == digest(tree(1))
        assert len(said) == 1 and "\n" not in said[0] and len(said[0]) < 500
        assert "step 2 is damaged: " in said[0] and said[0].endswith("put aside, going on from step 1")
        assert (folder / "00000002.damaged").is_dir() and Checkpoints(folder).steps() == [1]
        Checkpoints(folder).save(2, tree(2), {})
        assert Checkpoints(folder).steps() == [1, 2]


def test_each_damaged_step_is_put_aside_under_its_own_name(two_steps: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    Checkpoints(folder, keep=3).save(3, tree(3), {})
    for name in ("00000002", "00000003"):
        (folder / name / "manifest.json").unlink()
    said: list[str] = []
    restored = Checkpoints(folder, warn=said.append).restore()
    assert restored is not None and restored.step == 1 and len(said) == 1
    assert "step 3 is damaged" in said[0] and "step 2 is damaged" in said[0]
    Checkpoints(folder).save(2, tree(2), {})
    (folder / "00000002" / "manifest.json").unlink()
    assert Checkpoints(folder, warn=said.append).restore() is not None
    names = ["00000001", "00000002.damaged", "00000002.damaged-2", "00000003.damaged"]
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("how", DAMAGES)
def test_without_an_intact_step_nothing_is_touched(two_steps: Path, tmp_path: Path, how: str) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    for step in ("00000001", "00000002"):
        damage(folder / step / "manifest.json", how)
    before = {path: path.read_bytes() for path in files(folder)}
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no step is intact") as caught:
            Checkpoints(folder).restore()
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="is damaged"):
        Checkpoints(folder).save(2, tree(9), {})
    assert {path: path.read_bytes() for path in files(folder)} == before


def test_no_manifest_no_checkpoint(two_steps: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    (folder / "00000002" / "manifest.json").unlink()
    assert Checkpoints(folder).steps() == [1]


def test_a_step_under_another_name_is_not_used(two_steps: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    shutil.copytree(folder / "00000001", folder / "00000007")
    said: list[str] = []
    restored = Checkpoints(folder, warn=said.append).restore()
    assert restored is not None and restored.step == 2 and "it is step 1 under another name" in said[0]


def rewrite(path: Path, **changes: Any) -> None:
    manifest = {**json.loads(path.read_text()), **changes}
    del manifest["digest"]
    path.write_text(json.dumps({**manifest, "digest": digest_json(manifest)}))


def test_arrays_of_another_step_are_not_used(two_steps: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    shutil.rmtree(folder / "00000002" / "tree")
    shutil.copytree(folder / "00000001" / "tree", folder / "00000002" / "tree")
    with pytest.raises(CheckpointError, match=r"is damaged: tree/\S+ is (missing|not as it was written)"):
        load_artifact(folder / "00000002")
    other = json.loads((folder / "00000001" / "manifest.json").read_text())["files"]
    rewrite(folder / "00000002" / "manifest.json", files=other)
    with pytest.raises(CheckpointError, match="leaf 'params/bias' has sha256"):
        load_artifact(folder / "00000002")
    said: list[str] = []
    restored = Checkpoints(folder, warn=said.append).restore()
    assert restored is not None and restored.step == 1 and len(said) == 1


def test_a_newer_format_is_refused_by_name(two_steps: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")
    rewrite(folder / "00000002" / "manifest.json", format=99)
    with pytest.raises(CheckpointError, match="newer tlx .format 99, this one knows 1.; update"):
        Checkpoints(folder).restore()
    assert Checkpoints(folder).steps() == [1, 2]


def test_what_orbax_cannot_read_is_not_called_damaged(
    two_steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(two_steps, tmp_path / "a")

    def fail(*args: object) -> None:
        raise MemoryError("no memory\nleft")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with pytest.raises(CheckpointError, match="is as it was written, but .*: MemoryError: no memory$"):
        Checkpoints(folder).restore()
    assert Checkpoints(folder).steps() == [1, 2]


# --- writers that do not finish ------------------------------------------------------------------------


def test_a_failed_save_leaves_the_earlier_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1), {})

    def full(self: object, path: Any, **kwargs: object) -> None:
        Path(path).mkdir(parents=True)
        raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device\nand many more lines")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "save", full)
        with pytest.raises(FileError, match=r"could not be written \(16412 bytes\): the disk is full"):
            checkpoints.save(2, tree(2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    checkpoints.save(2, tree(2), {})
    assert checkpoints.steps() == [1, 2]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tlx.checkpoint import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]))
restored = checkpoints.restore()
start = 0 if restored is None else restored.step
print("ready", start, flush=True)
for step in range(start + 1, 10_000):
    tree = {"a": np.full(10_000, step, np.float32), "b": {"c": np.int32(step)}}
    checkpoints.save(step, tree, {"step": step})
"""


@pytest.mark.chaos
def test_killed_while_saving(tmp_path: Path) -> None:
    chance = random.Random(20)
    newest = 0
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == f"ready {newest}\n"
            time.sleep(chance.uniform(0.2, 0.6))
            writer.send_signal(signal.SIGKILL)
        restored = Checkpoints(tmp_path, warn=pytest.fail).restore()
        assert restored is not None and restored.step >= newest and restored.meta == {"step": restored.step}
        assert np.all(restored.tree["a"] == restored.step) and restored.tree["b"]["c"] == restored.step
        newest = restored.step
    assert newest >= 3


# --- artifacts ----------------------------------------------------------------------------------------


def test_an_artifact_is_one_folder_and_orbax_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "mnist"
    save_artifact(folder, tree(4), {"test_accuracy": 0.95}, step=4)
    save_artifact(folder, tree(4), {"test_accuracy": 0.95}, step=4)
    artifact = load_artifact(folder, like=tree(0))
    assert (artifact.step, artifact.meta, artifact.digest) == (4, {"test_accuracy": 0.95}, digest(tree(4)))
    with ocp.PyTreeCheckpointer() as orbax:
        assert digest(orbax.restore(folder / "tree")) == digest(tree(4))
    with pytest.raises(CheckpointError, match="mnist: holds another tree"):
        save_artifact(folder, tree(5), {})
    with pytest.raises(CheckpointError, match="elsewhere: there is no checkpoint here"):
        load_artifact(tmp_path / "elsewhere")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="mnist: is damaged: manifest.json is not as it was written"):
        load_artifact(folder)


def test_a_relative_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Checkpoints(Path("here")).save(1, {"a": np.arange(3)}, {})
    restored = Checkpoints(Path("here")).restore()
    assert restored is not None
    np.testing.assert_array_equal(restored.tree["a"], [0, 1, 2])
