"""Golden tables of schedules, embeddings and samplers, computed on the CPU in the tables' own precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from diffusers.models.embeddings import Timesteps
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch import Tensor

from hummingbird.models.noise import (
    NoiseSchedule,
    boundary_scalings,
    ddim_sigmas,
    dynamic_scales,
    scaled_linear_betas,
    solver_timesteps,
    videocrafter_scheduler,
)
from hummingbird.parity.embeddings import Waves
from hummingbird.parity.golden import Case, Golden, Kind, Setup
from hummingbird.pipelines.loading import student_scheduler
from hummingbird.pipelines.text_to_video import guidance_embedding, guidance_frequencies, student_timesteps

SINGLE, DOUBLE = 1e-6, 1e-12  # relative to the largest value of a table

Table = Mapping[str, Any]


def _compare(name: str, ours: Tensor, golden: Any, tolerance: float) -> Case:
    return Case.compare(name, ours, torch.tensor(golden, dtype=torch.float64), tolerance, relative=True)


def _by_step(name: str, table: Table, columns: Mapping[str, Tensor], tolerance: float) -> Iterator[Case]:
    """A table of timestep -> {column: value}."""
    steps = torch.tensor([int(step) for step in table])
    for column, ours in columns.items():
        if all(column in row for row in table.values()):
            yield _compare(f"{name} {column}", ours[steps], [row[column] for row in table.values()], tolerance)


def _noise(table: Table) -> Iterator[Case]:
    """Betas in float64 as the teacher was trained with, and diffusers' float32 as the student is."""
    double = _columns(scaled_linear_betas())
    yield from _by_step("float64", table["lvdm_float64"], double, DOUBLE)
    scheduler = videocrafter_scheduler()
    single = {"beta": scheduler.betas, "alphas_cumprod": scheduler.alphas_cumprod}
    yield from _by_step("float32", table["turbo_float32"], single, SINGLE)


def _columns(betas: Tensor) -> dict[str, Tensor]:
    alphas = (1 - betas).cumprod(0)
    return {"beta": betas, "alphas_cumprod": alphas, "sqrt_ac": alphas.sqrt(), "sqrt_1m_ac": (1 - alphas).sqrt()}


def _zero_snr(table: Table) -> Iterator[Case]:
    yield from _by_step("zero SNR", table, _columns(rescale_zero_terminal_snr(scaled_linear_betas())), DOUBLE)


def _scales(table: Table) -> Iterator[Case]:
    rows = {step: {"scale": value} for step, value in table["values"].items()}
    yield from _by_step("clean latents'", rows, {"scale": dynamic_scales(table["len"])}, DOUBLE)


def _boundary(dtype: torch.dtype, tolerance: float) -> Callable[[Table], Iterator[Case]]:
    def cases(table: Table) -> Iterator[Case]:
        steps = torch.tensor([row["t"] for row in table["rows"]])
        sizes = {key: table[key] for key in ("sigma_data", "timestep_scaling")}
        found = boundary_scalings(steps, torch.zeros(1, dtype=dtype), **sizes)
        for column, ours in zip(("c_skip", "c_out"), found, strict=True):
            yield _compare(f"boundary {dtype} {column}", ours, [row[column] for row in table["rows"]], tolerance)

    return cases


def _guidance(dim: int) -> Callable[[Table], Iterator[Case]]:
    def cases(table: Table) -> Iterator[Case]:
        waves = guidance_waves(torch.tensor(table["w"], dtype=torch.float64), dim)
        yield from _embedding(f"guidance embedding {dim}", waves, table)

    return cases


def guidance_waves(w: Tensor, dim: int) -> Waves:
    """Our embedding of guidance weights w [B] in the form cond + w (cond - uncond), through our scale g = w + 1; in
    float64 because the embedding multiplies it by 1,000."""
    ours = guidance_embedding(w.double() + 1, dim)
    return Waves(ours, 1000 * w.double(), guidance_frequencies(dim), sine_first=True)


def _timestep(dim: int) -> Callable[[Table], Iterator[Case]]:
    def cases(table: Table) -> Iterator[Case]:
        steps = torch.tensor(table["t"])
        ours = Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0)(steps)
        frequencies = (-math.log(10_000) * torch.arange(dim // 2, dtype=torch.float32) / (dim // 2)).exp()
        waves = Waves(ours, steps, frequencies, sine_first=False)
        yield from _embedding(f"timestep embedding {dim}", waves, table)

    return cases


def _embedding(name: str, waves: Waves, table: Table) -> Iterator[Case]:
    """First, middle and last places of each row, and the rows' sums where the table has them."""
    half = waves.ours.shape[1] // 2
    places = {"first8": slice(8), "mid8_from_half": slice(half, half + 8), "last4": slice(-4, None)}
    for place, columns in places.items():
        yield waves.compare(f"{name} {place}", torch.tensor(table[place]), columns)
    if "row_sum" in table:
        yield waves.row_sums(f"{name} row_sum", torch.tensor(table["row_sum"], dtype=torch.float64))


def _solver(table: Table) -> Iterator[Case]:
    """The grid of consistency distillation, and the step each start leads to."""
    schedule = NoiseSchedule(videocrafter_scheduler())
    grid = solver_timesteps(schedule.num_timesteps, len(table["timesteps"]))
    end = (grid - table["topk"]).clamp(min=0)
    yield _compare("solver timesteps", grid, table["timesteps"], 0)
    yield _compare("solver alphas", schedule.alphas_cumprod[grid], table["alpha_cumprods"], SINGLE)
    yield _compare("solver alphas before", schedule.alphas_cumprod[end], table["alpha_cumprods_prev"], SINGLE)
    pairs = [[grid[pair["index"]], end[pair["index"]]] for pair in table["pairs"]]
    wanted = [[pair["start"], pair["end"]] for pair in table["pairs"]]
    yield _compare("solver pairs", torch.tensor(pairs), wanted, 0)


def _solver_scales(table: Table) -> Iterator[Case]:
    grid = solver_timesteps(1000, len(table["scale"]))
    end = torch.cat([torch.zeros(1, dtype=torch.long), grid[:-1]])
    scales = dynamic_scales()
    yield _compare("solver scales", scales[grid], table["scale"], DOUBLE)
    yield _compare("solver scales before", scales[end], table["scale_prev"], DOUBLE)


def _solver_step(table: Table) -> Iterator[Case]:
    schedule, scales = NoiseSchedule(videocrafter_scheduler()), dynamic_scales()
    start = solver_timesteps(schedule.num_timesteps, 50)[torch.tensor(table["index"]).long()]
    end = (start - 20).clamp(min=0)
    x0, eps = torch.tensor(table["pred_x0"]), torch.tensor(table["pred_noise"])
    yield _compare("DDIM step", schedule.ddim_step(x0, eps, end), table["x_prev"], SINGLE)
    scaled = x0 * (scales[end] / scales[start])[:, None].float()
    yield _compare("DDIM step, scaled", schedule.ddim_step(scaled, eps, end), table["x_prev_scaled_eta0"], SINGLE)


def _sampler_timesteps(table: Table) -> Iterator[Case]:
    scheduler = student_scheduler(videocrafter_scheduler())
    for steps, wanted in table.items():
        ours = torch.tensor(student_timesteps(int(steps), scheduler))
        yield _compare(f"{steps} sampling steps", ours, wanted, 0)


def _sampler_step(table: Table) -> Iterator[Case]:
    """The consistency sampler on given samples and outputs.

    diffusers draws its own noise, so what it drew is replaced by the recorded noise in the comparison. It adds none
    after the last step, where the original does; only ``denoised`` is used of that one.
    """
    scheduler = student_scheduler(videocrafter_scheduler())
    rows, shape = table["rows"], table["shape"]
    steps = student_timesteps(len(rows), scheduler)
    scheduler.set_timesteps(timesteps=steps)
    schedule = NoiseSchedule(scheduler)
    for i, row in enumerate(rows):
        sample, output, noise, wanted = (
            torch.tensor(row[key]).view(shape) for key in ("sample", "model_output", "noise", "prev_sample")
        )
        step = scheduler.step(output, steps[i], sample, generator=torch.Generator().manual_seed(i))
        yield _compare(f"sampler step {i} denoised", step.denoised.flatten(), row["denoised"], SINGLE)
        if i + 1 < len(rows):
            drawn = torch.randn(shape, generator=torch.Generator().manual_seed(i))
            _, sigma = schedule.coefficients(torch.tensor([steps[i + 1]]), drawn)
            ours = step.prev_sample + sigma * (noise - drawn)
            yield _compare(f"sampler step {i} next", ours, wanted.tolist(), SINGLE)


def _teacher_sampler(table: Table) -> Iterator[Case]:
    """DDIM with noise. Timesteps are diffusers'; the noise levels are compared in float64, which diffusers' are not."""
    scheduler = videocrafter_scheduler()
    scheduler.set_timesteps(len(table["timesteps"]))
    steps = scheduler.timesteps.flip(0)
    yield _compare("teacher timesteps", steps, table["timesteps"], 0)
    alphas = (1 - scaled_linear_betas()).cumprod(0)
    before = alphas[torch.cat([torch.zeros(1, dtype=torch.long), steps[:-1]])]
    columns = {"alphas": alphas[steps], "alphas_prev": before, "sigmas": ddim_sigmas(alphas[steps], before)}
    for key, rows in table.items():
        if key != "timesteps":
            where = slice(0, int(key[5:])) if key.startswith("first") else slice(-int(key[4:]), None)
            for column, ours in columns.items():
                yield _compare(f"teacher {column} {key}", ours[where], rows[column], DOUBLE)


_TABLES: dict[str, Callable[[Table], Iterator[Case]]] = {
    "schedule": _noise,
    "schedule_zero_snr_float64": _zero_snr,
    "vc2_scale_arr": _scales,
    "boundary_scalings_float32_from_int64_timesteps": _boundary(torch.float32, SINGLE),
    "boundary_scalings_float64": _boundary(torch.float64, DOUBLE),
    "ddim_solver_50": _solver,
    "ddim_solver_50_scaled": _solver_scales,
    "ddim_step": _solver_step,
    "turbo_inference_timesteps": _sampler_timesteps,
    "turbo_scheduler_step_4": _sampler_step,
    "lvdm_ddim50_eta1": _teacher_sampler,
}
_EMBEDDINGS = {"guidance_scale_embedding_dim": _guidance, "timestep_embedding_dim": _timestep}


def _handler(table: str) -> Callable[[Table], Iterator[Case]] | None:
    for prefix, make in _EMBEDDINGS.items():
        if table.startswith(prefix):
            return make(int(table.removeprefix(prefix)))
    return _TABLES.get(table)


def _is_tables(golden: Golden) -> bool:
    return "schedule" in golden.config and "lvdm_float64" in golden.config["schedule"]


def _cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    for name, table in golden.config.items():
        handler = _handler(name)
        if handler is None:
            yield Case(f"{name} (a table nobody here can compute)", float("inf"), 0)
        else:
            yield from handler(table)


KINDS = [Kind("schedule tables", _is_tables, _cases, has_tensors=False)]
