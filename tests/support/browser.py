"""A real browser for a test: Debian's chromium, headless, driven by selenium through Debian's chromedriver.

Selenium is maintained, speaks a standard (WebDriver), and can use the driver of the distribution, which fits the
installed browser. Its own downloader is not used. Errors of scripts and violations of the Content-Security-Policy are
collected.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.net import until

WITHIN = 30.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en",
)
UNDECIDABLE = {"color-contrast"}
"""Rules of axe-core that it cannot always decide."""

LAPTOP, PHONE = (1200, 880), (390, 844)


class Browser(AbstractContextManager["Browser"]):
    """One window with a fresh profile. Every access waits for its element, up to `WITHIN` seconds."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="podpulse-browser-", ignore_cleanup_errors=True)
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (
            *FLAGS,
            f"--user-data-dir={self._profile.name}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ):
            options.add_argument(flag)
        self._chrome = Chrome(options, Service(shutil.which("chromedriver")))
        self._chrome.set_page_load_timeout(WITHIN)
        self.resize(LAPTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(WebDriverException):
            self._chrome.quit()
        self._profile.cleanup()

    # --- what a person does ---

    def open(self, url: str) -> None:
        self._chrome.get(url)

    def click(self, css: str) -> None:
        self._find(css).click()

    def type(self, css: str, text: str) -> None:
        self._find(css).send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys in the element that has the focus."""
        ActionChains(self._chrome).send_keys(*keys).perform()

    def resize(self, size: tuple[int, int] = LAPTOP, scale: float = 1.0) -> None:
        """Set the size of the page in pixels."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, scheme: str) -> None:
        """Prefer `dark` or `light`, or with "" what the machine prefers."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def switch_script(self, *, on: bool) -> None:
        self.command("Emulation.setScriptExecutionDisabled", value=not on)

    # --- what a person sees ---

    @property
    def url(self) -> str:
        return self._chrome.current_url

    @property
    def title(self) -> str:
        return self._chrome.title

    def texts(self, css: str) -> list[str]:
        """Returns what every element that matches shows. It is read again if the page changes meanwhile."""
        while True:
            try:
                return [each.text for each in self._chrome.find_elements(By.CSS_SELECTOR, css)]
            except WebDriverException as error:
                if not _is_replaced(error):
                    raise

    def text(self, css: str) -> str:
        """Returns what the first element that matches shows."""
        return next(iter(self.texts(css)), "")

    def wait(self, condition: Callable[[], object], what: str = "") -> None:
        until(condition, WITHIN, what or "the page shows it")

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """Returns the result of a function with this body."""
        return self._chrome.execute_script(script, *arguments)

    def command(self, name: str, **parameters: Any) -> Any:
        """Execute one command of the DevTools protocol."""
        return self._chrome.execute_cdp_cmd(name, parameters)

    def complaints(self) -> list[str]:
        """Returns what was written to the console since the last call: errors, refusals, warnings."""
        return [str(entry["message"]) for entry in self._chrome.get_log("browser")]  # type: ignore[no-untyped-call]

    def barriers(self) -> list[str]:
        """Returns the problems for people with disabilities that axe-core finds, with the elements."""
        self.evaluate((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
        found = self._chrome.execute_async_script(
            "axe.run().then(arguments[0], (error) => arguments[0](String(error)))"
        )
        assert "violations" in found, found
        doubtful = [each for each in found["incomplete"] if each["id"] not in UNDECIDABLE]
        return [
            f"{rule['help']}: {', '.join(node['html'] for node in rule['nodes'])}"
            for rule in (*found["violations"], *doubtful)
        ]

    def screenshot(self) -> bytes:
        """Returns the content of the window, as PNG."""
        return self._chrome.get_screenshot_as_png()

    def _find(self, css: str) -> Any:
        self.wait(lambda: self._chrome.find_elements(By.CSS_SELECTOR, css), f"the page has {css}")
        return self._chrome.find_element(By.CSS_SELECTOR, css)


def _is_replaced(error: WebDriverException) -> bool:
    """Whether the page has replaced the element since it was found. chromedriver has two errors for this."""
    return isinstance(error, StaleElementReferenceException) or "does not belong to the document" in (error.msg or "")
