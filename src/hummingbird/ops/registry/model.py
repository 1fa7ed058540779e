"""Registers a model of the chain: its pipeline folder, the code that runs it and what is known of it, as a new version
that MLflow can serve."""

from __future__ import annotations

import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hummingbird
from hummingbird import provenance
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops.checkout import git_tags
from hummingbird.ops.registry import card, evidence
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.gather import gather, pipeline_folder
from hummingbird.ops.registry.server import Registry, explained

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CANDIDATE = "candidate"  # the alias of what was registered last
#: What the served model imports, beside the standard library and our own code, which travels with it.
REQUIREMENTS = (
    "accelerate",
    "av",
    "diffusers",
    "mlflow",
    "numpy",
    "pandas",
    "safetensors",
    "torch",
    "transformers",
)
EXAMPLE = {"prompt": "a large plain red circle moves slowly left on sea", "seed": 0}


@dataclass(frozen=True)
class Registered:
    """A new version, and what is known of it."""

    name: str
    version: int
    run_id: str
    evidence: Evidence


def register(registry: Registry, layout: Layout, model: str) -> Registered:
    """Make ``model`` a new version with the alias ``candidate``. It is not promoted by that.

    Raises:
        UserError: no such model, it was not made yet, or the server refuses; then no version was made.
    """
    folder = pipeline_folder(layout, model)
    known = gather(layout, model)
    tags = {"hummingbird.kind": "register", "producer_run_id": known.producer_run_id, **git_tags(layout.root)}
    with explained(registry.uri):
        run = registry.client.create_run(registry.experiment, run_name=f"register {model}", tags=tags)
        run_id = str(run.info.run_id)
        try:
            version = _log(registry, run_id, folder, known, made_of(layout, known))
        except BaseException as error:
            registry.client.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:500])
            registry.client.set_terminated(run_id, status="FAILED")
            raise
        registry.client.set_terminated(run_id)
    registry.set_alias(CANDIDATE, version)
    return Registered(registry.name, version, run_id, known)


def made_of(layout: Layout, known: Evidence) -> dict[str, Any]:
    """What the videos of a version say of its weights and its code."""
    path = f"artifacts/{known.model}"
    return {
        "model": known.model,
        "weights": {path: known.files.md5},
        "runs": {path: known.producer_run_id},
        "code": provenance.code(layout.root),
    }


def _log(registry: Registry, run_id: str, folder: Path, known: Evidence, config: dict[str, Any]) -> int:
    """Upload the model into the run, then make the version with all its tags in one step."""
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    text = card.write(registry.name, known)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "README.md"
        file.write_text(text)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=known.model,
                python_model=str(Path(__file__).with_name("served.py")),
                artifacts={"pipeline": str(folder), "model_card": str(file)},
                model_config=config,
                code_paths=[str(Path(hummingbird.__file__).parent)],
                signature=signature(),
                input_example=_example(),
                pip_requirements=requirements(),
            )
    if not registry.client.search_registered_models(f"name = '{registry.name}'"):
        registry.client.create_registered_model(registry.name, description="Text-to-video models: prompt in, MP4 out.")
    made = registry.client.create_model_version(
        registry.name,
        logged.model_uri,
        run_id,
        tags=evidence.to_tags(known),
        description=text,
        model_id=logged.model_id,
    )
    return int(made.version)


def signature() -> ModelSignature:
    """Names and types of what the served model takes and gives; only the prompt must be given."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    long, double, string = DataType.long, DataType.double, DataType.string
    options = (ColSpec(long, name, required=False) for name in ("seed", "steps", "num_frames"))
    return ModelSignature(
        inputs=Schema([ColSpec(string, "prompt"), *options]),
        outputs=Schema(
            [ColSpec(string, "video"), ColSpec(double, "fps"), ColSpec(long, "frames"), ColSpec(double, "seconds")]
        ),
    )


def requirements() -> list[str]:
    """What to install to run the model: the versions installed here, without the build of torch."""
    try:
        return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS]
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"{error.name} is not installed", "make setup") from error


def _example() -> Any:
    import pandas as pd

    return pd.DataFrame([EXAMPLE])
