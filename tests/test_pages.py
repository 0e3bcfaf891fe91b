"""Every page in a real browser: no error, no request, nothing sideways on a phone, dark mode, keyboard, axe-core."""

from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from tests.browser import DESK, PHONE, Browser
from tests.jobs.test_report import data as scores  # noqa: F401 - two sets of scores with hostile text
from tests.jobs.test_select import world  # noqa: F401 - a run with labels to calibrate by

pytestmark = pytest.mark.slow

FOCUSABLE = "a[href], summary, [tabindex='0']"
FOCUSED = """(() => {
    const e = document.activeElement;
    if (e === document.body || !e.matches("a[href], summary, [tabindex='0']")) return null;
    const dot = e.querySelector('.dot'), style = getComputedStyle(dot || e), box = e.getBoundingClientRect();
    return {
        number: [...document.querySelectorAll("a[href], summary, [tabindex='0']")].indexOf(e),
        marked: dot ? parseFloat(style.strokeWidth) >= 3 : style.outlineStyle != 'none',
        seen: box.width > 0 && box.right > 0 && box.bottom > 0 && box.top < innerHeight,
    };
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def pages(browser, scores, world, tmp_path_factory) -> dict[str, Path]:  # noqa: F811
    """A page of each kind."""
    folder, (run, truth) = tmp_path_factory.mktemp("pages"), world
    board = folder / "board"
    commands = [
        ["report", scores / "new", "--out", folder / "compared", "--against", scores / "old"],
        ["report", scores / "old", "--out", folder / "alone", "--media", folder],
        ["leaderboard", "add", board, scores / "new", "--name", "A" * 70],
        ["leaderboard", "add", board, scores / "old", "--name", "<b>old & new"],
        ["leaderboard", "export", board, folder / "board.html"],
        ["select", run, "--out", folder / "selected", "--calibrate", truth, "--good", "0.8", "--precision", "0.7"],
    ]
    for words in commands:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    return {
        "report": folder / "compared/report.html",
        "report without baseline": folder / "alone/report.html",
        "leaderboard": folder / "board.html",
        "selection": folder / "selected/report.html",
    }


@pytest.fixture(params=["report", "report without baseline", "leaderboard", "selection"])
def page(request, pages) -> Path:
    return pages[request.param]


def test_it_loads_nothing_and_reports_no_error(browser, page):
    browser.open(page)
    requests = {found["request"]["url"].partition(":")[0] for found in browser.found("Network.requestWillBeSent")}
    assert requests <= {"file", "data"}
    sent = [found["request"]["url"] for found in browser.found("Network.requestWillBeSent")]
    assert [url for url in sent if url.startswith("file:")] == [page.as_uri()]
    for kind in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
        assert browser.found(kind) == []
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_nothing_scrolls_sideways_on_a_phone(browser, page):
    browser.open(page, PHONE)
    assert browser.run("innerWidth") == PHONE[0]
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
    wide = """[...document.querySelectorAll('body *')].filter(
        e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.scroll, .strip, svg, .hidden')
    ).map(e => e.outerHTML.slice(0, 200))"""
    assert browser.run(wide) == []
    assert browser.run("document.documentElement.scrollWidth") == PHONE[0]


def test_dark_mode(browser, page):
    def lightness() -> list[float]:
        return browser.run(
            """['backgroundColor', 'color'].map(name => {
                const parts = getComputedStyle(document.body)[name].match(/[0-9.]+/g).map(Number);
                return (parts[0] + parts[1] + parts[2]) / 765;
            })"""
        )

    browser.open(page)
    paper, ink = lightness()
    assert paper > 0.9 > 0.3 > ink
    browser.open(page, dark=True)
    paper, ink = lightness()
    assert paper < 0.2 < 0.8 < ink


def test_keys_reach_everything(browser, page):
    browser.open(page)
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().left >= 0")
    browser.press("Enter")
    assert browser.run("location.hash") == "#main"
    browser.open(page)
    count = browser.run(f"[...document.querySelectorAll(`{FOCUSABLE}`)].filter(e => e.checkVisibility()).length")
    reached = []
    for _ in range(count):
        browser.press("Tab")
        reached.append(browser.run(FOCUSED))
    assert len({found["number"] for found in reached}) == count
    assert [found for found in reached if not (found["marked"] and found["seen"])] == []
    if browser.run("document.querySelector('summary')?.focus() ?? document.activeElement.matches('summary')"):
        browser.press("Enter")
        assert browser.run("document.querySelector('details').open")


@pytest.mark.parametrize(("size", "dark"), [(DESK, False), (PHONE, True)], ids=["desk, light", "phone, dark"])
def test_axe_finds_nothing_serious(browser, page, size, dark):
    pytest.importorskip("axe_core_python", reason="AXE ABSENT: pip install axe-core-python")
    browser.open(page, size, dark=dark, bypass_policy=True)
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true })")
    browser.run((files("axe_core_python") / "axe.min.js").read_text())
    passed, found = browser.run("axe.run().then(done => [done.passes.length, done.violations])")
    assert passed > 10
    serious = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
