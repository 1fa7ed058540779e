"""A registered model is served: an untrained one of the miniature's size, by MLflow's own server."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hummingbird.data.mp4_tags import read_facts
from hummingbird.data.video_io import decode
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import server
from hummingbird.ops.registry import evidence, model
from hummingbird.ops.registry.evidence import Evidence, Files
from hummingbird.ops.registry.model import CANDIDATE, register
from hummingbird.ops.registry.promotion import promote
from hummingbird.ops.registry.server import Registry
from hummingbird.params import Promotion

PROMPT = "a large plain red circle moves slowly left on sea"


@pytest.fixture
def layout(root: Path) -> Layout:
    """A project whose stage 2 published an untrained student of two steps."""
    from diffusers import DDIMScheduler
    from transformers import CLIPTextModel

    from hummingbird.models.text import build_world_tokenizer, miniature_text_config
    from hummingbird.models.unet import miniature_unet
    from hummingbird.models.vae import miniature_vae
    from hummingbird.pipelines.loading import student_pipeline
    from hummingbird.pipelines.text_to_video import TextToVideoPipeline

    tokenizer = build_world_tokenizer()
    teacher = TextToVideoPipeline(
        vae=miniature_vae(),
        text_encoder=CLIPTextModel(miniature_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=miniature_unet(96),
        scheduler=DDIMScheduler(prediction_type="v_prediction"),
    )
    layout = Layout(root)
    student_pipeline(teacher, miniature_unet(96), solver_steps=8).save_pretrained(layout.stage2 / "pipeline")
    return layout


@contextmanager
def served(uri: str, tracking_uri: str, log: Path) -> Iterator[str]:
    """Address of MLflow's server of the model at ``uri``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["models", "serve", "-m", uri, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    env = os.environ | {
        "MLFLOW_TRACKING_URI": tracking_uri,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], stdout=out, stderr=out, start_new_session=True, env=env
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"{address}/ping", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(address: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.dumps({"dataframe_records": records}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return list(json.load(answer)["predictions"])


@pytest.mark.slow
@pytest.mark.e2e
def test_the_champion_answers_a_prompt_with_a_video(
    registry: Registry, layout: Layout, known: Callable[..., Evidence], rules: Promotion,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    sizes = [file.stat().st_size for file in (layout.stage2 / "pipeline").rglob("*") if file.is_file()]
    files = Files(md5="d3.dir", count=len(sizes), size=sum(sizes))
    made = known().model_copy(update={"files": files})
    monkeypatch.setattr(model, "gather", lambda layout, model: made)
    new = register(registry, layout, "stage2")
    assert registry.alias(CANDIDATE) == new.version == 1 and registry.alias("champion") is None
    version = registry.version(1)
    assert evidence.from_tags(version.tags) == made and "held_out_reward | 0.5000" in version.description
    promote(registry, 1, "champion", "the first", rules)

    with served("models:/hummingbird@champion", server.tracking_uri(layout.root), tmp_path / "log") as address:
        first, again = ask(
            address, {"prompt": PROMPT, "seed": 3, "steps": 1}, {"prompt": PROMPT, "seed": 3, "steps": 1}
        )
        [short] = ask(address, {"prompt": PROMPT, "num_frames": 3})
        for wrong in (
            {"prompt": ""},
            {"prompt": PROMPT, "steps": 9},
            {"prompt": PROMPT, "num_frames": 10**6},
            {"seed": 1},
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(address, wrong)
            assert refused.value.code == 400, (wrong, refused.value.read())
    video, fps = decode(base64.b64decode(first["video"]))
    assert video.shape == (8, 32, 32, 3) and fps == first["fps"] == 8 and first["frames"] == 8
    assert first["video"] == again["video"], "the same seed gives the same file"
    (tmp_path / "video.mp4").write_bytes(base64.b64decode(first["video"]))
    facts = read_facts(tmp_path / "video.mp4")
    assert facts["weights"] == {"artifacts/stage2": "d3.dir"} and facts["runs"] == {"artifacts/stage2": "r1"}
    assert (facts["prompt"], facts["seed"], facts["steps"], facts["frames"]) == (PROMPT, 3, 1, 8)
    assert decode(base64.b64decode(short["video"]))[0].shape == (3, 32, 32, 3)


def test_a_failed_registration_leaves_no_version(
    registry: Registry, layout: Layout, known: Callable[..., Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "gather", lambda layout, model: known())

    def fail(*_: Any) -> int:
        raise ConnectionError("the store went away")

    monkeypatch.setattr(model, "_log", fail)
    with pytest.raises(UserError, match="the store went away"):
        register(registry, layout, "stage2")
    assert registry.versions() == [] and registry.alias(CANDIDATE) is None
    [run] = registry.client.search_runs([registry.experiment])
    assert run.info.status == "FAILED" and "went away" in run.data.tags["error"]


def test_the_requirements_name_all_that_the_served_code_imports(project: Path) -> None:
    """Follows our own imports from the served file, and compares the others' with the list."""
    import ast

    seen: set[Path] = set()
    others: set[str] = set()
    waiting = [project / "src/hummingbird/ops/registry/served.py"]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.parse(path.read_text()).body:  # what is imported in functions is not needed to serve
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                ours = project / "src" / (name.replace(".", "/") + ".py")
                waiting += [ours] if name.startswith("hummingbird") else []
                others |= set() if name.startswith("hummingbird") else {name.split(".")[0]}
    others -= {*sys.stdlib_module_names, "__future__"}
    assert {"torch", "diffusers", "mlflow"} <= others <= set(model.REQUIREMENTS), others
