"""The web pages of Prefect and MLflow, used as a person uses them: by Chromium, without a window."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")  # of the program, by who packaged it
PATIENCE_S = 120.0  # for a page of a server that is busy with other things
WIDTH, HEIGHT = 1280, 900  # of the window, in pixels


def find_chromium() -> str | None:
    """The browser of this machine, if it has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_page(program: str, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Page]:
    """An empty page of a new browser, which ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-quic"])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.set_default_timeout(PATIENCE_S * 1000)
        yield page
        browser.close()


class Prefect:
    """Prefect's pages.

    Args:
        api: address of the server's interface, as in ``PREFECT_API_URL``.
    """

    def __init__(self, page: Page, api: str) -> None:
        self.page = page
        self.api = api.rstrip("/")
        self.address = self.api.removesuffix("/api")

    def goto(self, path: str) -> None:
        """Open a page and wait until nothing is being loaded any more."""
        self.page.goto(f"{self.address}/{path}")
        self.page.wait_for_load_state("networkidle")

    def open_form(self, deployment: str) -> None:
        """Show the form of a deployment (``FLOW/NAME``)."""
        self.goto(f"deployments/deployment/{self._deployment(deployment)}/run")

    def start(self, deployment: str) -> str:
        """Send the form of a deployment, which is shown and filled in. Returns the id of the run."""
        chosen = self._deployment(deployment)
        before = self._newest(chosen)
        self.submit()
        return str(self._wait(lambda: run if (run := self._newest(chosen)) != before else None))

    def open_question(self, run: str) -> None:
        """Show the form that a paused run wants to be answered."""
        self.goto(f"runs/flow-run/{run}")
        self.page.get_by_role("button", name="Resume").click()

    def tick(self, title: str) -> None:
        """Turn the switch of a field."""
        self.field(title).locator("input").first.dispatch_event("click")  # hidden below a drawn switch

    def submit(self) -> None:
        """Send the form that is shown."""
        self.page.get_by_role("button", name="Submit").click()

    def field(self, title: str) -> Locator:
        """The part of a form that asks for the value with this title."""
        text = re.compile(rf"^\s*{re.escape(title)}(\s\(Optional\))?\s*$")
        name = self.page.locator(".schema-form-property__label").filter(has_text=text)
        return self.page.locator(".schema-form-property").filter(has=name).last

    def choose(self, title: str, options: Sequence[str]) -> None:
        """Tick options in the list of a field that may have any of them."""
        self.open_list(title)
        for option in options:
            self.page.locator(".p-select-option").get_by_text(option, exact=True).click()
        self.page.get_by_text("Parameters", exact=True).first.click()  # closes the list

    def open_list(self, title: str) -> None:
        """Show the options of a field that may have any of them."""
        field = self.field(title)
        field.get_by_role("button", name="list").click()
        field.locator(".p-select-button__control").press("ArrowDown")

    def override(self, values: Mapping[str, str]) -> None:
        """Type other values for parameters into the form of the pipeline."""
        self.field("overrides").get_by_role("button", name="dict").click()
        self.fill(values)

    def fill(self, values: Mapping[str, str]) -> None:
        """Type values into the fields with these titles."""
        for title, value in values.items():
            self.field(title).locator("input, textarea").first.fill(value)

    def open_run(self, run: str, tab: str = "Logs") -> None:
        """Show a flow run with one of the tabs below its graph."""
        self.goto(f"runs/flow-run/{run}")
        self.page.get_by_text(tab, exact=True).last.click()

    def open_artifact(self, run: str, key: str) -> None:
        """Show the artifact of a run that has this key."""
        self.goto(f"artifacts/artifact/{self.artifacts(run)[key]}")

    def state(self, run: str, kinds: tuple[str, ...], patience_s: float) -> dict[str, Any]:
        """The state of a run, as soon as it is of one of these kinds."""

        def reached() -> dict[str, Any] | None:
            state = self.ask(f"flow_runs/{run}")["state"]
            return dict(state) if state["type"] in kinds else None

        return self._wait(reached, patience_s)

    def artifacts(self, run: str) -> dict[str, str]:
        """The ids of the artifacts of a run, by their keys."""
        found = self.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {one["key"]: one["id"] for one in found}

    def ask(self, path: str, body: Any = None) -> Any:
        """What the interface answers: to know when a page is worth looking at, and where it is."""
        method = "GET" if body is None else "POST"
        return httpx.request(method, f"{self.api}/{path}", json=body, timeout=PATIENCE_S).raise_for_status().json()

    def _deployment(self, name: str) -> str:
        return str(self.ask(f"deployments/name/{name}")["id"])

    def _newest(self, deployment: str) -> str | None:
        wanted = {"deployments": {"id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
        found = self.ask("flow_runs/filter", wanted)
        return str(found[0]["id"]) if found else None

    def _wait(self, done: Any, patience_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + patience_s
        while not (found := done()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.page.url}: nothing came of it within {patience_s:.0f} s")
            time.sleep(0.5)
        return found
