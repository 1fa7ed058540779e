"""A saved reward, whatever its kind; its ``config.json`` tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch

from hummingbird.errors import UserError, did_you_mean
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.internvideo2 import InternVideo2Reward
from hummingbird.models.rewards.video_reward import VideoReward
from hummingbird.models.rewards.video_text import VideoTextReward

KINDS: dict[str, dict[str, type[ImageTextReward] | type[VideoReward]]] = {
    "image": {"clip": ImageTextReward},
    "video": {"video_text_reward": VideoTextReward, "internvideo2_reward": InternVideo2Reward},
}


def load_reward(
    folder: Path, sees: Literal["image", "video"], dtype: torch.dtype = torch.float32
) -> ImageTextReward | VideoReward:
    """The frozen reward of a folder, one that ``sees`` single frames or whole clips.

    Raises:
        UserError: there is no readable configuration, its kind is unknown, or a reward of this kind sees the other.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text()).get("model_type", "")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise UserError(f"{folder} holds no reward: {path} is not readable: {error}", "run foundation again") from error
    if found not in KINDS[sees]:
        known = any(found in kinds for kinds in KINDS.values())
        raise UserError(
            f"{folder} holds {'a reward' if known else 'something'} of kind {found!r}, which does not see {sees}s",
            f"put a reward there that does: {did_you_mean(found, KINDS[sees])}",
        )
    return KINDS[sees][found].from_pretrained(folder, dtype=dtype)
