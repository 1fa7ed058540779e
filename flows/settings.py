"""What a run of the pipeline can be told: on the command line, in the form of the Prefect UI, or over its interface.

The form's JSON schema is made from ``dvc.yaml``, ``profiles/`` and the parameter models of the folder in which the
deployment is registered, so it offers the stages, profiles and parameters that there are, each with its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler

from hummingbird.errors import UserError
from hummingbird.params import Params
from hummingbird.profiles import profile_names


@dataclass(frozen=True)
class _OneOf:
    """Makes a JSON schema offer the names that there are when it is made. Whoever uses a name checks it."""

    names: Callable[[], list[str]]

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = self.names()
        return dict(handler(core)) | ({"enum": names} if names else {})


class _Knobs:
    """Makes a JSON schema list every parameter with its type and range."""

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(handler(core)) | {"properties": knobs(), "additionalProperties": False}


def stage_names() -> list[str]:
    """The stages in ``dvc.yaml`` of the current folder; none if there is no such file."""
    path = Path("dvc.yaml")
    return list(yaml.safe_load(path.read_text()).get("stages", {})) if path.is_file() else []


def knobs() -> dict[str, dict[str, Any]]:
    """The JSON schema of every parameter, by its dotted name.

    ``position`` keeps them in the order of params.yaml: a database of Prefect's may sort them by the lengths of names.
    """
    schema = Params.model_json_schema()
    found = _leaves(schema, schema.get("$defs", {}), "")
    return {name: {**knob, "position": place} for place, (name, knob) in enumerate(found)}


def _leaves(node: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        section = definitions.get(child.get("$ref", "").removeprefix("#/$defs/"))
        if section is not None:
            yield from _leaves(section, definitions, f"{prefix}{name}.")
        elif "$ref" not in str(child):  # an optional section has no type of its own here
            kept = {key: value for key, value in child.items() if key not in ("default", "title")}
            if child.get("type") == "boolean":  # a choice, since the form sends every switch, touched or not
                kept = {"enum": [True, False]}
            yield f"{prefix}{name}", {"title": f"{prefix}{name}", **kept}


Targets = Annotated[list[Annotated[str, _OneOf(stage_names)]], Field(description="stages; none: all of them")]
Profile = Annotated[str, _OneOf(profile_names)]
Overrides = Annotated[dict[str, Any], _Knobs()]
Seconds = Annotated[float, Field(gt=0.0)]


class Settings(BaseModel):
    """What one run of the pipeline was told.

    Args:
        targets: stages to bring up to date, with all they need; none means all stages.
        profile: parameter set under profiles/ to use; none keeps params.yaml.
        force: run the stages even if nothing changed.
        clean: work on what is committed, in a git worktree of its own.
        overrides: other values for parameters, by dotted name; such a run is ``clean`` too.
        stage_timeout_s: seconds after which a stage is stopped, where dvc.yaml gives it no ``timeout_s``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: list[str] | None = None
    profile: str | None = None
    force: bool = False
    clean: bool = False
    overrides: Mapping[str, Any] | None = None
    stage_timeout_s: Seconds | None = None

    @property
    def apart(self) -> bool:
        """Whether the run gets a worktree of its own: parameters of one run must not stay in the user's file."""
        return self.clean or bool(self.overrides)


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """``["stage1.lora.rank=4"]`` as ``{"stage1.lora.rank": 4}``; values are YAML.

    Raises:
        UserError: a word is not of this form.
    """
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {word}: {value!r} is no YAML value", "write section.name=value") from error
        if not (name and equals):
            raise UserError(f"--set {word} names no value", "write section.name=value, as in params.yaml")
    return values
