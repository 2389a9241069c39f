"""Fetching a source distribution with pip, from an index that is a folder: no network."""

import hashlib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from sentences import pack

from tlx.data.builders.sdist import fetch_sdist
from tlx.errors import TlxError

# A build backend of the package's own: pip asks it for the metadata, and it leaves a trace of having been asked.
BACKEND = """
import os, pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path(os.environ["TRACE"]).touch()
    info = pathlib.Path(folder) / "carrier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: carrier\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **settings):
    raise RuntimeError("nobody wants a wheel")
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture(scope="module", autouse=True)
def one_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment with pip takes seconds to make, so it is made once."""
    made, real = tmp_path_factory.mktemp("pip") / "env", venv.EnvBuilder.create

    def create(self: venv.EnvBuilder, folder: Path) -> None:
        if not made.exists():
            real(self, made)
        folder.symlink_to(made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(venv.EnvBuilder, "create", create)
        yield


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The only place pip may look at, with one package in it."""
    files = {"PKG-INFO": "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n", "backend.py": BACKEND}
    files["pyproject.toml"] = PROJECT
    content = pack({f"carrier-1.0/{name}": text.encode() for name, text in files.items()})
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "carrier-1.0.tar.gz").write_bytes(content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    return content


def test_it_is_fetched_once_and_kept(index: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(index).hexdigest()
    path = fetch_sdist("carrier", "1.0", digest, tmp_path / "downloads")
    assert path == tmp_path / "downloads" / "carrier-1.0.tar.gz"
    assert path.read_bytes() == index
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_bytes(b"by hand")
    monkeypatch.setenv("PATH", "")
    assert fetch_sdist("carrier", "1.0", digest, path.parent).read_bytes() == b"by hand"


def test_another_file_of_that_name_is_refused_before_it_is_run(index: bytes, tmp_path: Path) -> None:
    with pytest.raises(TlxError) as caught:
        fetch_sdist("carrier", "1.0", "0" * 64, tmp_path / "downloads")
    line = str(caught.value)
    assert line.startswith("pip could not fetch carrier 1.0 (ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
    assert line.endswith(f"put its source distribution, carrier-1.0.tar.gz, into {tmp_path / 'downloads'} by hand")
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "downloads").exists()


def test_without_pip_the_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError("ensurepip is not available")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(venv.EnvBuilder, "create", refuse)
    with pytest.raises(TlxError, match=r"^pip could not fetch carrier 1\.0 \(ensurepip is not available\); put its"):
        fetch_sdist("carrier", "1.0", "0" * 64, tmp_path)
