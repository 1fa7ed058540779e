"""Feature alignment: the student's blocks answer as the teacher's blocks do that they came from.

The first stage of Hummingbird's image-to-video student: l1 sum_blocks |F_s - F_t|^2 + l2 |v_s - v_t|^2, whose weights
were not published. Here l2 is 1, and each |.|^2 a mean over its elements, so that l1 means the same at every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.models.pruning import PruningPlan
from hummingbird.models.unet import VideoUNet


class FeatureRecorder:
    """Keeps what modules return while it is entered, in their order. It hooks them for good: a network that is compiled
    afterwards has the hooks in its graph.

    A block that is computed again in the backward pass (gradient checkpointing) is not recorded again.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.recording = False
        self.outputs: list[Tensor | None] = [None] * len(modules)
        for number, module in enumerate(modules):
            module.register_forward_hook(partial(self._keep, number))

    def _keep(self, number: int, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self.recording:
            self.outputs[number] = output[0] if isinstance(output, tuple) else output

    def __enter__(self) -> FeatureRecorder:
        self.recording = True
        return self

    def __exit__(self, *_: object) -> None:
        self.recording = False

    def take(self) -> list[Tensor]:
        """The recorded outputs, which are forgotten here.

        Raises:
            RuntimeError: a module was not called.
        """
        found = [output for output in self.outputs if output is not None]
        if len(found) != len(self.outputs):
            raise RuntimeError("a block was not called while its features were recorded")
        self.outputs = [None] * len(found)
        return found


class FeatureAlignment:
    """Sum over blocks of the mean squared distance between a student's and its teacher's features.

    A block is a layer of a level (its residual layer, temporal convolution and transformers) or the middle block.

    Args:
        teacher: the denoiser that the student was pruned from by ``plan``.
    """

    def __init__(self, student: VideoUNet, teacher: VideoUNet, plan: PruningPlan, *, weight: float) -> None:
        self.weight = weight
        self.student = FeatureRecorder(_blocks(student))
        self.teacher = FeatureRecorder(_blocks(teacher, plan))

    def distance(self) -> Tensor:
        """After a recorded pass of each, the teacher's with both passes of guidance in one batch: what the conditional
        ones, without gradient, are away from the student's. float32."""
        pairs = zip(self.student.take(), self.teacher.take(), strict=True)
        # the copy is needed: of the teacher's inference tensors autograd could save nothing
        theirs = ((ours, both.chunk(2)[1].to(torch.float32, copy=True)) for ours, both in pairs)
        return torch.stack([F.mse_loss(ours.float(), target) for ours, target in theirs]).sum()


def _blocks(unet: VideoUNet, plan: PruningPlan | None = None) -> list[nn.Module]:
    """The last part, whose output is the block's, of every block or of those that ``plan`` keeps."""
    levels = [*unet.down_blocks, *unet.up_blocks]
    kept = [range(len(level.resnets)) for level in levels] if plan is None else [*plan.down, *plan.up]
    found = [
        getattr(level, "temp_attentions" if hasattr(level, "temp_attentions") else "temp_convs")[layer]
        for level, layers in zip(levels, kept, strict=True)
        for layer in layers
    ]
    middle = unet.mid_block if plan is None or plan.mid_block else None
    return found if middle is None else [*found, middle]
