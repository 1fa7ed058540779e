"""Stage ``vbench``: sample every model on the prompt suite, judge the clips, and say how sure the figures are."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.comparison import Judged, compare, describe
from evaluation.metrics import CHANCE, clip_figures, diversity
from evaluation.vbench.judges import Judges, load_judges
from evaluation.vbench.prompts import Prompt, build_suite, render_prompts, suite_hash
from evaluation.vbench.protocol import DIMENSIONS
from evaluation.vbench.results import score_model, summarise
from evaluation.vbench.sampling import Job, fingerprint, sample, spread_over_seeds, through_vae
from hummingbird import provenance
from hummingbird.data.mp4_tags import write_tagged_mp4
from hummingbird.data.sheets import contact_sheet
from hummingbird.errors import UserError
from hummingbird.files import replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Params, Vbench
from hummingbird.pipelines.loading import ModelName, load_pipeline, require
from hummingbird.runlog import RunLog

Clips = NDArray[np.uint8]  # [N, T, H, W, 3]

_ENLARGE = 6  # of shown videos
_TEXT = ("tokenizer", "text_encoder", "vae")
_DELTAS = (("stage1", "pruned"), ("stage2", "stage1"), ("reneg", "teacher"), ("reneg", "handwritten"))


@dataclass(frozen=True)
class Entry:
    """One row of the comparison: a model and the clips it is to make."""

    name: str
    model: ModelName
    one_object: list[Job]
    two_objects: list[Job]
    again: list[Job]  # the prompts of the diversity figure with their further seeds
    negative_prompt: str | None = None

    @property
    def judged(self) -> list[Job]:
        return [*self.one_object, *self.two_objects]


@dataclass(frozen=True)
class Row:
    """What a row gave: clips of ``jobs``, figures of the one-object ones, VBench's result where all 16 were scored."""

    clips: Clips
    jobs: list[Job]
    judged: Judged
    vbench: dict[str, Any] | None
    diversity: dict[str, float]


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Read the models, write ``reports/vbench``. Clips made before a kill are kept and used by the next run.

    Raises:
        UserError: a model is missing, or the disk is full.
    """
    for made_by in ("foundation", "stage1", "stage2", "reneg"):  # before minutes go into sampling the first of them
        require(getattr(layout, made_by), made_by)
    settings = params.vbench
    suite = build_suite(settings.prompts, settings.two_object_prompts, settings.prompt_seed)
    _check_coverage(suite, settings)
    judges = load_judges(layout.foundation)
    cache = layout.work("vbench", fingerprint([layout.foundation, layout.stage1, layout.stage2, layout.reneg])[:16])
    rows: dict[str, Row] = {}
    facts: dict[str, dict[str, float]] = {}
    for entry in roster(settings):
        clips, facts[entry.name] = _sample(entry, suite, settings, layout, cache, log)
        rows[entry.name] = _judge(entry, clips, suite, judges, log)
    first = roster(settings)[0]
    rows["real_clips"] = _judge(
        first, _real(first, suite, rows["teacher"].clips.shape), suite, judges, log, "real_clips"
    )
    rows["real_clips_vae"] = _through_vae(rows["real_clips"], first, suite, layout, judges)
    summary = summarise_rows(rows, facts, suite, settings)
    with replacing_folder(layout.vbench) as folder:
        told = {entry.name: _told(entry, facts[entry.name], layout) for entry in roster(settings)}
        _publish(folder, rows, summary, suite, settings, log, told)
    shutil.rmtree(cache.parent, ignore_errors=True)
    return headline(summary)


def _check_coverage(suite: list[Prompt], settings: Vbench) -> None:
    """Every dimension needs a prompt, among all and among the few on which negative prompts are compared."""
    pairs = suite[settings.prompts :]
    for name, prompts in (("prompts", suite), ("negative_prompts", suite[: settings.negative_prompts] + pairs)):
        covered = {dimension for prompt in prompts for dimension in prompt.dimensions}
        if missing := sorted(set(DIMENSIONS) - covered):
            raise UserError(
                f"none of the prompts that vbench.{name} takes belongs to {', '.join(missing)}",
                f"raise vbench.{name} in params.yaml (24 is enough)",
            )


def roster(settings: Vbench) -> list[Entry]:
    """The models and the clips of each. Negative prompts are compared on fewer prompts: 50 steps are dear."""
    one = spread_over_seeds(range(settings.prompts), settings.seeds)
    two = spread_over_seeds(range(settings.prompts, settings.prompts + settings.two_object_prompts), settings.seeds)
    few = one[: settings.negative_prompts]
    again = [Job(job.prompt, seed) for job in few[: settings.diversity_prompts] for seed in settings.diversity_seeds]
    return [
        Entry("teacher", "teacher", one, two, again),
        Entry("pruned", "pruned", one, two, again),
        Entry("stage1", "stage1", one, two, again),
        Entry("stage2", "stage2", one, two, again),
        Entry("reneg", "reneg", few, two, again),
        Entry("handwritten", "teacher", few, [], [], settings.negative_prompt),
    ]


def _sample(
    entry: Entry, suite: list[Prompt], settings: Vbench, layout: Layout, cache: Path, log: RunLog
) -> tuple[Clips, dict[str, float]]:
    pipeline = load_pipeline(layout, entry.model)
    clips = sample(
        pipeline,
        [*entry.judged, *entry.again],
        suite,
        cache / entry.name,
        log,
        batch_size=settings.batch_size,
        negative_prompt=entry.negative_prompt,
        name=entry.name,
    )
    facts = {
        "params": sum(weight.numel() for weight in pipeline.unet.parameters()),
        "steps": pipeline.config.num_inference_steps,
        "guidance_scale": pipeline.config.guidance_scale,
    }
    return clips, facts


def _real(entry: Entry, suite: list[Prompt], shape: tuple[int, ...]) -> Clips:
    jobs = [*entry.judged, *entry.again]
    prompts = [suite[job.prompt] for job in jobs]
    return render_prompts(prompts, [job.noise_seed for job in jobs], frames=shape[1], size=shape[2])


def _judge(
    entry: Entry, clips: Clips, suite: list[Prompt], judges: Judges, log: RunLog, name: str | None = None
) -> Row:
    jobs = entry.judged
    single = clips[: len(entry.one_object)]
    real = _real(entry, suite, clips.shape)[: len(single)]
    figures = clip_figures(single, [suite[job.prompt] for job in entry.one_object], real, judges)
    judged = Judged(figures, [job.seed for job in entry.one_object])
    scored = (
        score_model(name or entry.name, clips[: len(jobs)], jobs, suite, judges, log) if entry.two_objects else None
    )
    return Row(clips[: len(jobs)], jobs, judged, scored, _diversity(entry, clips, judges))


def _diversity(entry: Entry, clips: Clips, judges: Judges) -> dict[str, float]:
    if not entry.again:
        return {}
    count = len({job.prompt for job in entry.again})
    again = clips[len(entry.judged) :].reshape(count, -1, *clips.shape[1:])
    values = diversity(np.concatenate([clips[:count, None], again], axis=1), judges)
    return {name: float(scores.mean()) for name, scores in values.items()} | {"diversity_n": float(count)}


def _through_vae(real: Row, entry: Entry, suite: list[Prompt], layout: Layout, judges: Judges) -> Row:
    """Real clips encoded and decoded: the ceiling of everything made in this latent space."""
    count = len(entry.one_object)
    clips = through_vae(layout.foundation / "vae", real.clips[:count])
    figures = clip_figures(clips, [suite[job.prompt] for job in entry.one_object], real.clips[:count], judges)
    return Row(clips, entry.one_object, Judged(figures, real.judged.seeds), None, {})


def summarise_rows(
    rows: dict[str, Row], facts: dict[str, dict[str, float]], suite: list[Prompt], settings: Vbench
) -> dict[str, Any]:
    """All figures under stable names: ``models``, ``real_clips``, ``chance``, ``vbench``, ``deltas``, ``header``."""
    described = {name: {**facts.get(name, {}), **describe(row.judged), **row.diversity} for name, row in rows.items()}
    real = {name: described.pop(name) for name in ("real_clips", "real_clips_vae")}
    return {
        "header": {
            "mode": "miniature",
            "prompts_sha256": suite_hash(suite),
            "seeds": list(settings.seeds),
            "diversity_seeds": list(settings.diversity_seeds),
            "negative_prompt": settings.negative_prompt,
        },
        "models": described,
        **real,
        "chance": CHANCE,
        "vbench": {name: summarise(row.vbench) for name, row in rows.items() if row.vbench},
        "deltas": {f"{new}-{old}": compare(rows[new].judged, rows[old].judged) for new, old in _DELTAS},
        "shown": [
            {"index": job.prompt, "prompt": suite[job.prompt].text, "seed": job.seed} for job in shown(settings, suite)
        ],
    }


def shown(settings: Vbench, suite: list[Prompt]) -> list[Job]:
    """Prompts whose clips are kept: one per motion first, the last one with two objects."""
    jobs = spread_over_seeds(range(min(settings.negative_prompts, settings.prompts)), settings.seeds)
    by_motion = {suite[job.prompt].scene.motion: job for job in reversed(jobs)}
    chosen = [*by_motion.values(), *(job for job in jobs if job not in by_motion.values())]
    pair = spread_over_seeds([settings.prompts], settings.seeds)
    return [*sorted(chosen[: settings.shown_prompts - 1], key=lambda job: job.prompt), *pair]


def _told(entry: Entry, facts: dict[str, float], layout: Layout) -> dict[str, Any]:
    """What `hummingbird generate` would write of such a video, without what is no content: commit, runs, device."""
    negative = {} if entry.negative_prompt is None else {"negative": entry.negative_prompt}
    made = {"model": entry.model, "decoder": "original", "steps": facts["steps"], "guidance": facts["guidance_scale"]}
    return {**made, **negative, "weights": provenance.weights(layout.root, provenance.WEIGHTS[entry.model])}


def _publish(
    folder: Path,
    rows: dict[str, Row],
    summary: dict[str, Any],
    suite: list[Prompt],
    settings: Vbench,
    log: RunLog,
    told: dict[str, dict[str, Any]],
) -> None:
    clips, labels = [], []
    for job in shown(settings, suite):
        for name, row in rows.items():
            if job not in row.jobs:
                continue
            clip = row.clips[row.jobs.index(job)]
            large = clip.repeat(_ENLARGE, axis=1).repeat(_ENLARGE, axis=2)
            asked = {"prompt": suite[job.prompt].text, "seed": job.noise_seed, "frames": len(clip), "scale": _ENLARGE}
            file = folder / "samples" / name / f"{job.prompt}.mp4"
            write_tagged_mp4(file, large, settings.fps, asked | told.get(name, {"model": name}))
            clips.append(clip)
            labels.append(f"{name}: {suite[job.prompt].text}")
    sheet = contact_sheet(clips, labels, columns=4)
    Image.fromarray(sheet).save(folder / "contact_sheet.png")
    log.image("vbench/contact_sheet", sheet)
    for name, row in rows.items():
        if row.vbench:
            (folder / f"{name}.json").write_text(json.dumps(row.vbench, indent=1))
    (folder / "prompts.json").write_text(json.dumps([prompt.to_vbench() for prompt in suite], indent=1))
    (folder / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False))


def headline(summary: dict[str, Any]) -> dict[str, float]:
    """The figures to compare between runs, flat."""
    rows = {**summary["models"], "real_clips": summary["real_clips"]}
    names = ("probe_all", "held_out_reward", "flicker", "spread", "diversity")
    flat = {f"{row}.{name}": figures[name] for row, figures in rows.items() for name in names if name in figures}
    flat |= {
        f"{row}.vbench_{part}": scores[part]
        for row, scores in summary["vbench"].items()
        for part in ("quality", "semantic", "total")
    }
    flat |= {f"{pair}.held_out_reward": delta["held_out_reward"]["value"] for pair, delta in summary["deltas"].items()}
    return flat
