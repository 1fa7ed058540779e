"""The miniature world: a deterministic generator of captioned clips.

A scene holds one or two objects in front of a patterned background. Either an object moves or the camera does.
Everything about clip ``index`` of seed ``seed`` follows from ``numpy.random.default_rng([seed, index])``, so a clip is
the same on every machine and however many are made.

Captions have one canonical grammar (:func:`caption`), which :mod:`hummingbird.data.captions` also parses and dirties.
Whole (colour, shape, motion) combinations are held out of training (:func:`is_held_out`) so that evaluation prompts
test composition, not memory.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Video = NDArray[np.uint8]  # [T, H, W, 3], RGB

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (230, 30, 30),
    "orange": (250, 140, 20),
    "yellow": (250, 235, 50),
    "green": (40, 205, 50),
    "cyan": (50, 220, 230),
    "blue": (50, 80, 245),
    "purple": (165, 50, 215),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
TEXTURES = ("plain", "striped", "dotted")
SIZES: dict[str, float] = {"small": 0.40, "large": 0.52}  # radius in half-frames
BACKGROUNDS = ("brick", "grass", "sea", "sand", "night")
SPEEDS: dict[str, float] = {"slowly": 0.55, "quickly": 0.95}  # path length in half-frames
OBJECT_MOTIONS = ("left", "right", "up", "down", "still")
CAMERA_MOTIONS = ("zoom in", "zoom out", "pan left", "pan right")
MOTIONS = OBJECT_MOTIONS + CAMERA_MOTIONS
RELATIONS = ("left of", "right of", "above", "below")

QUALITY_SPOILAGE = ("blur", "noise", "compression", "dark", "washed_out")
MOTION_SPOILAGE = ("static", "dolly_zoom")
SPOILAGE = QUALITY_SPOILAGE + MOTION_SPOILAGE

_HELD_OUT_SHARE = 0.2
_TWO_OBJECT_RADIUS = 0.34
_DIRECTION = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True, slots=True)
class SceneObject:
    color: str
    shape: str
    texture: str
    size: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a clip shows. ``motion`` is one of :data:`MOTIONS`; ``relation`` is set when there are two objects."""

    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str
    motion: str
    speed: str | None  # only when an object moves
    spoilage: str | None = None


def is_held_out(color: str, shape: str, motion: str) -> bool:
    """Whether this combination never occurs in training (a fixed fifth of all, by hash)."""
    key = f"{color}/{shape}/{motion}".encode()
    return zlib.crc32(key) % 1000 < 1000 * _HELD_OUT_SHARE


def _sample_object(rng: np.random.Generator) -> SceneObject:
    return SceneObject(
        color=str(rng.choice(list(COLORS))),
        shape=str(rng.choice(SHAPES)),
        texture=str(rng.choice(TEXTURES)),
        size=str(rng.choice(list(SIZES))),
    )


def _sample_motion(rng: np.random.Generator) -> str:
    # Camera pans are rarer: they share the directions' words and would otherwise be two classes of nine.
    weights = np.array([1.0] * 7 + [0.5, 0.5])
    return str(rng.choice(MOTIONS, p=weights / weights.sum()))


def sample_scene(rng: np.random.Generator, *, held_out: bool = False, two_objects: float = 0.2) -> Scene:
    """Draw a scene from the training combinations, or (``held_out``) a one-object scene from the others."""
    motion = _sample_motion(rng)
    count = 2 if not held_out and rng.random() < two_objects else 1
    objects: list[SceneObject] = []
    while len(objects) < count:
        candidate = _sample_object(rng)
        taken = any(o.color == candidate.color or o.shape == candidate.shape for o in objects)
        if not taken and is_held_out(candidate.color, candidate.shape, motion) == held_out:
            objects.append(candidate)
        elif held_out:  # some motions have few held-out combinations: redraw it as well
            motion = _sample_motion(rng)
    return Scene(
        objects=tuple(objects),
        relation=str(rng.choice(RELATIONS)) if count == 2 else None,
        background=str(rng.choice(BACKGROUNDS)),
        motion=motion,
        speed=str(rng.choice(list(SPEEDS))) if motion in _DIRECTION else None,
    )


def caption(scene: Scene) -> str:
    """The canonical caption: every fact, in one fixed grammar."""
    first = scene.objects[0]
    if scene.relation is None:
        subject = f"a {first.size} {first.texture} {first.color} {first.shape}"
    else:
        second = scene.objects[1]
        subject = (
            f"a {first.texture} {first.color} {first.shape} {scene.relation} "
            f"a {second.texture} {second.color} {second.shape}"
        )
    action = f"moves {scene.speed} {scene.motion}" if scene.motion in _DIRECTION else "stays still"
    camera = ""
    if scene.motion in CAMERA_MOTIONS:
        verb, direction = scene.motion.split()
        camera = f" while the camera {verb}s {direction}"
    return f"{subject} {action} on {scene.background}{camera}"


# --------------------------------------------------------------------------------------------------- rendering


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y


def _coverage(shape: str, x: NDArray[np.float64], y: NDArray[np.float64], soft: float) -> NDArray[np.float64]:
    """Anti-aliased mask of a unit-radius shape; ``soft`` is the width of a pixel in shape units."""
    if shape == "circle":
        distance = np.hypot(x, y) - 0.95
    elif shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - 0.82
    elif shape == "triangle":
        distance = np.maximum(y - 0.75, np.abs(x) * 0.876 - (y + 1.0) * 0.482)
    elif shape == "cross":
        arm = np.maximum(np.abs(x), np.abs(y)) - 0.98
        inside = np.minimum(np.abs(x), np.abs(y)) - 0.30
        distance = np.maximum(arm, inside)
    else:  # ring
        distance = np.abs(np.hypot(x, y) - 0.72) - 0.25
    return np.clip(0.5 - distance / soft, 0.0, 1.0)


def _texture(name: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness factor of an object's surface, in shape units."""
    if name == "striped":
        stripes: NDArray[np.float64] = 0.72 + 0.28 * np.sign(np.sin((x + y) * 6.5))
        return stripes
    if name == "dotted":
        return np.where(np.sin(x * 8.0) * np.sin(y * 8.0) > 0.35, 0.4, 1.0)
    return np.ones_like(x)


def _background(name: str, x: NDArray[np.float64], y: NDArray[np.float64], phase: float) -> NDArray[np.float64]:
    """RGB of a muted, textured, endless background at scene coordinates; ``phase`` varies it between clips."""
    u, v = x + phase, y + 0.7 * phase
    if name == "brick":
        row = np.floor(v * 2.0)
        mortar = (np.mod(v * 2.0, 1.0) < 0.25) | (np.mod(u * 1.2 + 0.5 * np.mod(row, 2), 1.0) < 0.16)
        base, delta, pattern = (88, 40, 36), (26, 22, 20), mortar.astype(float)
    elif name == "grass":
        base, delta, pattern = (24, 68, 26), (16, 30, 12), 0.5 + 0.5 * np.sin(u * 9 + 1.2 * np.sin(v * 2.5))
    elif name == "sea":
        base, delta, pattern = (18, 44, 92), (16, 30, 32), 0.5 + 0.5 * np.sin(v * 9 + 1.0 * np.sin(u * 3.0))
    elif name == "sand":
        base, delta, pattern = (128, 108, 70), (26, 23, 19), (np.sin(u * 6.5) * np.sin(v * 6.0) + 1) / 2
    else:  # night: dim stars on a lattice, every other row shifted
        row = np.floor(v * 1.7)
        du, dv = np.mod(u * 1.7 + 0.5 * np.mod(row, 2), 1.0) - 0.5, np.mod(v * 1.7, 1.0) - 0.5
        base, delta, pattern = (16, 14, 38), (80, 80, 76), np.exp(-(du**2 + dv**2) / 0.03)
    return np.asarray(base, float) + pattern[..., None] * np.asarray(delta, float)


def _trajectory(scene: Scene, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per frame: object offset [T, 2], camera offset [T, 2] and camera scale [T] (above 1 = nearer)."""
    s = np.linspace(-0.5, 0.5, count)
    offset, camera = np.zeros((count, 2)), np.zeros((count, 2))
    scale = np.ones(count)
    if scene.motion in _DIRECTION:
        path = SPEEDS[scene.speed or "slowly"]
        offset = s[:, None] * path * np.asarray(_DIRECTION[scene.motion])
    elif scene.motion.startswith("pan"):
        camera[:, 0] = s * (0.8 if scene.motion == "pan right" else -0.8)
    elif scene.motion.startswith("zoom"):
        scale = np.exp((1 if scene.motion == "zoom in" else -1) * s * 0.75)
    return offset, camera, scale


def _placements(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Centre and radius of each object at the middle of the clip."""
    jitter = rng.uniform(-0.06, 0.06, size=2)
    if scene.relation is None:
        radius = SIZES[scene.objects[0].size] * rng.uniform(0.96, 1.04)
        return [(float(jitter[0]), float(jitter[1]), float(radius))]
    sign = -1.0 if scene.relation in ("left of", "above") else 1.0
    axis = (1.0, 0.0) if scene.relation in ("left of", "right of") else (0.0, 1.0)
    gap = 0.46
    return [
        (sign * gap * axis[0] + jitter[0], sign * gap * axis[1] + jitter[1], _TWO_OBJECT_RADIUS),
        (-sign * gap * axis[0] + jitter[0], -sign * gap * axis[1] + jitter[1], _TWO_OBJECT_RADIUS),
    ]


def render(scene: Scene, rng: np.random.Generator, *, frames: int = 8, size: int = 32) -> Video:
    """Draw the scene: uint8 RGB [frames, size, size, 3]. Motion spoilage is part of the geometry and drawn here."""
    x, y = _grid(size * 2)
    pixel = 2.0 / (size * 2)
    offset, camera, scale = _trajectory(scene, frames)
    phase = float(rng.uniform(-3, 3))
    places = _placements(scene, rng)
    pulse_phase = rng.uniform(0, 2 * np.pi)
    dolly = float(rng.choice([-1.0, 1.0])) if scene.spoilage == "dolly_zoom" else 0.0
    out = np.empty((frames, size, size, 3), np.uint8)
    for t, s in enumerate(np.linspace(-0.5, 0.5, frames)):
        back_scale = scale[t] * np.exp(dolly * s * 1.1)
        image = _background(scene.background, x / back_scale + camera[t, 0], y / back_scale + camera[t, 1], phase)
        # A "still" object breathes: a living clip is never frozen, which is what makes `static` a defect.
        pulse = 1 + 0.07 * np.sin(2 * np.pi * 1.5 * s + pulse_phase) if scene.motion == "still" and not dolly else 1.0
        for thing, (cx, cy, radius) in zip(scene.objects, places, strict=True):
            r = radius * scale[t] * pulse
            px = (x - (cx + offset[t, 0] - camera[t, 0]) * scale[t]) / r
            py = (y - (cy + offset[t, 1] - camera[t, 1]) * scale[t]) / r
            mask = _coverage(thing.shape, px, py, 1.5 * pixel / r)[..., None]
            paint = np.asarray(COLORS[thing.color], float) * _texture(thing.texture, px, py)[..., None]
            image = image * (1 - mask) + paint * mask
        small = image.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
        out[t] = np.clip(small + 0.5, 0, 255).astype(np.uint8)
    if scene.spoilage == "static":
        out[:] = out[frames // 2]
    return out


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip, its clean caption and the scene it was drawn from. ``video``: uint8 [T, H, W, 3]."""

    video: Video
    caption: str
    scene: Scene


def make_clip(
    seed: int,
    index: int,
    *,
    frames: int = 8,
    size: int = 32,
    spoilt_share: float = 0.0,
    kinds: tuple[str, ...] = SPOILAGE,
    held_out: bool = False,
) -> Clip:
    """Clip ``index`` of the world ``seed``; a share of the clips is spoilt, each in one of ``kinds``."""
    from hummingbird.data.spoil import degrade

    rng = np.random.default_rng([seed, index])
    scene = sample_scene(rng, held_out=held_out)
    if rng.random() < spoilt_share:
        kind = str(rng.choice(kinds))
        scene = replace(scene, spoilage=kind)
        if kind == "dolly_zoom":  # a dolly zoom needs a resting subject, otherwise the two motions mix
            scene = replace(scene, motion="still", speed=None)
    video = render(scene, rng, frames=frames, size=size)
    if scene.spoilage in QUALITY_SPOILAGE:
        video = degrade(video, scene.spoilage, rng)
    return Clip(video=video, caption=caption(scene), scene=scene)
