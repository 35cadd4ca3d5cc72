"""What a person does in Airflow's UI, in a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

SCREENSHOTS = Path(__file__).parents[2] / "out" / "screenshots"
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 180_000.0  # a page takes a minute where everything else is at work as well


@dataclass(frozen=True)
class Browser:
    """One tab.

    :param url: of Airflow.
    """

    page: Page
    url: str

    def shoot(self, name: str) -> None:
        """Leave a picture for whoever wants to see."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(400)  # accordions glide
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def open_form(self, dag_id: str) -> None:
        """Open the form of a manual run."""
        self.page.goto(f"{self.url}/dags/{dag_id}")
        self.page.get_by_role("button", name="Trigger").first.click()
        self.page.locator("[id=element_cluster]").wait_for()

    def sections(self) -> list[str]:
        """The form's sections, from top to bottom."""
        return [one.strip() for one in self.page.locator("[data-part=item-trigger]").all_inner_texts()]

    def unfold(self, section: str) -> None:
        """Open a section if it is closed."""
        heading = self.page.get_by_role("button", name=section, exact=True)
        if heading.get_attribute("aria-expanded") != "true":
            heading.click()

    def choose(self, field: str, option: str) -> None:
        """Choose from a list.

        :param option: as it is shown, or its beginning.
        """
        box = self.page.locator(f"[id=element_{field}]")
        box.click()
        self.page.get_by_role("option", name=option).first.click()

    def write(self, field: str, text: str) -> None:
        """Fill in a line."""
        self.page.locator(f"[id=element_{field}]").fill(text)

    def show_run(self, dag_id: str, run_id: str, name: str) -> None:
        """Look at a run, and leave a picture."""
        self.page.goto(f"{self.url}/dags/{dag_id}/runs/{quote(run_id)}")
        self.page.get_by_text("health_gate").first.wait_for()
        self.shoot(name)

    def show_rotation(self, name: str) -> str:
        """Look at our tab of the run that is shown, and leave a picture; what it says."""
        self.page.get_by_role("link", name="Rotation", exact=True).click()
        shown = self.page.frame_locator("iframe").locator("body")
        shown.locator("table").first.wait_for()
        self.shoot(name)
        return shown.inner_text()

    def submit(self) -> None:
        """Start the run, and leave the page."""
        self.page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
        self.page.get_by_role("dialog").wait_for(state="hidden")
        self.leave()

    def leave(self) -> None:
        """Look at nothing: a page of Airflow asks its server for news as long as it is open."""
        self.page.goto("about:blank")


@contextmanager
def browser(url: str, profile: Path) -> Iterator[Browser]:
    """Open Chromium with an empty profile.

    :param profile: an empty folder.
    """
    executable = shutil.which("chromium")
    assert executable, "the tests of the UI need chromium (apt-get install chromium)"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            headless=True,
            args=list(ARGS),
            viewport={"width": 1400, "height": 1500},
        )
        context.set_default_timeout(PATIENCE_MS)
        try:
            yield Browser(context.new_page(), url)
        finally:
            context.close()
