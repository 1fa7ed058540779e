"""Stage 2's student: what processes that train together start from."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from evaluation.untrained import build
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Lora, Params, Stage2, with_overrides
from hummingbird.pipelines.loading import student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog
from hummingbird.stages import stage2
from hummingbird.stages.stage2 import make_anchor


def test_adapters_are_the_same_in_every_process() -> None:
    """Whatever a process has drawn before; and nothing that it draws later is another."""
    tiny = build("tiny", seed=0)
    unet = tiny.teacher
    teacher = TextToVideoPipeline(tiny.vae, tiny.text_encoder, tiny.tokenizer, unet, tiny.scheduler)
    settings = Stage2(anchor="none", lora=Lora(rank=2, alpha=2.0))
    found, later = [], []
    for state in (1, 2):
        pipeline = student_pipeline(teacher, copy.deepcopy(unet), 8)
        torch.manual_seed(state)
        student = make_anchor(settings, pipeline, Layout(), seed=5).student
        later.append(torch.rand(1))
        found.append({name: p.detach() for name, p in student.named_parameters() if p.requires_grad})
    assert found[0] and any(value.abs().sum() > 0 for value in found[0].values())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    torch.manual_seed(2)
    assert torch.equal(later[1], torch.rand(1))


def test_nothing_to_learn_by_is_refused(tmp_path: Path) -> None:
    params = with_overrides(
        Params(), {"stage2.rewards.image_weight": 0.0, "stage2.rewards.video_weight": 0.0, "stage2.anchor": "none"}
    )
    with pytest.raises(UserError, match="nothing to train by"):
        stage2.run(params, Layout(tmp_path), SilentLog())
