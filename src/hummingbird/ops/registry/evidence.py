"""What is known of a model version: how good, how fast and how traceable it is. Kept as tags of the version, one value
each (``quality.figures.held_out_reward.low``), so that they can be read and searched in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hummingbird.ops.tracking import flat

Finite = Annotated[float, Field(allow_inf_nan=False)]
CLEAN, UP_TO_DATE, PUSHED, GREEN = "clean", "up to date", "pushed", "green"


class Facts(BaseModel):
    """Base of all evidence. Read from tags, so numbers may come as text."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Figure(Facts):
    """A mean with its 95 % confidence interval."""

    value: Finite
    low: Finite
    high: Finite


class Quality(Facts):
    """Figures of one evaluation, larger is better. Two evaluations compare only if all but ``figures`` is equal.

    ``judges`` is a hash of the models and metric versions that did the judging, ``suite`` one of the prompts.
    """

    mode: str
    suite: str
    judges: str
    seeds: str
    n: int
    figures: dict[str, Figure]


class Latency(Facts):
    """Seconds for one video from prompt to frames. Two compare only if device, dtype, threads and size are equal."""

    median_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    p95_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    n: int
    device: str
    dtype: str
    threads: int
    resolution: str
    frames: int


class Provenance(Facts):
    """Whether the version can be made again. Each of ``git``, ``stages``, ``data`` and ``gates`` is one of the words
    :data:`CLEAN`, :data:`UP_TO_DATE`, :data:`PUSHED` and :data:`GREEN`, or else says what is wrong."""

    commit: str
    lock_sha256: str
    git: str
    stages: str
    data: str
    gates: str


class Files(Facts):
    """The version's pipeline folder: its md5 as in ``dvc.lock``, how many files, how large."""

    md5: str
    count: int
    size: int


class Evidence(Facts):
    """All that the gates look at. What was not measured is None, which no gate lets pass."""

    model: str
    producer_run_id: str
    files: Files
    provenance: Provenance
    quality: Quality | None = None
    latency: Latency | None = None


def to_tags(evidence: Evidence) -> dict[str, str]:
    """Tags of a model version, without those whose value is unknown."""
    return {name: str(value) for name, value in flat(evidence.model_dump(exclude_none=True)).items()}


def from_tags(tags: Mapping[str, str]) -> Evidence | None:
    """The evidence in the tags of a version; None if it is incomplete, as of a version made in another way."""
    nested: dict[str, Any] = {}
    for name, value in tags.items():
        *groups, last = name.split(".")
        if (groups or [last])[0] not in Evidence.model_fields:
            continue  # of MLflow or of people
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                return None
        place[last] = value
    try:
        return Evidence.model_validate(nested)
    except ValidationError:
        return None
