"""The model card of a version: what it is, how good and how fast, how it was made, and what it is not for."""

from __future__ import annotations

from hummingbird.ops.registry.evidence import Evidence, Latency, Quality

_TEXT = """\
# {name}: {model}

A few-step text-to-video student. It takes a prompt and gives an MP4 video without sound.

## How good
{quality}

## How fast
{latency}

## How it was made
- stage `{model}`, MLflow run `{run}`, git commit `{commit}` ({git})
- `dvc.lock` SHA-256 `{lock}`; the model's folder there has md5 `{md5}` ({count} files, {size:.1f} MB)
- stages: {stages}; data: {data}; gates on the data: {gates}

## Limits
It knows the words and the scenes that it was taught, and answers every prompt, also one that it does not understand.
Scores of mode `miniature` are those of a small procedurally generated world and compare with no leaderboard. Nothing
filters prompts or videos, and nothing marks a video as generated. The licences of the teacher and of the training data
hold for the model as well.
"""


def write(name: str, known: Evidence) -> str:
    """The card of a version of ``name``, in Markdown."""
    provenance = known.provenance
    return _TEXT.format(
        name=name,
        model=known.model,
        quality=_quality(known.quality),
        latency=_latency(known.latency),
        run=known.producer_run_id,
        commit=provenance.commit,
        git=provenance.git,
        lock=provenance.lock_sha256,
        md5=known.files.md5,
        count=known.files.count,
        size=known.files.size / 1e6,
        stages=provenance.stages,
        data=provenance.data,
        gates=provenance.gates,
    )


def _quality(quality: Quality | None) -> str:
    if quality is None:
        return "It was not evaluated."
    rows = [f"| {name} | {it.value:.4f} | {it.low:.4f} to {it.high:.4f} |" for name, it in quality.figures.items()]
    head = f"Mode `{quality.mode}`, {quality.n} clips, sampling seeds {quality.seeds}; means with 95 % intervals."
    return "\n".join([head, "", "| figure | value | interval |", "|---|---|---|", *rows])


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "It was not timed."
    return (
        f"{latency.median_s:.4g} s a video (median of {latency.n}; 95th percentile {latency.p95_s:.4g} s), from prompt "
        f"to {latency.frames} frames of {latency.resolution} pixels, on {latency.device}, {latency.dtype}, "
        f"{latency.threads} threads."
    )
