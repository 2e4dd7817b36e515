"""A browser for the tests of pages: headless Chromium, one for all of them, without a network."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.report.page.renderer import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

    from pytest_prunegate.report.summary.records import Summary

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
DESKTOP, PHONE = 1280, 360  # CSS pixels


class Browser:
    """A page in the browser, as a reader has it."""

    def __init__(self, driver: WebDriver, folder: Path) -> None:
        self.driver = driver
        self._folder = folder
        self._pages: dict[str, str] = {}

    def open(self, summary: Summary) -> None:
        """The report of this summary, on a desktop's screen, in light colours."""
        key = repr(summary)  # drawing takes most of a second
        if key not in self._pages:
            self._pages[key] = render(summary, "report.html.j2")
        self.open_text(self._pages[key])

    def open_text(self, page: str) -> None:
        path = self._folder / "report.html"
        path.write_text(page, encoding="utf-8")
        self.screen(DESKTOP)
        self.media()
        self.told()
        self.driver.get(path.as_uri())

    def screen(self, width: int) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < DESKTOP
        )

    def media(self, *, scheme: str = "light", media: str = "screen") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=features)

    def cdp(self, command: str, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.driver.execute_cdp_cmd(command, arguments)
        return found

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Text contents of all elements that match."""
        found: list[str] = self.js(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
        )
        return found

    def told(self) -> list[str]:
        """What the console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """The addresses that were asked for since this was last asked."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))  # type: ignore[no-untyped-call]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def unavailable() -> str | None:
    """Why there is no browser here."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} missing: `make browser` installs Debian's" if missing else None


@pytest.fixture(scope="session")
def started_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if reason := unavailable():
        if os.environ.get("PRUNEGATE_BROWSER") == "required":
            pytest.fail(f"PRUNEGATE_BROWSER=required, but {reason}")
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver, tmp_path_factory.mktemp("pages"))
    finally:
        driver.quit()


@pytest.fixture
def browser(started_browser: Browser) -> Iterator[Browser]:
    """The browser; whatever a test does there, a page that complains on its console fails it."""
    yield started_browser
    started_browser.cdp("Emulation.setScriptExecutionDisabled", value=False)
    assert started_browser.told() == []
