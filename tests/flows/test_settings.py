from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import settings
from flows.settings import Settings, knobs, parse_overrides
from hummingbird.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_form_offers_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    from prefect.utilities.callables import parameter_schema

    from flows.tasks import hummingbird

    schema = parameter_schema(hummingbird).model_dump_for_openapi()["properties"]
    stages = schema["targets"]["anyOf"][0]["items"]["enum"]
    assert {"foundation", "stage1", "report"} <= set(stages)
    assert "miniature" in schema["profile"]["anyOf"][0]["enum"]
    offered = schema["overrides"]["anyOf"][0]
    assert offered["additionalProperties"] is False
    assert offered["properties"]["foundation.mode"]["enum"] == ["fetch", "train", "checkpoints"]
    assert set(schema) == set(Settings.model_fields)


def test_a_folder_without_pipeline_offers_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.stage_names() == []


def test_every_parameter_has_a_type_of_its_own() -> None:
    found = knobs()
    assert found["seed"] == {"title": "seed", "type": "integer", "position": 0}
    assert found["foundation.budget"]["exclusiveMinimum"] == 0.0
    assert found["training.compile"]["enum"] == [True, False], "as a switch the form would always send it"
    assert "$ref" not in json.dumps(found), "a reference would lead nowhere in the form"
    assert "stage1" not in found and "foundation" not in found, "sections are no parameters"


def test_the_form_keeps_the_order_of_the_file() -> None:
    places = [knob["position"] for knob in knobs().values()]
    assert places == list(range(len(places)))


def test_overrides_on_the_command_line_are_yaml() -> None:
    words = ["seed=4", "stage1.optimizer=adamw", "stage1.rate=1.0e-4", "stage1.on=true", "decoder.betas=[0.9, 0.99]"]
    values = parse_overrides(words)
    assert list(values.values()) == [4, "adamw", 1e-4, True, [0.9, 0.99]]
    for word in ("seed", "=4", "seed=[", "seed"):
        with pytest.raises(UserError, match="--set"):
            parse_overrides([word])


def test_a_run_with_other_parameters_works_apart() -> None:
    assert not Settings().apart and not Settings(profile="miniature", overrides={}).apart
    assert Settings(clean=True).apart and Settings(overrides={"seed": 3}).apart
