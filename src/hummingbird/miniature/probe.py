"""Trains the probe: supervised on clips of all combinations, spoilt ones and such with artefacts among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from hummingbird.data import world
from hummingbird.miniature.artefacts import CLIP_ARTEFACTS, apply_artefacts, natural_variation
from hummingbird.miniature.reward_data import to_clips
from hummingbird.models.probe import HEADS, Probe
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

CLIPS = 4096
SPOILT_SHARE = 0.3
ARTEFACT_SHARE = 0.3
STEPS = 1100
BATCH_SIZE = 64
LEARNING_RATE = 3e-3
_IGNORED = -100  # cross_entropy's ignore_index


def labels_of(scene: world.Scene) -> dict[str, int]:
    """Class index per head. A size is only told for one object, a motion only where motion was not spoilt."""
    first = scene.objects[0]
    names = {
        "color": first.color,
        "shape": first.shape,
        "motion": scene.motion,
        "background": scene.background,
        "texture": first.texture,
        "size": first.size,
        "spoilage": scene.spoilage or "none",
    }
    labels = {head: HEADS[head].index(name) for head, name in names.items()}
    if scene.relation is not None:
        labels["size"] = _IGNORED
    if scene.spoilage in world.MOTION_SPOILAGE:
        labels["motion"] = _IGNORED
    return labels


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """Clips uint8 [N, T, H, W, 3], labels [N] per head, and which clips have one object only [N]."""

    videos: NDArray[np.uint8]
    labels: dict[str, Tensor]
    single: Tensor


def make_labelled(seed: int, count: int, log: RunLog, *, spoilt_share: float = SPOILT_SHARE) -> LabelledClips:
    """Every second clip is of the combinations kept out of the other models' training: the probe must know them all."""
    clips = [
        world.make_clip(seed, index, spoilt_share=spoilt_share, held_out=index % 2 == 1)
        for index in log.progress(range(count), "clips for the probe", count)
    ]
    labels = [labels_of(clip.scene) for clip in clips]
    return LabelledClips(
        videos=np.stack([clip.video for clip in clips]),
        labels={head: torch.tensor([row[head] for row in labels]) for head in HEADS},
        single=torch.tensor([clip.scene.relation is None for clip in clips]),
    )


class ProbeSampler:
    """``sampler(step) -> (clips [B, T, 3, H, W], labels)``: a pure function of the step."""

    def __init__(self, data: LabelledClips, *, batch_size: int, seed: int) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed

    def __call__(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, step])
        g = Generator().manual_seed(int(rng.integers(2**62)))
        rows = rng.integers(len(self.data.videos), size=self.batch_size)
        clips = natural_variation(to_clips(self.data.videos[rows]), g)
        labels = {head: values[rows] for head, values in self.data.labels.items()}
        harmed = torch.rand(len(rows), generator=g) < ARTEFACT_SHARE
        # Between clean and spoilt there is no right answer, so spoilage is not taught on artefacts; facts are.
        labels["spoilage"] = labels["spoilage"].masked_fill(harmed, _IGNORED)
        artificial = apply_artefacts(clips, tuple(k for k in CLIP_ARTEFACTS if k.__name__ != "patchwork"), g)
        return torch.where(harmed[:, None, None, None, None], artificial, clips), labels


class ProbeMethod:
    """Sum over the heads of their cross entropies."""

    def __init__(self, probe: Probe) -> None:
        self.trainable = probe

    def loss(self, batch: tuple[Tensor, dict[str, Tensor]], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clips, labels = batch
        logits = self.trainable(clips)
        losses = [F.cross_entropy(logits[head], labels[head], ignore_index=_IGNORED) for head in HEADS]
        loss = torch.stack(losses).sum()
        figures = {
            f"accuracy/{head}": (logits[head].argmax(1) == labels[head])[labels[head] != _IGNORED].float().mean()
            for head in HEADS
        }
        return loss, figures


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train the probe from nothing and save it in ``out``; ``budget`` multiplies the steps. Returns its quality."""
    torch.manual_seed(seed)
    probe = Probe()
    data = make_labelled(seed, max(BATCH_SIZE, round(CLIPS * min(1.0, budget))), log)
    optim = Optim(
        steps=max(2, round(STEPS * budget)),
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        warmup_steps=round(30 * budget),
        weight_decay=0.02,
        max_grad_norm=10.0,
    )
    sampler = ProbeSampler(data, batch_size=BATCH_SIZE, seed=seed)
    work = work / f"probe_{config_key(probe.config, seed, budget)}"
    Trainer(ProbeMethod(probe), sampler, optim, work=work, seed=seed, log=log, description="probe", on_cpu=True).fit()
    figures = quality(probe, seed=seed + 1_000_000, count=max(32, round(512 * min(1.0, budget))), log=log)
    probe.save_pretrained(out)
    return figures


def quality(probe: Probe, *, seed: int, count: int, log: RunLog) -> dict[str, float]:
    """Accuracy per head on fresh clean clips, ``all`` = colour, shape and motion together (clean, held-out, one
    object), and how spoilt clips are told from clean ones."""
    clean = make_labelled(seed, count, log, spoilt_share=0.0)
    logits = probe.predict(clean.videos)
    hits = {head: logits[head].argmax(1) == clean.labels[head] for head in HEADS}
    figures = {"n": float(count)}
    for head in HEADS:
        figures[f"accuracy/{head}"] = float(hits[head][clean.single].float().mean())
    together = hits["color"] & hits["shape"] & hits["motion"]
    figures["accuracy/all"] = float(together[clean.single].float().mean())
    spoilt = make_labelled(seed + 1, count, log, spoilt_share=1.0)
    guess = probe.predict(spoilt.videos)["spoilage"].argmax(1)
    figures["false_alarms"] = 1.0 - figures["accuracy/spoilage"]
    for index, kind in enumerate(HEADS["spoilage"]):
        chosen = spoilt.labels["spoilage"] == index
        if chosen.any():
            figures[f"found/{kind}"] = float((guess[chosen] != 0).float().mean())
    return figures
