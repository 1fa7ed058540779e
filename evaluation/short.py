"""A run of the whole chain that takes minutes, not half an hour: nothing is learned, every stage does its work."""

from __future__ import annotations

from typing import Any

#: Other values for the default parameters, by dotted name, as of `hummingbird flow run --set`.
SHORT: dict[str, Any] = {
    "download.clips": 120,
    "decoder.optim.steps": 4,
    "decoder.optim.batch_size": 2,
    "decoder.optim.warmup_steps": 1,
    "decoder.optim.sample_every": 2,
    "decoder.held_out": 8,
    **{
        f"stage1.{phase}.{name}": value
        for phase in ("distillation", "consistency")
        for name, value in {"steps": 4, "batch_size": 4, "warmup_steps": 1, "sample_every": 2}.items()
    },
    "stage2.optim.steps": 3,
    "stage2.optim.batch_size": 4,
    "stage2.optim.warmup_steps": 1,
    "stage2.optim.sample_every": 3,
    "stage2.reward_batch": 2,
    "stage2.validation_prompts": 2,
    "reneg.optim.steps": 2,
    "reneg.optim.batch_size": 2,
    "reneg.optim.sample_every": 0,
    "reneg.steps": 4,
    "reneg.late_steps": 2,
    "vbench.prompts": 16,
    "vbench.two_object_prompts": 6,
    "vbench.negative_prompts": 8,
    "vbench.diversity_prompts": 2,
    "vbench.shown_prompts": 2,
    "vbench.batch_size": 16,
    "latency.teacher_repeats": 2,
    "latency.student_repeats": 3,
    "latency.large_batch": 2,
    "latency.large_batch_repeats": 2,
    "latency.component_repeats": 1,
}
