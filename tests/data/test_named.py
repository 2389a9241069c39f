"""Data sets by TFDS's names: found on disk with and without their class, prepared, and refused in one line."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
import tiny_tfds  # noqa: F401

from tlx.data.describe import describe, is_text
from tlx.data.pipeline import load_arrays
from tlx.data.source import open_split, prepare, shared_examples
from tlx.errors import FileError, TlxError

NAME = "tfds:tiny_signs"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    prepare(NAME, folder)
    return folder


def texts(name: str, split: str, data_dir: Path | str) -> list[str]:
    source = open_split(name, split, data_dir)
    return [example["text"].decode() for example in source.__getitems__(list(range(len(source))))]


def orphan(folder: Path, name: str, data_dir: Path) -> None:
    """A prepared data set under a name that no class has."""
    shutil.copytree(folder, data_dir)
    info = json.loads((data_dir / "dataset_info.json").read_text())
    (data_dir / "dataset_info.json").write_text(json.dumps(info | {"name": name}))
    for file in data_dir.glob("tiny_signs-*"):
        file.rename(file.with_name(file.name.replace("tiny_signs", name)))


def test_a_builder_of_tfds_is_prepared_and_read_by_role(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == ["downloads", "tiny_signs"]
    assert texts(NAME, "train", made) == [f"sentence {i}" for i in range(10)]
    source = open_split(NAME, "train[4:6]", made)
    assert [example["label"] for example in source.__getitems__([0, 1])] == [0, 1]
    assert (source.dataset_info.name, source.split, len(source)) == (NAME, "train[4:6]", 2)
    assert describe(NAME, made, 7) == ((7,), 2)
    assert is_text(NAME, made)
    assert shared_examples(NAME, "train[:50%]", "train[4:]", made) == 1


def test_options_say_which_feature_is_the_label(made: Path) -> None:
    other = f"{NAME}?label=other"
    assert describe(other, made, 7) == ((7,), 3)
    assert [e["label"] for e in open_split(other, "test", made).__getitems__([0, 1, 2])] == [0, 1, 2]
    score = open_split(f"{NAME}?score=strength", "test", made)
    assert [e["score"] for e in score.__getitems__([0, 1, 2])] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("label=othr", r"there is no feature 'othr' for label \(did you mean 'other'\?\)"),
        ("label=strength", r"feature 'strength' is no class label \(there are other, sentence, sign, strength\)"),
        ("image=sentence", r"feature 'sentence' is no image \(there are"),
    ],
)
def test_a_wrong_feature(made: Path, options: str, message: str) -> None:
    with pytest.raises(TlxError, match=rf"^dataset tfds:tiny_signs\?{options}: {message}"):
        describe(f"{NAME}?{options}", made, 7)


def test_configs_and_versions(made: Path, tmp_path: Path) -> None:
    prepare("tfds:tiny_signs/loud:2.1.0", tmp_path)
    assert (tmp_path / "tiny_signs/loud/2.1.0/dataset_info.json").is_file()
    assert texts("tfds:tiny_signs/loud", "test", tmp_path) == ["sentence 0!", "sentence 1!", "sentence 2!"]
    with pytest.raises(TlxError, match=r"TFDS has no config 'luod' of it \(did you mean 'loud'\?\)$"):
        prepare("tfds:tiny_signs/luod", tmp_path)
    with pytest.raises(TlxError, match=r"^dataset tfds:tiny_signs:9\.0\.0: .*9\.0\.0") as caught:
        prepare("tfds:tiny_signs:9.0.0", tmp_path)
    assert "\n" not in str(caught.value)


def test_what_the_user_prepared_is_opened_without_its_class(made: Path, tmp_path: Path) -> None:
    orphan(made / "tiny_signs/plain/2.1.0", "orphan", tmp_path / "orphan/3.0.0")
    orphan(made / "tiny_signs/plain/2.1.0", "orphan", tmp_path / "orphan/20.0.0")
    prepare("tfds:orphan", tmp_path)
    assert texts("tfds:orphan", "test", tmp_path) == ["sentence 0", "sentence 1", "sentence 2"]
    assert Path(open_split("tfds:orphan", "test", tmp_path).dataset_info.data_dir).name == "20.0.0"
    assert Path(open_split("tfds:orphan:3.0.0", "test", tmp_path).dataset_info.data_dir).name == "3.0.0"
    assert describe("tfds:orphan", tmp_path, 5) == ((5,), 2)


def test_an_unknown_name(tmp_path: Path) -> None:
    line = r"^dataset tfds:cifar101: TFDS knows no 'cifar101', nor is it prepared \(did you mean 'cifar10_1'\?\)$"
    for call in (prepare, lambda name, folder: open_split(name, "train", folder)):
        with pytest.raises(TlxError, match=line):
            call("tfds:cifar101", tmp_path)
    with pytest.raises(TlxError, match="expected tfds:NAME, tfds:NAME/CONFIG"):
        prepare("tfds:../x", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_known_before_it_is_prepared(tmp_path: Path) -> None:
    assert describe("tfds:cifar100", tmp_path, 7) == ((32, 32, 3), 100)
    assert describe("tfds:oxford_flowers102", tmp_path, 7) == ((None, None, 3), 102)
    assert is_text("tfds:imdb_reviews", tmp_path)
    assert describe("tfds:glue/sst2?text=sentence", tmp_path, 7) == ((7,), 2)  # of a package after one that fails
    with pytest.raises(TlxError, match=r"no feature is its label; name one with \?label=… \(there are image, label_o"):
        describe("tfds:dsprites", tmp_path, 7)
    assert not list(tmp_path.iterdir())


def test_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    line = r"^dataset tfds:tiny_arrays: TFDS needs TensorFlow for it; run pip install 'tlx\[tf\]'$"
    with pytest.raises(TlxError, match=line):
        prepare("tfds:tiny_arrays", tmp_path)
    assert not [path for path in tmp_path.rglob("*.array_record*")]


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object) -> None:
        raise socket.gaierror("no address")

    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    line = r"^dataset tfds:tiny_fetched: there is no network to fetch it from data\.invalid; prepare it where there is"
    with pytest.raises(TlxError, match=line):
        prepare("tfds:tiny_fetched", tmp_path)


def test_what_is_fetched_by_hand(tmp_path: Path) -> None:
    line = r"downloads/manual by hand: Sign the form, get signs\.zip\.$"
    with pytest.raises(TlxError, match=line):
        prepare("tfds:tiny_manual", tmp_path)
    (tmp_path / "downloads/manual").mkdir(parents=True)
    (tmp_path / "downloads/manual/other.zip").touch()
    with pytest.raises(TlxError, match=r"^dataset tfds:tiny_manual: TFDS could not prepare it"):
        prepare("tfds:tiny_manual", tmp_path)
    (tmp_path / "downloads/manual/signs.zip").touch()
    prepare("tfds:tiny_manual", tmp_path)
    assert len(open_split("tfds:tiny_manual", "train", tmp_path)) == 10


def test_half_a_data_set_is_none(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "tiny_signs", tmp_path / "tiny_signs")
    folder = tmp_path / "tiny_signs/plain/2.1.0"
    (shard,) = folder.glob("*train*")
    shard.unlink()
    with pytest.raises(FileError, match=r"array_record-00000-of-00001: is missing; delete .*2\.1\.0 and prepare"):
        open_split(NAME, "train", tmp_path)
    (folder / "dataset_info.json").write_text("{}")
    with pytest.raises(FileError, match=r"2\.1\.0: has a damaged description; delete it and prepare it again"):
        open_split(NAME, "train", tmp_path)
    (folder / "dataset_info.json").unlink()
    prepare(NAME, tmp_path)
    with pytest.raises(FileError, match="is not a prepared dataset; delete it"):
        open_split(NAME, "train", tmp_path)


def test_a_bucket(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    prepare(NAME, "memory://bucket/data")
    files = fsspec.filesystem("memory")
    assert files.exists("/bucket/data/tiny_signs/plain/2.1.0/dataset_info.json")
    assert texts(NAME, "test", "memory://bucket/data") == ["sentence 0", "sentence 1", "sentence 2"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    assert texts(NAME, "test", "memory://bucket/data") == ["sentence 0", "sentence 1", "sentence 2"]
    files.rm("/bucket/data/tiny_signs/plain/2.1.0/dataset_info.json")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "three"))
    with pytest.raises(FileError, match="is not a prepared dataset"):
        open_split(NAME, "test", "memory://bucket/data")
    files.rm("/bucket", recursive=True)
    with pytest.raises(TlxError, match=r"^nowhere://x: this kind of bucket needs a package; "):
        prepare(NAME, "nowhere://x")


def test_pictures_of_several_sizes(tmp_path: Path) -> None:
    name = "tfds:tiny_pictures"
    prepare(name, tmp_path)
    assert describe(name, tmp_path, 7) == ((None, None, 3), 2)
    assert describe(name, tmp_path, 7, resize=(4, 4)) == ((4, 4, 3), 2)
    with pytest.raises(TlxError, match="^dataset tfds:tiny_pictures has images of several sizes; give them one"):
        load_arrays(name, "train", tmp_path)
    arrays = load_arrays(name, "train[1:]", tmp_path, crop=(3, 5))
    assert arrays.input_N.shape == (3, 3, 5, 3)
    assert arrays.input_N[:, 1, 1, 1].tolist() == [50, 100, 150]
    assert arrays.label_N.tolist() == [1, 0, 1]


def test_texts_without_a_tokenizer(made: Path) -> None:
    with pytest.raises(TlxError, match="^dataset tfds:tiny_signs is of texts, which need a tokenizer$"):
        load_arrays(NAME, "train", made)
