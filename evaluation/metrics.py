"""Figures of generated clips of the miniature world, one value per clip, so that models can be compared in pairs.

All take uint8 clips [B, T, H, W, 3]; pixel values are used on the scale 0..1.

- ``probe_color``, ``probe_shape``, ``probe_motion``: the probe sees what the prompt says; ``probe_all``: all three.
- ``probe_clean``: the probe's probability that the clip is not spoilt in any way.
- ``held_out_image_reward``, ``held_out_video_reward``: cosine with the prompt by reward models that were never trained
  on; ``held_out_reward`` is their mean.
- ``second_difference``: mean of ``|x[t+1] - 2 x[t] + x[t-1]|`` over pixels. Motion has some of it, too, so
- ``flicker`` is what it exceeds that of the real clip of the same prompt by (negative: smoother than real).
- ``spread``: standard deviation over all pixels, channels and frames of the clip. It rises with contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evaluation.vbench.judges import Judges, Scores, Videos
from evaluation.vbench.prompts import Prompt
from hummingbird.data import world
from hummingbird.models.probe import HEADS

#: What guessing scores. A uniform guess is right in colour, shape and motion once in 8 x 5 x 9.
CHANCE = {
    "probe_color": 1 / len(world.COLORS),
    "probe_shape": 1 / len(world.SHAPES),
    "probe_motion": 1 / len(world.MOTIONS),
    "probe_all": 1 / (len(world.COLORS) * len(world.SHAPES) * len(world.MOTIONS)),
}


def clip_figures(videos: Videos, prompts: Sequence[Prompt], real: Videos, judges: Judges) -> dict[str, Scores]:
    """Every figure above, [B] each. ``real`` are the world's own clips of the same prompts."""
    texts = [prompt.text for prompt in prompts]
    image, video = judges.image_scores(videos, texts), judges.video_scores(videos, texts)
    return {
        **probe_figures(videos, prompts, judges),
        "held_out_image_reward": image,
        "held_out_video_reward": video,
        "held_out_reward": (image + video) / 2,
        "second_difference": second_difference(videos),
        "flicker": second_difference(videos) - second_difference(real),
        "spread": spread(videos),
    }


def probe_figures(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> dict[str, Scores]:
    """What the probe says about one-object clips."""
    logits = judges.probe.predict(videos)
    wanted = {
        "color": [prompt.scene.objects[0].color for prompt in prompts],
        "shape": [prompt.scene.objects[0].shape for prompt in prompts],
        "motion": [prompt.scene.motion for prompt in prompts],
    }
    right: dict[str, NDArray[np.bool_]] = {}
    for head, facts in wanted.items():
        seen = logits[head].argmax(-1).cpu().numpy()
        right[head] = seen == np.array([HEADS[head].index(fact) for fact in facts])
    clean = logits["spoilage"].softmax(-1)[:, HEADS["spoilage"].index("none")]
    return {
        "probe_all": (right["color"] & right["shape"] & right["motion"]).astype(np.float64),
        **{f"probe_{head}": hits.astype(np.float64) for head, hits in right.items()},
        "probe_clean": clean.double().cpu().numpy(),
    }


def second_difference(videos: Videos) -> Scores:
    """Mean absolute second difference along time."""
    pixels = videos.astype(np.float32) / 255
    bend = np.abs(pixels[:, 2:] - 2 * pixels[:, 1:-1] + pixels[:, :-2])
    return bend.mean(axis=(1, 2, 3, 4)).astype(np.float64)


def spread(videos: Videos) -> Scores:
    """Standard deviation of each clip's pixel values."""
    return (videos.reshape(len(videos), -1).astype(np.float32) / 255).std(axis=1).astype(np.float64)


def diversity(videos: NDArray[np.uint8], judges: Judges) -> dict[str, Scores]:
    """How much clips of one prompt differ between seeds, [P] each, from clips [P, S, T, H, W, 3] of S >= 2 seeds.

    ``diversity``: root mean square difference of pixels, mean over the pairs of seeds. ``diversity_features``: one
    minus the cosine of the held-out image model's features, averaged over frames; blind to what captions do not tell.

    Raises:
        ValueError: there is only one seed.
    """
    count = videos.shape[1]
    if count < 2:
        raise ValueError("diversity needs clips of at least 2 seeds")
    pairs = list(combinations(range(count), 2))
    pixels = videos.astype(np.float32) / 255
    apart = [np.sqrt(((pixels[:, a] - pixels[:, b]) ** 2).mean(axis=(1, 2, 3, 4))) for a, b in pairs]
    features = judges.image_features(videos.reshape(-1, *videos.shape[2:])).unflatten(0, videos.shape[:2])
    angles = [1 - (features[:, a] * features[:, b]).sum(-1).mean(-1).double().numpy() for a, b in pairs]
    return {"diversity": np.mean(apart, axis=0).astype(np.float64), "diversity_features": np.mean(angles, axis=0)}
