"""Takes the pictures of the web pages that README.md and docs/ show, from servers that run.

    make services && eval "$(hummingbird services env)"
    hummingbird flow run ...; hummingbird register; ...     # what is to be seen
    python -m evaluation.screenshots [prefect mlflow ...]   # none: all

``prefect`` and ``prefect-artifacts`` show the completed run of the pipeline that took longest, ``mlflow`` the newest
run of stage 1, ``registry`` the model ``hummingbird``, ``prefect-approval`` a promotion that waits for a person.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from evaluation.browsing import Prefect, find_chromium, open_page
from hummingbird.errors import UserError
from hummingbird.ops.registry.server import NAME
from hummingbird.ops.server import connect

if TYPE_CHECKING:
    from playwright.sync_api import Locator

COLOURS = 96  # of a picture: enough for text, and few bytes
DRAWN_MS = 3000  # in which a page moves its graph or its charts to their places
MARGIN = 264  # pixels at the left of Prefect's pages: the menu
TAGS = 5  # of a version that the picture of the registry shows; all thirty would fill it


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Take the pictures of the web pages in README.md and docs/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PICTURES)}; none: all")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args(words)
    try:
        for name in chosen.names or PICTURES:
            if name not in PICTURES:
                raise UserError(f"no picture {name!r}", f"there are {', '.join(PICTURES)}")
            path = save(PICTURES[name](), chosen.out / f"{name}.png")
            print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def save(picture: bytes, path: Path) -> Path:
    """Write a picture with few colours."""
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, optimize=True)
    return path


def graph() -> bytes:
    """The run of the pipeline: one bar a stage."""
    with open_page(browser(), 1280, 760) as page:
        prefect = Prefect(page, address("PREFECT_API_URL"))
        prefect.open_run(longest(prefect), "Task Runs")
        page.wait_for_timeout(2 * DRAWN_MS)
        return page.screenshot(clip={"x": MARGIN, "y": 0, "width": 1280 - MARGIN, "height": 560})


def form() -> bytes:
    """The form of the deployment, with the list of the stages open."""
    with open_page(browser(), 1280, 740) as page:
        prefect = Prefect(page, address("PREFECT_API_URL"))
        prefect.open_form("hummingbird/pipeline")
        prefect.open_list("targets")
        page.wait_for_timeout(DRAWN_MS)
        return page.screenshot(clip={"x": MARGIN, "y": 0, "width": 1280 - MARGIN, "height": 740})


def sheet() -> bytes:
    """The contact sheet of the downloaded clips, as an artifact of the run."""
    with open_page(browser(), 1280, 640) as page:
        prefect = Prefect(page, address("PREFECT_API_URL"))
        prefect.open_artifact(longest(prefect), "sheet-download")
        page.wait_for_timeout(DRAWN_MS)
        return page.screenshot(clip={"x": MARGIN, "y": 0, "width": 1280 - MARGIN, "height": 640})


def approval() -> bytes:
    """What a promotion asks a person."""
    with open_page(browser()) as page:
        prefect = Prefect(page, address("PREFECT_API_URL"))
        paused = prefect.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}})
        if not paused:
            raise UserError("no promotion waits for an answer", "start one: the deployment promote/registry")
        prefect.open_question(paused[0]["id"])
        page.wait_for_timeout(DRAWN_MS)
        return page.locator(".p-modal__card").screenshot()


def charts() -> bytes:
    """The metrics by step of the newest run of stage 1."""
    client, experiment = connect(Path())
    runs = client.search_runs([experiment], "attributes.run_name = 'stage1'", max_results=1)
    if not runs:
        raise UserError("no run of stage1 is in MLflow", "make one: hummingbird flow run stage1")
    with open_page(browser(), 1400, 900) as page:
        page.goto(
            f"{address('MLFLOW_TRACKING_URI')}/#/experiments/{experiment}/runs/{runs[0].info.run_id}/model-metrics"
        )
        page.get_by_text("grad_norm").first.wait_for()
        return without_menus(page.locator("main"))


def model() -> bytes:
    """The registered model: its versions and their aliases."""
    with open_page(browser(), 1300, 650) as page:
        page.goto(f"{address('MLFLOW_TRACKING_URI')}/#/models/{NAME}")
        page.get_by_text("champion").first.wait_for()
        if (news := page.get_by_role("button", name="Try it now")).is_visible():
            news.click()
        tags = "div:has(> div > [data-component-id*=keyvaluetag])"
        page.add_style_tag(content=f"main {tags} > div:nth-child(n+{TAGS + 1}) {{display: none}}")
        return without_menus(page.locator("main"))


def without_menus(part: Locator) -> bytes:
    """A part of MLflow's page, when its assistant is closed and its charts are drawn."""
    close = part.page.get_by_role("button", name="Close")
    if close.count():
        close.last.click()
    part.page.wait_for_timeout(DRAWN_MS)
    return part.screenshot()


def browser() -> str:
    """The program.

    Raises:
        UserError: there is none.
    """
    if found := find_chromium():
        return found
    raise UserError("there is no Chromium", "apt-get install chromium")


def address(variable: str) -> str:
    """The address of a server.

    Raises:
        UserError: the variable is not set.
    """
    if variable in os.environ:
        return os.environ[variable].rstrip("/")
    raise UserError(f"{variable} is not set", 'hummingbird services start && eval "$(hummingbird services env)"')


def longest(prefect: Prefect) -> str:
    """The id of the completed run of the pipeline that took longest.

    Raises:
        UserError: there is none.
    """
    wanted = {"flows": {"name": {"any_": ["hummingbird"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs: list[dict[str, Any]] = prefect.ask("flow_runs/filter", wanted)
    if not runs:
        raise UserError("no run of the pipeline has completed", "hummingbird flow run")
    return str(max(runs, key=lambda run: float(run["total_run_time"]))["id"])


PICTURES: dict[str, Callable[[], bytes]] = {
    "prefect": graph,
    "prefect-form": form,
    "prefect-artifacts": sheet,
    "prefect-approval": approval,
    "mlflow": charts,
    "registry": model,
}

if __name__ == "__main__":
    sys.exit(main())
