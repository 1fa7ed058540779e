"""The golden consistency distillation step: our method on recorded network outputs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.models.noise import NoiseSchedule, solver_timesteps, videocrafter_scheduler
from hummingbird.parity.golden import Case, Golden, Kind, Setup, has_keys
from hummingbird.parity.schedules import guidance_waves
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher

_TOLERANCE = 1e-6  # of the largest value

#: A solver step subtracts two terms that are up to nine times the result, and the recorded network outputs are rounded
#: to float32 before: in float64 throughout, x_prev is 1.01e-6 away from the recorded one. It and the target, which is
#: made of it, cannot be held to 1e-6; nor safely what is quadratic in it.
_CANCELLED = {"x_prev": 2e-6, "target": 2e-6, "l2_loss": 2e-6}


class _Recorded(nn.Module):
    """A network that returns recorded outputs, one a call, whatever it is given."""

    def __init__(self, outputs: list[Tensor], guidance_dim: int) -> None:
        super().__init__()
        self.outputs = iter(outputs)
        self.config = SimpleNamespace(time_cond_proj_dim=guidance_dim)

    def forward(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
        return SimpleNamespace(sample=next(self.outputs))


def _is_step(golden: Golden) -> bool:
    return has_keys(golden.config, "num_ddim_timesteps", "huber_c", "topk")


def _cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """The step is arithmetic: float32, on the CPU."""
    config, given, wanted = golden.config, golden.under("in/"), golden.under("out/")
    schedule = NoiseSchedule(videocrafter_scheduler())
    [embedding_name] = [name for name in wanted if name.startswith("w_embedding_")]
    dim = int(embedding_name.removeprefix("w_embedding_"))
    student = _Recorded([given["student_eps"], given["target_eps"]], dim)
    both = torch.cat([given["teacher_uncond_eps"], given["teacher_cond_eps"]])
    method = ConsistencyDistillation(
        student,  # type: ignore[arg-type]  # recorded outputs in place of a network
        GuidedTeacher(_Recorded([both, both], dim), torch.zeros(1, 1, 1)),
        schedule,
        guidance=(1.0, 1.0),  # nothing is drawn here
        solver_steps=config["num_ddim_timesteps"],
        huber_c=config["huber_c"],
    )
    guidance = given["w"] + 1  # uncond + g (cond - uncond) = cond + w (cond - uncond)
    waves = guidance_waves(given["w"], dim)
    start = solver_timesteps(schedule.num_timesteps, config["num_ddim_timesteps"])[given["index"]]
    text, fps = torch.zeros(len(start), 1, 1), torch.zeros(len(start))
    with torch.no_grad():
        step = method.step(given["latents"], given["noise"], start, guidance, waves.ours, text, fps)
        guided = method.teacher(step.noisy, start, text, guidance, fps)
    ours = {
        "start_timesteps": start,
        "end_timesteps": (start - method.skip).clamp(min=0),
        "noisy_input": step.noisy,
        "student_pred_x0": schedule.clean_and_noise(given["student_eps"], step.noisy, start)[0],
        "model_pred": step.clean,
        "teacher_cfg_eps": guided,
        "teacher_cfg_x0": schedule.clean_and_noise(guided, step.noisy, start)[0],
        "x_prev": step.previous,
        "target": step.target,
        "huber_loss": step.loss[None],
        "l2_loss": F.mse_loss(step.clean, step.target)[None],
    }
    yield waves.compare(embedding_name, wanted.pop(embedding_name))
    for name, golden_value in wanted.items():
        yield Case.compare(name, ours[name], golden_value, _CANCELLED.get(name, _TOLERANCE), relative=True)


KINDS = [Kind("consistency step", _is_step, _cases)]
