"""What a user does in the browser, with the servers of `make services`: start a run by the form, look at what it left,
start it again, change a knob, approve a promotion."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy import text as sql

from evaluation.browsing import Prefect, find_chromium, open_page
from evaluation.short import SHORT
from flows.dag import read_dag
from hummingbird.errors import UserError
from hummingbird.ops.registry import evidence, promotion
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.server import PIPELINE, Registry
from hummingbird.ops.services import postgres
from hummingbird.ops.services.site import Site
from hummingbird.params import Params, dump_params, load_params, with_overrides

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROJECT = Path(__file__).parents[2]
PATIENCE = 3000.0  # seconds, for a run on a machine that is busy
TARGET = "motion_filter"
CLIPS = 48
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of the project with short parameters, its servers running, and this process told of them."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[browser]'")
    if find_chromium() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    try:
        postgres.find_programs(Path("/nowhere"))
    except UserError:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("desk") / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder.parent / "dvc-site"))
        make_clone(folder)
        try:
            call(folder, "hummingbird", "services", "start")
            for line in call(folder, "hummingbird", "services", "env").splitlines():
                name, _, value = shlex.split(line)[1].partition("=")
                patch.setenv(name, value)
            patch.chdir(folder)
            yield folder
        finally:
            call(folder, "hummingbird", "services", "stop")
            shutil.rmtree(postgres.cluster_folder(Site(folder), postgres.server_user()), ignore_errors=True)


def make_clone(folder: Path) -> None:
    """The checkout as it lies there, in a repository of its own, with all results yet to be made."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    params = folder / "params.yaml"
    params.write_text(dump_params(with_overrides(load_params(params), {**SHORT, "download.clips": CLIPS})))
    call(folder, "git", "init", "-q")
    commit(folder)


def call(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def commit(folder: Path) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "-qm", "step")


@pytest.fixture(scope="module")
def page(desk: Path) -> Iterator[Page]:
    program = find_chromium()
    assert program
    with open_page(program) as page:
        yield page


@pytest.fixture(scope="module")
def prefect(page: Page) -> Prefect:
    return Prefect(page, os.environ["PREFECT_API_URL"])


def run_pipeline(prefect: Prefect, **overrides: str) -> tuple[str, str]:
    """Fill in the form of the pipeline and wait for the run. Returns its id and the message of its last state."""
    prefect.open_form("hummingbird/pipeline")
    prefect.choose("targets", [TARGET])
    if overrides:
        prefect.override({name.replace("__", "."): value for name, value in overrides.items()})
    run = prefect.start("hummingbird/pipeline")
    state = prefect.state(run, ENDED, PATIENCE)
    assert state["type"] == "COMPLETED", state["message"]
    return run, state["message"]


def see(page: Page, text: str) -> None:
    """Wait until the page shows the text."""
    from playwright.sync_api import TimeoutError as TimedOut

    try:
        page.get_by_text(text).filter(visible=True).first.wait_for()
    except TimedOut:
        pytest.fail(f"{page.url} does not show {text!r}, but:\n{page.inner_text('body')[-3000:]}")


@pytest.fixture(scope="module")
def first(desk: Path, prefect: Prefect) -> str:
    """The run that found nothing done yet. What it made is committed, as a user would."""
    run, message = run_pipeline(prefect)
    assert message.startswith(f"Ran {', '.join(read_dag(desk).upstream([TARGET]).needs)}; ")
    commit(desk)
    return run


def test_a_run_from_the_form_leaves_its_artifacts_in_prefect(page: Page, prefect: Prefect, first: str) -> None:
    prefect.open_run(first, "Details")
    see(page, "Completed")
    see(page, "Ran foundation, download")
    assert not page.get_by_text("Failed to load graph").count()
    prefect.open_artifact(first, "lineage")
    see(page, "nothing else")
    prefect.open_artifact(first, "metrics-vqa-filter")
    see(page, "kept")
    prefect.open_artifact(first, "funnel")
    see(page, f"{CLIPS} clips came in")
    prefect.open_artifact(first, "sheet-download")
    sheet = page.locator("img[src^='data:image']")
    sheet.wait_for()
    assert sheet.evaluate("image => image.naturalWidth") > 500


def test_its_stages_are_runs_in_mlflow(page: Page, prefect: Prefect, first: str) -> None:
    prefect.open_artifact(first, "mlflow-vqa-filter")
    page.goto(str(page.get_by_role("link", name="vqa_filter in MLflow").get_attribute("href")))
    for text in ("About this run", "Finished", "git.sha", "kept"):
        see(page, text)
    page.get_by_role("link", name="flow", exact=True).click()  # the parent
    see(page, "hummingbird.run_key")


def test_postgresql_keeps_both(desk: Path, first: str) -> None:
    site = Site(desk)
    found = {}
    for name, query in {
        "mlflow": "select name from runs",
        "prefect": f"select state_type::text from flow_run where id = '{first}'",
    }.items():
        address = postgres.url("psycopg2", site.port("postgres") or 0, site.secret("postgres"), name)
        with create_engine(address).connect() as connection:
            found[name] = {row[0] for row in connection.execute(sql(query))}
    assert {"flow", TARGET} <= found["mlflow"]
    assert found["prefect"] == {"COMPLETED"}


def test_the_same_again_does_nothing_and_says_so(page: Page, prefect: Prefect, first: str) -> None:
    run, message = run_pipeline(prefect)
    assert message == "All 5 stages are up to date; nothing to run."
    prefect.open_run(run, "Details")
    see(page, message)
    assert prefect.artifacts(run) == {}


def test_a_knob_of_the_form_runs_what_depends_on_it(desk: Path, page: Page, prefect: Prefect, first: str) -> None:
    run, message = run_pipeline(prefect, vqa_filter__min_overall="0.98")
    dag = read_dag(desk).upstream([TARGET])
    expected = dag.downstream(["vqa_filter"])
    assert set(message.partition(";")[0].removeprefix("Ran ").split(", ")) == expected < set(dag.needs)
    prefect.open_run(run, "Details")
    see(page, "Ran vqa_filter")
    made = prefect.artifacts(run)
    assert {key.removeprefix("metrics-").replace("-", "_") for key in made if key.startswith("metrics-")} == expected


def test_a_person_approves_a_promotion(
    desk: Path, page: Page, prefect: Prefect, known: Callable[..., Evidence]
) -> None:
    registry = register_two(desk, known)
    promotion.promote(registry, 1, "champion", "the first", load_params(desk / "params.yaml").promotion)
    registry.set_alias("candidate", 2)
    models = f"{os.environ['MLFLOW_TRACKING_URI']}/#/models"

    prefect.open_form("promote/registry")
    prefect.fill({"version": "2", "why": "higher reward"})
    run = prefect.start("promote/registry")
    assert prefect.state(run, (*ENDED, "PAUSED"), PATIENCE)["type"] == "PAUSED"
    page.goto(f"{models}/hummingbird/versions/1")
    see(page, "champion")
    page.goto(f"{models}/hummingbird/versions/2")
    see(page, "candidate")

    prefect.open_question(run)
    see(page, "Version 2 as champion?")
    see(page, "held_out_reward 0.6 is not below 0.49")
    prefect.fill({"Name": "ann", "Comment": "looks right"})
    prefect.tick("Approve")
    prefect.submit()
    state = prefect.state(run, ENDED, PATIENCE)
    assert state["message"] == "version 2 of hummingbird is champion now, approved by ann"
    page.goto(f"{models}/hummingbird")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="Version 2"))
    for alias in ("champion", "candidate"):
        row.get_by_text(alias).first.wait_for()
    assert registry.aliases() == {"champion": 2, "candidate": 2}
    assert registry.entries()[-1].who == "ann"


def register_two(folder: Path, known: Callable[..., Evidence]) -> Registry:
    """Two registered versions, the second better; what they would be made of does not matter here."""
    registry = Registry(folder)
    registry.client.create_registered_model(registry.name)
    run = registry.client.create_run(registry.experiment, run_name="register")
    with TemporaryDirectory() as made:
        pipeline = Path(made) / PIPELINE
        pipeline.mkdir(parents=True)
        (pipeline / "weights").write_bytes(b"w")
        (Path(made) / "MLmodel").touch()
        registry.client.log_artifacts(run.info.run_id, made, "model")
    registry.client.set_terminated(run.info.run_id)
    for reward in (0.5, 0.6):
        tags = evidence.to_tags(known(reward, size=1, figures=Params().promotion.figures))
        source = f"{run.info.artifact_uri}/model"
        registry.client.create_model_version(registry.name, source, run.info.run_id, tags, await_creation_for=0)
    return registry
