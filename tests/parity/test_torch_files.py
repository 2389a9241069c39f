"""Files that PyTorch wrote hold what PyTorch says they hold, in both of its layouts."""

from pathlib import Path

import numpy as np
import pytest
from process import run_side

from tlx.errors import FileError
from tlx.interop.pth import read_pth

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("torch_files_side.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    run_side(SCRIPT, made)
    return made


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("content", ["kinds", "views", "network", "parameters"])
def test_a_state_dict(content: str, layout: str, folder: Path) -> None:
    found, want = read_pth(folder / f"{content}-{layout}.pth"), np.load(folder / f"{content}.npz")
    assert [*found] == [*want]
    for name in want:
        assert found[name].shape == want[name].shape
        if name == "bfloat16":
            assert found[name].dtype.name == "bfloat16"
            np.testing.assert_array_equal(found[name].astype(np.float32), want[name])
        else:
            assert found[name].dtype == want[name].dtype
            np.testing.assert_array_equal(found[name], want[name])


def test_a_state_dict_among_other_things(folder: Path) -> None:
    found, want = read_pth(folder / "wrapped.pth"), np.load(folder / "kinds.npz")
    assert [*found] == [*want] and found["float32"].shape == (3, 4)


@pytest.mark.parametrize("name", ["function", "module"])
def test_what_is_no_state_dict_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(FileError, match=rf"{name}.pth: .*save model.state_dict\(\) alone, or as safetensors$"):
        read_pth(folder / f"{name}.pth")
