"""Nothing here reports home: the switches of every tool that would, and of the hub, which is asked only on purpose."""

from __future__ import annotations

import os

SWITCHES = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Set every switch that the user has not set; child processes inherit them. To be called before the tools load."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def left_on() -> list[str]:
    """Names of the switches that are not set, or set the other way round."""
    return [name for name, value in SWITCHES.items() if _meaning(os.environ.get(name)) != _meaning(value)]


def _meaning(value: str | None) -> bool | None:
    return None if value is None else value.lower() in ("1", "true", "yes", "on")
