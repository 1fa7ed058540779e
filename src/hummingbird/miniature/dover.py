"""Training of the miniature DOVER: clean clips of the world against ones spoilt in quality.

Both branches learn the same label from their own view, as in DOVER (arXiv:2211.04894, limited view biased supervision).
A batch holds good clips and a spoilt copy of each, so that quality is all that tells them apart. Clips whose *motion*
is bad are good examples here: motion is another filter's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hummingbird.data import world
from hummingbird.data.spoil import degrade
from hummingbird.data.video_io import decode, encode_mp4
from hummingbird.models.dover import Dover, QualityScores
from hummingbird.models.dover.views import aesthetic_view, technical_view
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

CLIPS = 1024
TEST_CLIPS = 640  # half of them to calibrate, half to judge
STEPS = 1000
PAIRS = 16  # in a batch
LEARNING_RATE = 3e-3
SPOILT = 0.65  # of the test clips; five kinds in seven are of quality: nearly as many bad clips as good ones
STRANGE = 0.25  # of the good clips in training, static or a dolly zoom
CRF = (4, 14)  # every clip has been through a video encoder at a quality that nobody would complain about
#: How often each kind is drawn in training: the hard ones more often, bad exposure (easily seen) less.
KINDS = {"blur": 0.25, "noise": 0.15, "compression": 0.4, "dark": 0.1, "washed_out": 0.1}
_BRIGHTNESS = 0.1  # of the stems' filters for a patch's mean, against 1 for detail
JPEG = (70, 96)  # half of them through a second one, since a real clip's history is longer

#: Two frames are enough for each view: the world's quality does not change within a clip.
CONFIG = {
    "technical": {
        "kind": "swin",
        "embed_dim": 24,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "window_size": (4, 4, 4),
        "fragment_biases": (True, False),
        "fragments": (4, 4),
    },
    "aesthetic": {"kind": "convnext", "version": 2, "dims": (32, 64), "depths": (2, 2)},
    "views": {
        "aesthetic_frames": 2,
        "aesthetic_size": 32,
        "technical_clips": 1,
        "technical_frames": 2,
        "technical_interval": 4,
        "grid": 4,
        "fragment": 8,
    },
    "head_hidden": 16,
    "dropout": 0.1,
}


@dataclass(frozen=True, slots=True)
class GradedClips:
    """Clips uint8 [N, T, H, W, 3] after an encoder's round trip, and the kind of spoiling of each ("" for none)."""

    videos: NDArray[np.uint8]
    kinds: list[str]

    @property
    def good(self) -> Tensor:
        """1 where the quality is good, else 0: float [N]."""
        return torch.tensor([float(kind not in world.QUALITY_SPOILAGE) for kind in self.kinds])

    def part(self, start: int, stop: int) -> GradedClips:
        return GradedClips(self.videos[start:stop], self.kinds[start:stop])


def graded_clips(
    seed: int, count: int, log: RunLog, *, spoilt_share: float = SPOILT, kinds: tuple[str, ...] = world.SPOILAGE
) -> GradedClips:
    """Freshly drawn clips, encoded and decoded."""
    videos, names = [], []
    for index in log.progress(range(count), "clips for DOVER", count):
        clip = world.make_clip(seed, index, spoilt_share=spoilt_share, kinds=kinds)
        crf = int(np.random.default_rng([seed, index, 2]).integers(CRF[0], CRF[1] + 1))
        videos.append(decode(encode_mp4(clip.video, fps=8, crf=crf))[0])
        names.append(clip.scene.spoilage or "")
    return GradedClips(np.stack(videos), names)


class PairSampler:
    """``sampler(step) -> (aesthetic views, technical views, good [B])``: a pure function of the step.

    The first half of a batch are good clips, the second half the same ones, spoilt.
    """

    def __init__(self, model: Dover, good: NDArray[np.uint8], seed: int) -> None:
        self.model, self.good, self.seed = model, good, seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        clips = self.good[rng.integers(0, len(self.good), PAIRS)]
        for axis in (1, 2, 3):  # backwards, upside down, mirrored: none changes the quality
            turned = rng.random(PAIRS) < 0.5
            clips[turned] = np.flip(clips[turned], axis)
        kinds = rng.choice(list(KINDS), PAIRS, p=list(KINDS.values()))
        spoilt = [degrade(clip, str(kind), rng) for clip, kind in zip(clips, kinds, strict=True)]
        both = np.stack([_recode(clip, rng) if rng.random() < 0.5 else clip for clip in [*clips, *spoilt]])
        return *_views(self.model, both, step), (torch.arange(2 * PAIRS) < PAIRS).float()


def _recode(video: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Through JPEG, frame by frame, at a harmless quality."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*JPEG))]
    encoded = [cv2.imencode(".jpg", frame, options)[1] for frame in video]
    return np.stack([np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) for data in encoded])


def _views(model: Dover, videos: NDArray[np.uint8], seed: int) -> tuple[Tensor, Tensor]:
    sizes = model.view_sizes
    return (
        torch.stack([aesthetic_view(video, sizes) for video in videos]),
        torch.stack([technical_view(video, sizes, seed) for video in videos]),
    )


@torch.no_grad()
def start_from_frequencies(stem: nn.Conv3d) -> None:
    """Start a stem [C, 3, T, P, P] as a discrete cosine transform in random colours, a frame at a time.

    Blur, noise and compression change fine detail only. In random filters it drowns in brightness, and finding it takes
    most of the training; here each channel begins as one frequency.
    """
    count, _, frames, side, _ = stem.weight.shape
    place, order = torch.arange(side) + 0.5, torch.arange(side)
    waves = torch.cos(torch.pi / side * order[:, None] * place) * (2 / side) ** 0.5
    waves[0] *= 0.5**0.5
    patterns = torch.einsum("ay,bx->abyx", waves, waves).flatten(0, 1)  # [P * P, P, P], orthonormal
    patterns[0] *= _BRIGHTNESS
    colours = F.normalize(torch.randn(count, 3), dim=1)
    channel = torch.arange(count)
    stem.weight.zero_()
    frame = channel // len(patterns) % frames
    stem.weight[channel, :, frame] = torch.einsum("cr,cyx->cryx", colours, patterns[channel % len(patterns)])
    if stem.bias is not None:
        stem.bias.zero_()


class DoverMethod:
    """Each branch tells good clips from bad by its raw score: cross entropy, summed over the two."""

    def __init__(self, model: Dover) -> None:
        self.model = model

    @property
    def trainable(self) -> nn.Module:
        return self.model

    def loss(self, batch: tuple[Tensor, Tensor, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        whole, pieces, good = batch
        aesthetic, technical = self.model(whole, pieces)
        losses = [F.binary_cross_entropy_with_logits(raw, good) for raw in (aesthetic, technical)]
        right = [((raw > 0) == (good > 0.5)).float().mean() for raw in (aesthetic, technical)]
        return losses[0] + losses[1], {"aesthetic_accuracy": right[0], "technical_accuracy": right[1]}


def _platt(raw: Tensor, good: Tensor) -> tuple[float, float]:
    """Mean and deviation with which sigmoid((raw - mean) / deviation) is the probability that a clip is good."""
    centre, spread = float(raw.mean()), float(raw.std())
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    x = ((raw - centre) / spread)[:, None]
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = 1e-3 * model.weight.square().sum()  # keeps the scale finite if the classes separate
        loss = F.binary_cross_entropy_with_logits(model(x)[:, 0], good) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, offset = model.weight.item(), model.bias.item()
    return centre - offset / slope * spread, spread / slope


def calibrate(model: Dover, clips: GradedClips) -> None:
    """Fit the constants that join the two scores on clips that were not trained on, so that 0.5 is the boundary."""
    with torch.no_grad():
        aesthetic, technical = model(*_views(model, clips.videos, seed=0))
    model.register_to_config(
        aesthetic_scale=_platt(aesthetic, clips.good), technical_scale=_platt(technical, clips.good)
    )
    losses = {}
    for share in torch.linspace(0.1, 0.9, 17).tolist():
        model.register_to_config(technical_share=share)
        losses[share] = float(F.binary_cross_entropy(model.fuse(aesthetic, technical).overall, clips.good))
    model.register_to_config(technical_share=min(losses, key=lambda share: losses[share]))


def quality(scores: QualityScores, clips: GradedClips) -> dict[str, float]:
    """Precision and recall of "bad" at an overall score below 0.5, recall by kind, and the accuracy of each part."""
    good = clips.good > 0.5
    dropped = scores.overall < 0.5
    figures = {
        "n": float(len(good)),
        "precision": float((dropped & ~good).sum() / dropped.sum().clamp(min=1)),
        "recall": float((dropped & ~good).sum() / (~good).sum().clamp(min=1)),
    }
    for kind in world.QUALITY_SPOILAGE:
        chosen = torch.tensor([name == kind for name in clips.kinds])
        if chosen.any():
            figures[f"recall/{kind}"] = float(dropped[chosen].float().mean())
    for name, values in scores._asdict().items():
        figures[f"accuracy/{name}"] = float(((values > 0.5) == good).float().mean())
    return figures


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train from nothing and save to ``out`` in half precision; ``budget`` multiplies steps and (up to 1) clips.

    Returns precision and recall on clips that neither training nor calibration saw.
    """
    share = min(budget, 1.0)
    count = max(PAIRS, round(CLIPS * share))
    clips = graded_clips(seed, count, log, spoilt_share=STRANGE, kinds=world.MOTION_SPOILAGE)
    torch.manual_seed(seed)
    model = Dover(**CONFIG)
    for stem in (model.technical_backbone.patch_embed.proj, model.aesthetic_backbone.downsample_layers[0][0]):
        start_from_frequencies(stem)
    steps = max(2, round(STEPS * budget))
    optim = Optim(
        steps=steps,
        batch_size=2 * PAIRS,
        learning_rate=LEARNING_RATE,
        warmup_steps=steps // 20,
        weight_decay=0.02,
        ema_decay=0.98 if budget > 0.3 else 0.0,
    )
    data = PairSampler(model, clips.videos, seed)
    work = work / f"dover_{config_key(seed, budget, CONFIG)}"
    Trainer(DoverMethod(model), data, optim, work=work, seed=seed, log=log, description="DOVER", on_cpu=True).fit()
    unseen = graded_clips(seed + 1, max(64, round(TEST_CLIPS * share)), log)
    half = len(unseen.kinds) // 2
    calibrate(model, unseen.part(0, half))
    judged = unseen.part(half, len(unseen.kinds))
    figures = quality(model.score(list(judged.videos)), judged)
    model.half().save_pretrained(out)
    return {**figures, "steps": float(steps)}
