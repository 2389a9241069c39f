"""`tlx data`, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlx.cli import main

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "configs" / "quickstart.py")


def run(data_dir: Path, *argv: str) -> int:
    return main(["data", *argv, "--data-dir", str(data_dir)])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr()
    assert out.err == ""
    return out.out


@pytest.fixture
def arrays(tmp_path: Path) -> str:
    """A user's own images: two classes, dark and bright, and one image that is in both splits."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (rng.integers(0, 60, (40, 12, 12)) + 180 * y[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=x[:30], y_train=y[:30], x_test=x[29:], y_test=y[29:])
    return f"npz:{tmp_path / 'mine.npz'}"


def test_the_list_says_what_is_there(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data_dir, "list", "--json") == 0
    found = {row["name"]: row for row in json.loads(said(capsys))}
    assert found["digits"]["splits"] == {"test": 400, "train": 1397} and found["digits"]["prepared"]
    assert not found["glyphs/blur"]["prepared"] and found["glyphs/blur"]["classes"] == 12
    assert run(data_dir, "list") == 0
    assert "sentiment4/tweets" in said(capsys)


def test_what_is_in_one(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data_dir, "info", "mnist5k", "--json") == 0
    assert json.loads(said(capsys))["per_class"]["test"] == [50] * 10
    assert run(data_dir, "info", "mnist5k") == 0
    assert "images of 28×28×1" in said(capsys)


def test_one_s_own_arrays_are_prepared_shown_and_compared(
    tmp_path: Path, arrays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert run(data, "prepare", arrays, "--json") == 0
    (row,) = json.loads(said(capsys))
    assert row["splits"] == {"test": 11, "train": 30} and row["shape"] == [12, 12, 1]
    picture = tmp_path / "sheet.png"
    assert run(data, "show", arrays, "--out", str(picture)) == 0
    assert said(capsys) == f"The picture: {picture}\n"
    with Image.open(picture) as image:
        assert min(image.size) > 300
    assert run(data, "overlap", f"{arrays}@train", f"{arrays}@test", "--json") == 0
    found = json.loads(said(capsys))
    assert found["exact"]["pairs"] == 1 and found["sizes"] == [30, 11]


def test_a_config_s_ops_are_seen(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for ops in ((), ('--config.preprocess.ops=("pad_crop","mixup")',)):
        picture = tmp_path / f"{len(ops)}.png"
        assert run(data_dir, "show", "digits@test[:50]", QUICKSTART, "--out", str(picture), *ops) == 0
        with Image.open(picture) as image:
            sizes.append(image.size)
    # Two columns without chance, five with it.
    assert said(capsys).count("The picture: ") == 2
    assert sizes[0] != sizes[1]


def test_made_up_texts_are_shown_with_their_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "show", "set_copy/majority?train=20&test=5", "--json") == 0
    found = json.loads(said(capsys))
    assert len(found) == 8 and all(len(each["tokens"]) == len(each["ids"]) for each in found)
    assert all(min(each["ids"][1:-1]) >= 7 for each in found)  # words alone between beginning and end


def test_images_of_several_sizes_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(4):
        folder = tmp_path / "mine" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (10 + i, 12)).save(folder / f"{i}.png")
    assert run(tmp_path / "data", "show", f"folder:{tmp_path / 'mine'}") == 2
    assert "config.preprocess.resize=(224, 224)" in capsys.readouterr().err
    config = (QUICKSTART, "--config.preprocess.resize=(12,12)", "--out", str(tmp_path / "sheet.png"))
    assert run(tmp_path / "data", "show", f"folder:{tmp_path / 'mine'}", *config) == 0
    assert (tmp_path / "sheet.png").is_file()


def test_the_ops_are_listed_with_their_settings(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data_dir, "ops", "--json") == 0
    rows = {row["name"]: row for row in json.loads(said(capsys))}
    assert rows["flip"]["settings"] == [["probability", 0.5, "share of images that are flipped"]]
    assert rows["decode"]["runs"] == "host" and rows["mixup"]["paper"] == "Zhang et al. 2017"
    assert run(data_dir, "ops") == 0
    assert "rand_augment" in said(capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("info", "digts"), "dataset 'digts': there is no such dataset (did you mean 'digits'?)"),
        (("show", "digits@trian"), "split 'trian': dataset digits has no 'trian' (did you mean 'train'?)"),
        (("prepare", "glyphs?nose=1"), "dataset 'glyphs?nose=1': there is no knob 'nose' (did you mean 'noise'?)"),
        (("prepare", "npz:nowhere.npz"), "nowhere.npz: "),
        (("overlap", "digits", "mnist5k", "--config.seeds=(1,)"), "--config.seeds=(1,): no such option"),
        (("show", "digits", "--config.seeds=(1,)"), "--config.seeds=(1,): no such option"),
        (("show", "digits", "nowhere.py"), "nowhere.py: no such config file"),
    ],
)
def test_mistakes_are_one_line(
    data_dir: Path, argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_dir, *argv) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith(message) and len(out.err.splitlines()) == 1


def test_a_bucket_s_url_stays_one(
    tmp_path: Path, arrays: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = "memory://bucket/of-the-command-line"
    for command in ("prepare", "info"):
        assert main(["data", command, arrays, "--data-dir", url, "--json"]) == 0
        found = json.loads(said(capsys))
        assert (found[0] if command == "prepare" else found)["splits"] == {"test": 11, "train": 30}
    assert not Path("memory:").exists()
