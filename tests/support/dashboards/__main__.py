"""Makes the pictures of deploy/operations.md."""

import sys
from pathlib import Path

from tests.support.browser import Browser
from tests.support.dashboards.page import MACROS, WIDTH, drawn
from tests.support.dashboards.scene import NODE, POD, scene
from tests.support.grafana import Dashboard
from tests.support.prometheus import Prometheus
from tests.support.small_png import small

FOLDER = Path(__file__).parents[3] / "deploy" / "grafana"
ALL = dict.fromkeys(("node", "pod", "instance"), "$__all")


def main(folder: Path) -> None:
    with scene() as prometheus, Browser() as browser:
        take(prometheus, browser, folder)


def take(prometheus: Prometheus, browser: Browser, folder: Path) -> None:
    """Writes a picture of each dashboard into the folder."""
    for file in sorted((FOLDER / "dashboards").iterdir()):
        dashboard = Dashboard(file, MACROS)
        chosen = {"node": NODE, "pod": POD} if dashboard.uid == "podpulse-pod" else ALL
        page = folder / f"{dashboard.uid}.html"
        page.write_text(drawn(dashboard, prometheus, chosen), "utf-8")
        browser.resize((WIDTH, 100))
        browser.open(page.as_uri())
        browser.resize((WIDTH, browser.evaluate("return document.documentElement.scrollHeight")))
        (folder / f"{dashboard.uid}.png").write_bytes(small(browser.screenshot(), browser))
        page.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER / "pictures"))
