"""The figures of :mod:`evaluation.latency.unet_forward` as text."""

from __future__ import annotations

from typing import Any


def as_text(figures: dict[str, Any]) -> str:
    """Conditions, times, ratios and shares of the operations, for reading."""
    return "\n\n".join((_heading(figures), _times(figures), _ratios(figures), *_profiles(figures))) + "\n"


def _heading(figures: dict[str, Any]) -> str:
    where, size, plan = figures["conditions"], figures["size"], figures["plan"]
    bf16 = {True: "yes", False: "no: bfloat16 is emulated", None: "unknown"}[where["bfloat16_in_hardware"]]
    threads = f", {where['threads']} threads" if "threads" in where else ""
    return "\n".join(
        (
            f"UNet forward, size {figures['name']}: {figures['parameters'] / 1e6:.0f}M parameters, "
            f"channels {'/'.join(map(str, size['channels']))}, {size['frames']} frames of "
            f"{size['height']}x{size['width']} latents, {size['tokens']} tokens, batch {size['batch']}",
            f"{where['device']}{threads}; bfloat16 in hardware: {bf16}; torch {where['torch']}, "
            f"diffusers {where['diffusers']}; compiled: {'yes' if plan['compiled'] else 'no'}",
            f"seed {plan['seed']}, warm-up {plan['warmup']}, n {plan['repeats']}, in turns; commit {where['commit']}"
            f"{' and uncommitted changes' if where['uncommitted_changes'] else ''}",
        )
    )


def _times(figures: dict[str, Any]) -> str:
    rows = [f"{'mode/implementation':32}{'median s':>10}{'p95 s':>10}{'peak MB':>10}"]
    for name, run in figures["runs"].items():
        peak = figures["peak_bytes_above_weights"][name]
        memory = "" if peak is None else f"{peak / 1e6:.0f}"
        rows.append(f"{name:32}{run['median_s']:>10.3f}{run['p95_s']:>10.3f}{memory:>10}")
    return "\n".join(rows)


def _ratios(figures: dict[str, Any]) -> str:
    rows = []
    for mode, ratio in figures["diffusers_over_ours"].items():
        agreement = figures["agreement"][mode]
        rows.append(
            f"{mode}: ours is {_ratio(ratio)} times as fast as diffusers'; outputs differ by at most "
            f"{agreement['max_abs_difference']:.1e} (largest value {agreement['max_abs']:.2g})"
        )
    first = next(iter(figures["diffusers_over_ours"]))
    for mode, gains in figures["gain_over_first_mode"].items():
        rows.append(
            f"ours in {mode} is {_ratio(gains['over_ours'])} times as fast as ours in {first}, "
            f"{_ratio(gains['over_diffusers'])} times as fast as diffusers' in {first}"
        )
    return "\n".join(rows)


def _ratio(ratio: dict[str, Any]) -> str:
    return f"{ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _profiles(figures: dict[str, Any]) -> list[str]:
    tables = []
    for name, kinds in figures["profile"].items():
        rows = [f"{f'profile of {name}':32}{'share':>10}{'s':>10}{'operations':>12}"]
        for kind, found in kinds.items():
            rows.append(f"{kind:32}{found['share']:>10.1%}{found['seconds']:>10.3f}{found['operations']:>12.0f}")
        tables.append("\n".join(rows))
    return tables
