"""Feature alignment: which blocks are compared, and what the comparison trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hummingbird.training.methods.cfg_distillation import CfgDistillation
from hummingbird.training.methods.features import FeatureAlignment


def aligned(pair: Any, weight: float = 2.0, **options: Any) -> CfgDistillation:
    features = FeatureAlignment(pair.student, pair.unet, pair.plan, weight=weight)
    return CfgDistillation(pair.student, pair.teacher(**options), pair.schedule, guidance=(1.0, 1.0), features=features)


def outputs(modules: list[nn.Module], call: Any) -> list[Tensor]:
    """What modules return in a call, got in another way than the method's."""
    found: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _, __, out: found.append(out[0] if isinstance(out, tuple) else out))
        for module in modules
    ]
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return found


def test_kept_blocks_are_compared_with_those_they_came_from(pair: Any) -> None:
    """By the plan: down, the first layer of each level; up, the first and the third."""
    method, batch = aligned(pair), pair.batch()
    torch.manual_seed(1)
    loss, figures = method.loss(batch, 0)
    torch.manual_seed(1)
    timesteps, _, condition, noise = method.draw(batch["latents"])
    noisy = pair.schedule.add_noise(batch["latents"], noise, timesteps)
    given = (noisy, timesteps, batch["text"])
    student, teacher = pair.student, pair.unet
    ours = outputs(
        [
            *(student.down_blocks[0].temp_attentions[0], student.down_blocks[1].temp_convs[0]),
            *(student.up_blocks[0].temp_convs[0], student.up_blocks[0].temp_convs[1]),
            *(student.up_blocks[1].temp_attentions[0], student.up_blocks[1].temp_attentions[1]),
        ],
        lambda: student(*given, timestep_cond=condition, fps=batch["fps"]),
    )
    theirs = outputs(
        [
            *(teacher.down_blocks[0].temp_attentions[0], teacher.down_blocks[1].temp_convs[0]),
            *(teacher.up_blocks[0].temp_convs[0], teacher.up_blocks[0].temp_convs[2]),
            *(teacher.up_blocks[1].temp_attentions[0], teacher.up_blocks[1].temp_attentions[2]),
        ],
        lambda: teacher(*given, fps=batch["fps"]),
    )
    expected = sum(F.mse_loss(a, b) for a, b in zip(ours, theirs, strict=True))
    torch.testing.assert_close(figures["features"], expected)
    torch.testing.assert_close(loss, figures["prediction"] + 2.0 * figures["features"])


def test_a_student_that_is_the_teacher_has_the_same_features(whole_pair: Any) -> None:
    method = aligned(whole_pair)
    whole_pair.student.eval()
    _, figures = method.loss(whole_pair.batch(), 0)
    assert float(figures["features"]) < 1e-9
    with torch.no_grad():  # the middle block is among them
        whole_pair.unet.mid_block.resnets[1].conv2.bias.add_(1.0)
    assert float(method.loss(whole_pair.batch(), 0)[1]["features"]) > 1e-3


def test_features_train_the_student_alone(pair: Any) -> None:
    method = aligned(pair, precision="bf16")
    _, _ = method.loss(pair.batch(), 0)
    torch.manual_seed(1)
    loss, figures = method.loss(pair.batch(), 0)
    assert figures["features"].dtype == torch.float32
    loss.backward()
    aware = pair.student.conv_in.weight.grad.clone()
    assert all(parameter.grad is None for parameter in pair.unet.parameters())
    pair.student.zero_grad()
    method.features.weight = 0.0
    torch.manual_seed(1)
    method.loss(pair.batch(), 0)[0].backward()
    assert float((aware - pair.student.conv_in.weight.grad).abs().max()) > 1e-4


def test_blocks_that_are_computed_again_give_the_same_gradients(pair: Any) -> None:
    """Gradient checkpointing."""
    method = aligned(pair)
    found = []
    for again in (False, True):
        for block in [*pair.student.down_blocks, *pair.student.up_blocks] if again else []:
            inner = block.forward
            block.forward = lambda *a, inner=inner, **k: checkpoint(inner, *a, use_reentrant=False, **k)
        torch.manual_seed(1)
        loss, _ = method.loss(pair.batch(), 0)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad.clone() for parameter in pair.student.parameters())])
        pair.student.zero_grad()
    for once, twice in zip(*found, strict=True):
        torch.testing.assert_close(twice, once)
