"""Figures of the light decoder beside those of the VAE's own one, under stable names."""

from __future__ import annotations

from typing import Any

from evaluation.report.inputs import Inputs

FIGURES = ("psnr_db", "ssim", "flicker")


def decoder_summary(inputs: Inputs) -> dict[str, Any]:
    """Fidelity to the VAE's decoder on held-out latents (``value``, 95 % interval), and what both cost."""
    made = inputs.stages.get("decoder", {})
    timed: dict[str, Any] = (inputs.latency or {}).get("light_decoder", {})
    fidelity = {
        name: {"value": made.get(name), "low": made.get(f"{name}_low"), "high": made.get(f"{name}_high")}
        for name in FIGURES
    }
    seconds = timed.get("decoding", {})
    whole = {name: _median(inputs, name) for name in ("stage2", "stage2_light")}
    return {
        **fidelity,
        "n": made.get("clips"),
        "original_second_difference": made.get("original_second_difference"),
        "params": {"original": made.get("original_params"), "light": made.get("params")},
        "gflop": {"original": made.get("original_gflop"), "light": made.get("gflop")},
        "decode_s": {
            "original": seconds.get("stage2", {}).get("median_s"),
            "light": seconds.get("stage2_light", {}).get("median_s"),
        },
        "end_to_end_s": {"original": whole["stage2"], "light": whole["stage2_light"]},
        "ratio": {
            "params": _ratio(made.get("original_params"), made.get("params")),
            "gflop": made.get("gflop_ratio"),
            "decode_s": timed.get("speedup_decoding", {}).get("value"),
            "end_to_end_s": timed.get("speedup_end_to_end", {}).get("value"),
        },
        "ratio_ci": {
            "decode_s": _ends(timed.get("speedup_decoding")),
            "end_to_end_s": _ends(timed.get("speedup_end_to_end")),
        },
    }


def _median(inputs: Inputs, model: str) -> float | None:
    timed = (inputs.latency or {}).get("models", {}).get(model, {})
    value: float | None = timed.get("batches", {}).get("1", {}).get("median_s")
    return value


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _ends(estimate: dict[str, float] | None) -> list[float] | None:
    return [estimate["low"], estimate["high"]] if estimate else None
