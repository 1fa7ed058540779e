"""The miniature's prompt suite, in VBench's own format (``VBench_full_info.json``).

One-object prompts use attribute combinations that are held out of training; two-object prompts use training
combinations (two objects at once are rare there). VBench's dimensions keep their names; what stands for what:
``object_class`` is the shape, ``human_action`` the object's motion, ``scene`` the background, ``appearance_style`` the
texture, ``temporal_style`` the camera's motion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hummingbird.data import world

#: Judged on every one-object prompt: how the clip looks, and the facts that each of them states.
_ALWAYS = (
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "aesthetic_quality",
    "imaging_quality",
    "object_class",
    "color",
    "scene",
    "appearance_style",
    "overall_consistency",
)


#: Left out of the one-object prompts: the probe takes most real pans for an object that moves the other way.
_NOT_JUDGED = ("pan left", "pan right")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, the facts it states, and the dimensions that are judged on it."""

    text: str
    scene: world.Scene
    dimensions: tuple[str, ...]
    auxiliary_info: dict[str, Any]

    def to_vbench(self) -> dict[str, Any]:
        """The entry of VBench's prompt file."""
        return {"prompt_en": self.text, "dimension": list(self.dimensions), "auxiliary_info": self.auxiliary_info}


def _one_object(scene: world.Scene) -> Prompt:
    thing = scene.objects[0]
    info: dict[str, Any] = {
        "object_class": {"object": thing.shape},
        "color": {"color": thing.color},
        "scene": {"scene": {"scenery": scene.background}},
        "appearance_style": {"appearance_style": thing.texture},
    }
    dimensions = [*_ALWAYS]
    if scene.motion in world.CAMERA_MOTIONS:
        dimensions.append("temporal_style")
        info["temporal_style"] = {"temporal_style": scene.motion}
    else:
        dimensions.append("human_action")
        info["human_action"] = {"human_action": scene.motion}
    # As in VBench: flickering is measured where nothing should move, dynamics where something should.
    dimensions.append("temporal_flickering" if scene.motion == "still" else "dynamic_degree")
    return Prompt(world.caption(scene), scene, tuple(dimensions), info)


def _two_objects(scene: world.Scene) -> Prompt:
    first, second = (f"{thing.color} {thing.shape}" for thing in scene.objects)
    info = {
        "multiple_objects": {"object": f"{first} and {second}"},
        "spatial_relationship": {
            "spatial_relationship": {"object_a": first, "object_b": second, "relationship": scene.relation}
        },
    }
    return Prompt(world.caption(scene), scene, ("multiple_objects", "spatial_relationship"), info)


def build_suite(one_object: int, two_objects: int, seed: int) -> list[Prompt]:
    """``one_object`` held-out prompts, then ``two_objects`` ones; all different, and the same for the same numbers."""
    rng = np.random.default_rng(seed)
    singles: dict[str, Prompt] = {}
    while len(singles) < one_object:
        scene = world.sample_scene(rng, held_out=True)
        if scene.motion not in _NOT_JUDGED:
            singles.setdefault(world.caption(scene), _one_object(scene))
    pairs: dict[str, Prompt] = {}
    while len(pairs) < two_objects:
        prompt = _two_objects(world.sample_scene(rng, two_objects=1.0))
        pairs.setdefault(prompt.text, prompt)
    return [*singles.values(), *pairs.values()]


def suite_hash(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the list in VBench's format: results are comparable only when it is the same."""
    text = json.dumps([prompt.to_vbench() for prompt in prompts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def select(prompts: Sequence[Prompt], dimension: str) -> list[int]:
    """Positions of the prompts on which ``dimension`` is judged."""
    return [index for index, prompt in enumerate(prompts) if dimension in prompt.dimensions]


def video_seed(seed: int, index: int) -> int:
    """Seed of the noise of prompt ``index`` under sampling seed ``seed``: different for every pair."""
    return seed * 1_000_003 + index


def render_prompts(prompts: Sequence[Prompt], seeds: Sequence[int], *, frames: int, size: int) -> NDArray[np.uint8]:
    """What the world itself makes of the prompts, [B, frames, size, size, 3]: the ceiling of every score."""
    videos = [
        world.render(prompt.scene, np.random.default_rng(seed), frames=frames, size=size)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    return np.stack(videos)
