"""The networks that judge generated clips. None of them was used to train the models they judge; the two rewards also
choose stage 2's checkpoint, by other prompts (:mod:`hummingbird.training.held_out`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hummingbird.errors import UserError

if TYPE_CHECKING:
    from hummingbird.models.dover import Dover, QualityScores
    from hummingbird.models.probe import Probe
    from hummingbird.models.rewards.image_text import ImageTextReward
    from hummingbird.models.rewards.video_text import VideoTextReward

Videos = NDArray[np.uint8]  # [B, T, H, W, 3], RGB
Scores = NDArray[np.float64]  # [B]

_CHUNK = 64  # clips per forward pass


@dataclass(frozen=True)
class Judges:
    """Probe classifier, held-out rewards and quality assessor. Scores come from the methods, one value per clip."""

    probe: Probe
    image: ImageTextReward
    video: VideoTextReward
    dover: Dover

    def probabilities(self, videos: Videos, head: str) -> NDArray[np.float64]:
        """Probabilities [B, classes] of one of the probe's heads."""
        return self.probe.predict(videos)[head].softmax(-1).double().cpu().numpy()

    @torch.inference_mode()
    def image_features(self, videos: Videos) -> Tensor:
        """Unit features [B, T, D] of every frame, by the held-out image-text model."""
        parts = []
        for part in _chunks(videos):
            frames = _to_floats(part, self.image.clip.device)
            parts.append(self.image.encode_image(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def image_scores(self, videos: Videos, prompts: list[str]) -> Scores:
        """Held-out image-text cosine, mean over the frames."""
        text = self.image.encode_text(prompts).cpu()
        return (self.image_features(videos) * text[:, None]).sum(-1).mean(-1).double().numpy()

    @torch.inference_mode()
    def video_scores(self, videos: Videos, prompts: list[str]) -> Scores:
        """Held-out video-text cosine."""
        parts = []
        for start in range(0, len(videos), _CHUNK):
            clips = _to_floats(videos[start : start + _CHUNK], self.video.device)
            parts.append(self.video.score(clips, prompts[start : start + _CHUNK]).cpu())
        return torch.cat(parts).double().numpy()

    def quality(self, videos: Videos) -> QualityScores:
        """DOVER's scores in 0..1, [B] each."""
        parts = [self.dover.score(list(part)) for part in _chunks(videos)]
        return type(parts[0])(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def load_judges(foundation: Path, device: str = "cpu") -> Judges:
    """Load the judges from the foundation folder.

    Raises:
        UserError: one of their folders is missing; of public checkpoints, the probe always is.
    """
    from hummingbird.models.dover import Dover
    from hummingbird.models.probe import Probe
    from hummingbird.models.rewards.image_text import ImageTextReward
    from hummingbird.models.rewards.video_text import VideoTextReward
    from hummingbird.pipelines.loading import INDEX

    if (foundation / INDEX).is_file() and not (foundation / "probe").is_dir():
        raise UserError(
            f"{foundation} was made of public checkpoints and has no probe: that classifier, like the prompts of this "
            "stage, is of the miniature's world",
            "leave vbench and report out: hummingbird flow run stage2 reneg latency",
        )
    for name in ("probe", "image_reward_eval", "video_reward_eval", "dover"):
        if not (foundation / name).is_dir():
            raise UserError(f"no model folder {foundation / name}", "make it: hummingbird stage foundation")
    judges = Judges(
        probe=Probe.from_pretrained(foundation / "probe"),
        image=ImageTextReward.from_pretrained(foundation / "image_reward_eval"),
        video=VideoTextReward.from_pretrained(foundation / "video_reward_eval"),
        dover=Dover.from_pretrained(foundation / "dover"),
    )
    for judge in (judges.probe, judges.image, judges.video, judges.dover):
        judge.requires_grad_(False).eval().to(device)
    return judges


def _chunks(videos: Videos) -> list[Videos]:
    return [videos[start : start + _CHUNK] for start in range(0, len(videos), _CHUNK)]


def _to_floats(videos: Videos, device: torch.device) -> Tensor:
    """uint8 [B, T, H, W, 3] -> float [B, T, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(videos)).to(device).movedim(-1, -3).float() / 255
