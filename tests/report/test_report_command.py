import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlx.cli import main
from tlx.records import Records


def kept(study: SimpleNamespace, folder: Path) -> Path:
    records = Records(folder)
    records.write_manifest({key: value for key, value in study.manifest.items() if key != "format"})
    for record in study.records:
        plain = {key: value for key, value in record.items() if key not in ("format", "digest")}
        records.publish(plain, study.timings[record["id"]])
    return folder


def test_several_folders_make_one_page(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = kept(make.study(make.simulated({"full": 0.25}, (20,), 3), study="one"), tmp_path / "a")
    two = kept(make.study(make.simulated({"full": -0.3}, (20,), 3), study="two"), tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(one), str(two)]) == 0
    said = capsys.readouterr().out
    assert said.index("one") < said.index("helps on digits") < said.index("two") < said.index("hurts on digits")
    assert (tmp_path / "report" / "report.html").exists() and not (one / "report.html").exists()
    assert main(["report", str(one), str(two), "--out", "else", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [study["study"] for study in found["studies"]] == ["one", "two"]
    assert found["html"] == "else/report.html" and len(found["figures"]) == 4


def test_one_folder_keeps_its_report(make: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = kept(make.study(make.simulated({"full": 0.25}, (20, 100), 3)), tmp_path)
    assert main(["report", str(folder), "--figures", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["entry"] == "scratch" and found["html"] == str(folder / "report.html")
    assert {Path(path).suffix for path in found["figures"]} == {".svg", ".pdf", ".png"}
    assert (folder / "figures" / "frontier.pdf").read_bytes().startswith(b"%PDF")
