"""Contrastive examples of the miniature world: clips, their spoilt copies, and captions with one fact changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from hummingbird.data import world
from hummingbird.data.spoil import degrade
from hummingbird.data.world import Scene
from hummingbird.miniature.artefacts import CLIP_ARTEFACTS, FRAME_ARTEFACTS, apply_artefacts, natural_variation
from hummingbird.runlog import RunLog

Kind = Literal["image", "video"]

#: Facts of a scene that one frame shows; ``binding``: two objects swap colours.
FRAME_FACTS = ("color", "shape", "background", "texture", "size", "relation", "binding")
CLIP_FACTS = (*FRAME_FACTS, "motion", "speed")
_WEIGHT = {"color": 2.0, "shape": 3.0, "background": 1.5, "motion": 3.0, "texture": 0.7, "size": 0.5, "speed": 0.4}


def facts_of(kind: Kind) -> tuple[str, ...]:
    return FRAME_FACTS if kind == "image" else CLIP_FACTS


def spoilage_of(kind: Kind) -> tuple[str, ...]:
    return world.QUALITY_SPOILAGE if kind == "image" else world.SPOILAGE


def _other(rng: np.random.Generator, choices: tuple[str, ...], taken: set[str | None]) -> str:
    return str(rng.choice([choice for choice in choices if choice not in taken]))


def change_fact(scene: Scene, fact: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one fact (of :data:`CLIP_FACTS`) changed, or None if its caption does not state that fact."""
    two = scene.relation is not None
    if fact in ("color", "shape", "texture") or (fact == "size" and not two):
        return _change_object(scene, fact, rng)
    if fact == "background":
        return replace(scene, background=_other(rng, world.BACKGROUNDS, {scene.background}))
    if fact == "motion":
        motion = _other(rng, world.MOTIONS, {scene.motion})
        moves = motion in world.OBJECT_MOTIONS and motion != "still"
        return replace(scene, motion=motion, speed=str(rng.choice(list(world.SPEEDS))) if moves else None)
    if fact == "speed" and scene.speed is not None:
        return replace(scene, speed=_other(rng, tuple(world.SPEEDS), {scene.speed}))
    if fact == "relation" and two:
        return replace(scene, relation=_other(rng, world.RELATIONS, {scene.relation}))
    if fact == "binding" and two:
        first, second = scene.objects
        return replace(scene, objects=(replace(first, color=second.color), replace(second, color=first.color)))
    return None


def _change_object(scene: Scene, fact: str, rng: np.random.Generator) -> Scene:
    choices = {
        "color": tuple(world.COLORS),
        "shape": world.SHAPES,
        "texture": world.TEXTURES,
        "size": tuple(world.SIZES),
    }[fact]
    objects = list(scene.objects)
    which = int(rng.integers(len(objects)))
    # Colours and shapes never repeat within a scene; textures may.
    rivals = objects if fact in ("color", "shape") else objects[which : which + 1]
    value = _other(rng, choices, {getattr(thing, fact) for thing in rivals})
    objects[which] = replace(objects[which], **{fact: value})
    return replace(scene, objects=tuple(objects))


def wrong_captions(scene: Scene, kind: Kind, count: int, rng: np.random.Generator) -> list[str]:
    """``count`` captions of the scene, each with one fact changed that ``kind`` of model can see."""
    facts = [fact for fact in facts_of(kind) if change_fact(scene, fact, rng) is not None]
    weights = np.array([_WEIGHT.get(fact, 2.0) for fact in facts])
    drawn = rng.choice(len(facts), size=count, p=weights / weights.sum())
    changed = [change_fact(scene, facts[index], rng) for index in drawn]
    return [world.caption(other) for other in changed if other is not None]


def spoil_copy(clip: world.Clip, kind: str, rng: np.random.Generator) -> world.Video:
    """The same scene, spoilt. A dolly zoom needs a resting subject."""
    if kind in world.QUALITY_SPOILAGE:
        return degrade(clip.video, kind, rng)
    frames, size = clip.video.shape[:2]
    return world.render(replace(clip.scene, spoilage=kind), rng, frames=frames, size=size)


def to_clips(video: np.ndarray) -> Tensor:
    """uint8 [..., H, W, 3] -> float [..., 3, H, W] in [0, 1]."""
    return torch.from_numpy(video).movedim(-1, -3).float() / 255


@dataclass(frozen=True, slots=True)
class ClipPairs:
    """Clean clips and a spoilt copy of each: uint8 [N, T, H, W, 3]."""

    clean: np.ndarray
    spoilt: np.ndarray
    scenes: list[Scene]
    spoilage: list[str]


def make_pairs(seed: int, count: int, kind: Kind, log: RunLog, *, held_out: bool = False) -> ClipPairs:
    """Draw ``count`` clips of world ``seed`` and spoil a copy of each in a way that ``kind`` of model can see."""
    clean, spoilt, scenes, spoilage = [], [], [], []
    for index in log.progress(range(count), f"clips for the {kind} reward", count):
        clip = world.make_clip(seed, index, held_out=held_out)
        rng = np.random.default_rng([seed, index, 1])
        kinds = [k for k in spoilage_of(kind) if k != "dolly_zoom" or clip.scene.motion == "still"]
        clean.append(clip.video)
        scenes.append(clip.scene)
        spoilage.append(str(rng.choice(kinds)))
        spoilt.append(spoil_copy(clip, spoilage[-1], rng))
    return ClipPairs(np.stack(clean), np.stack(spoilt), scenes, spoilage)


@dataclass(frozen=True, slots=True)
class Batch:
    """``clean`` and ``bad`` clips [B, T, 3, H, W], their captions [B], wrong captions [B * K] and ``labels`` [B]."""

    clean: Tensor
    bad: Tensor
    captions: list[str]
    wrong: list[str]
    labels: dict[str, Tensor]


#: Classes of the facts that a tower also learns to name while it is trained: contrast alone takes far longer to find
#: shape and motion, which fill few pixels.
NAMED_FACTS: dict[str, tuple[str, ...]] = {
    "color": tuple(world.COLORS),
    "shape": world.SHAPES,
    "background": world.BACKGROUNDS,
    "motion": world.MOTIONS,
}


def name_facts(scenes: list[Scene], kind: Kind) -> dict[str, Tensor]:
    """Class of each scene's (first object's) facts that ``kind`` of model can see."""
    labels = {}
    for fact, classes in NAMED_FACTS.items():
        if fact in facts_of(kind):
            owner = [scene.objects[0] if fact in ("color", "shape") else scene for scene in scenes]
            labels[fact] = torch.tensor([classes.index(getattr(it, fact)) for it in owner])
    return labels


class PairSampler:
    """``sampler(step) -> Batch``: a pure function of the step."""

    def __init__(self, pairs: ClipPairs, kind: Kind, *, batch_size: int, wrong: int, seed: int) -> None:
        self.pairs, self.kind, self.batch_size, self.wrong, self.seed = pairs, kind, batch_size, wrong, seed

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        g = Generator().manual_seed(int(rng.integers(2**62)))
        rows = rng.choice(len(self.pairs.scenes), self.batch_size, replace=self.batch_size > len(self.pairs.scenes))
        scenes = [self.pairs.scenes[row] for row in rows]
        clean, spoilt = to_clips(self.pairs.clean[rows]), to_clips(self.pairs.spoilt[rows])
        if self.kind == "image":
            moment = torch.from_numpy(rng.integers(clean.shape[1], size=len(rows)))
            clean, spoilt = (clips[torch.arange(len(rows)), moment][:, None] for clips in (clean, spoilt))
        artificial = apply_artefacts(clean, FRAME_ARTEFACTS if self.kind == "image" else CLIP_ARTEFACTS, g)
        pick = torch.rand(len(rows), 1, 1, 1, 1, generator=g) < 0.5
        return Batch(
            clean=natural_variation(clean, g),
            bad=natural_variation(torch.where(pick, artificial, spoilt), g),
            captions=[world.caption(scene) for scene in scenes],
            wrong=[text for scene in scenes for text in wrong_captions(scene, self.kind, self.wrong, rng)],
            labels=name_facts(scenes, self.kind),
        )
