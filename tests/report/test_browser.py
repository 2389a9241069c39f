"""The page in a browser: what is drawn, said and done there, and that nothing is asked of a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlx.report import write

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
HOSTILE = "</script><script>alert(1)</script>\"'&<b>"

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser: Any, make: SimpleNamespace, tmp_path: Path) -> Any:
    """Opens the report of some records, and waits until all charts are drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    def show(records: list[Any], lost: tuple[Any, ...] = ()) -> Any:
        study = make.study(records, lost)
        report = write(study.records, study.manifest, study.timings, tmp_path)
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(report.html.as_uri())
        ready = "return document.documentElement.classList.contains('ready')"
        WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(ready))
        return browser

    return show


def pairs(make: SimpleNamespace) -> list[Any]:
    return [
        record
        for source, target in (("mnist", "digits"), ("emnist", "digits"), ("mnist", "usps"))
        for record in make.simulated({"full": 0.25, "lora": -0.3}, (20, 100), 3, source=source, target=target)
        if record["cell"]["arm"] == "transfer" or source == "mnist"
    ]


def texts(driver: Any, selector: str) -> list[str]:
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(each => each.textContent)", selector
    )
    return found


def column(driver: Any, name: str) -> list[str]:
    place = texts(driver, ".cells thead th").index(name) + 1
    return texts(driver, f".cells tbody tr > :nth-child({place})")


def click(driver: Any, selector: str, text: str = "") -> None:
    script = """const [selector, text] = arguments;
      [...document.querySelectorAll(selector)].find(each => each.textContent.startsWith(text)).click();"""
    driver.execute_script(script, selector, text)


def type_in(driver: Any, words: str) -> None:
    script = """const box = document.querySelector('.cells input'); box.value = arguments[0];
      box.dispatchEvent(new Event('input'));"""
    driver.execute_script(script, words)


def test_all_charts_are_drawn_without_a_complaint_or_a_request(shown: Any, make: SimpleNamespace) -> None:
    driver = shown(pairs(make))
    marks = driver.execute_script(
        "return ([...document.querySelectorAll('figure.chart')].map(each =>"
        "[each.id, each.querySelectorAll('.plot svg .mark-symbol path, .plot svg .mark-rect path,"
        ".plot svg .mark-line path').length]))"
    )
    assert [name for name, _ in marks] == ["matrix", "matrices", "gain", "accuracy", "frontier", "seeds", "training"]
    # Three pairs in each of four panels.
    assert dict(marks)["matrix"] == 3 and dict(marks)["matrices"] == 3 * 4
    assert all(count >= 6 for _, count in marks[2:])
    assert driver.get_log("browser") == []
    sent = [
        message["params"]["request"]["url"]
        for entry in driver.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert [address.split(":")[0] for address in sent] == ["file"] and sent[0].endswith("/report.html")


def test_a_tooltip_says_the_interval(shown: Any, make: SimpleNamespace) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver = shown(make.simulated({"full": 0.25}, (20, 100), 3))
    points = driver.find_elements(By.CSS_SELECTOR, "#accuracy .plot svg .mark-symbol.role-mark path")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[0])

    def pointed(driver: Any) -> list[str]:
        """What is told where the pointer rests; moved there again, as charts still being drawn shift the page."""
        ActionChains(driver).move_by_offset(1, 1).move_to_element(points[0]).perform()
        return texts(driver, "#vg-tooltip-element.visible td")

    said = WebDriverWait(driver, 20).until(pointed)
    assert said[1] == "scratch" and "20 labels" in said and any("±" in text for text in said)


def test_the_list_chooses_a_pair(shown: Any, make: SimpleNamespace) -> None:
    driver = shown(pairs(make))
    numbers = "#gain .plot svg .mark-text.role-mark text"
    before = texts(driver, numbers)
    driver.execute_script(
        "const list = document.querySelector('#gain select'); list.selectedIndex = 2;"
        "list.dispatchEvent(new Event('input')); list.dispatchEvent(new Event('change'));"
    )
    driver.execute_async_script("setTimeout(arguments[0], 300)")
    assert len(texts(driver, "#gain select option")) == 3
    assert texts(driver, numbers) != before


def test_a_thousand_cells_are_sorted_filtered_and_paged(shown: Any, make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.25, "lora": 0.2, "probe": 0.1}, (20, 50, 100, 500), 50)
    records[7] = make.diverged(records[7])
    driver = shown(records)
    assert len(column(driver, "Cell")) == 100 and texts(driver, ".count") == ["1 to 100 of 1000"]
    click(driver, ".cells thead button", "Test")
    rising = [float(text) for text in column(driver, "Test, %")]
    assert rising == sorted(rising) and rising[0] == min(
        round(100 * record["result"]["test_score"], 1) for record in records if record["status"] == "ok"
    )
    click(driver, ".cells thead button", "Test")
    assert [float(text) for text in column(driver, "Test, %")] == sorted(map(float, column(driver, "Test, %")))[::-1]
    click(driver, ".tools .after")
    assert texts(driver, ".count") == ["101 to 200 of 1000"]
    type_in(driver, "Scratch DIVERGED")
    assert texts(driver, ".count") == ["1 to 1 of 1 found, 1000 in all"]
    assert column(driver, "Cell") == [records[7]["id"]] and column(driver, "Test, %") == ["–"]
    click(driver, ".cells td button")
    assert texts(driver, ".command") == [
        f"tlx run configs/quickstart.py --workdir reproduced --cell {records[7]['id']}"
    ]
    type_in(driver, "nothing like it")
    assert texts(driver, ".count") == ["0 found, 1000 in all"] and column(driver, "Cell") == []


def test_a_phone_does_not_scroll_sideways(shown: Any, make: SimpleNamespace) -> None:
    records = pairs(make)
    phone = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    driver = shown(records)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        driver = shown(records)
        assert driver.execute_script("return document.documentElement.scrollWidth") == 375
        wide = "return Math.max(...[...document.querySelectorAll('#accuracy svg, #gain svg')].map(e => e.clientWidth))"
        assert driver.execute_script(wide) <= 375
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_ink_follows_the_dark(shown: Any, make: SimpleNamespace) -> None:
    driver = shown(make.simulated({"full": 0.25}, (20, 100), 3))
    colours = """return ['.mark-text.role-axis-label text', '.mark-symbol.role-mark path'].map(
      each => getComputedStyle(document.querySelector('#accuracy svg ' + each)).fill)
      .concat(getComputedStyle(document.body).backgroundColor)"""
    light = driver.execute_script(colours)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    try:
        dark = driver.execute_script(colours)
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert light == ["rgb(92, 101, 112)", "rgb(0, 0, 0)", "rgb(247, 248, 250)"]
    assert dark == ["rgb(165, 174, 184)", "rgb(242, 242, 242)", "rgb(18, 20, 23)"]


def test_hostile_names_stay_names(shown: Any, make: SimpleNamespace) -> None:
    records = make.simulated({HOSTILE: 0.2}, (20, 100), 3, source=HOSTILE, target=HOSTILE)
    records += make.simulated({HOSTILE: 0.2}, (20, 100), 3, source=HOSTILE, target="digits")
    driver = shown(records)
    assert driver.get_log("browser") == []
    assert HOSTILE in texts(driver, "#gain select option")[0]
    assert HOSTILE in column(driver, "Method") and texts(driver, "b") == []


@pytest.mark.parametrize("budgets", [(20,), (20, 100)])
def test_a_single_seed_is_no_reason_to_complain(shown: Any, make: SimpleNamespace, budgets: tuple[int, ...]) -> None:
    driver = shown(make.simulated({"full": 0.2}, budgets, 1))
    assert driver.get_log("browser") == []
    assert texts(driver, "figure.chart.drawn h3")[0] == "Gain over scratch, mnist → digits"


def test_without_results_there_is_a_page(shown: Any, make: SimpleNamespace) -> None:
    driver = shown([], lost=tuple(make.simulated({"full": 0.2}, (20,), 2)))
    assert driver.get_log("browser") == []
    assert texts(driver, "h1") == ["No answer yet: no transfer cell has a result together with its scratch cell."]
    assert set(column(driver, "State")) == {"missing"} and texts(driver, "figure") == []
