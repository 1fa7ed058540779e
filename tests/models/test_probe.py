from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hummingbird.data import world
from hummingbird.miniature.probe import ProbeSampler, labels_of, make_labelled
from hummingbird.models.probe import HEADS, Probe
from hummingbird.runlog import SilentLog

ASSETS = Path(__file__).parents[2] / "assets/miniature"


def test_logits_have_one_column_per_class() -> None:
    videos = np.random.default_rng(0).integers(0, 256, (3, 8, 32, 32, 3), dtype=np.uint8)
    logits = Probe().predict(videos, chunk=2)
    assert {head: tuple(values.shape) for head, values in logits.items()} == {
        head: (3, len(classes)) for head, classes in HEADS.items()
    }
    assert len(HEADS["motion"]) == 9 and HEADS["spoilage"][0] == "none"


def test_other_sizes_and_lengths_are_accepted_other_types_are_not() -> None:
    probe = Probe()
    assert probe.predict(np.zeros((1, 12, 48, 48, 3), np.uint8))["color"].shape == (1, 8)
    with pytest.raises(ValueError, match="uint8"):
        probe.predict(torch.zeros(1, 8, 32, 32, 3))


def test_the_order_of_frames_reaches_the_motion_head() -> None:
    torch.manual_seed(0)
    probe = Probe()
    videos = np.stack([world.make_clip(1, index).video for index in range(4)])
    forth, back = probe.predict(videos)["motion"], probe.predict(videos[:, ::-1].copy())["motion"]
    assert (forth - back).abs().max() > 1e-6  # an untrained probe sees it faintly, but rounding is 100 times less


def test_probe_survives_saving(tmp_path: Path) -> None:
    probe = Probe(width=8, hidden=32)
    videos = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 32, 3), dtype=np.uint8)
    probe.save_pretrained(tmp_path)
    again = Probe.from_pretrained(tmp_path)
    for head, logits in probe.predict(videos).items():
        torch.testing.assert_close(again.predict(videos)[head], logits)


def test_labels_follow_the_scene() -> None:
    thing = world.SceneObject("red", "ring", "plain", "large")
    scene = world.Scene((thing,), None, "sand", "pan left", None, spoilage="static")
    labels = labels_of(scene)
    assert HEADS["shape"][labels["shape"]] == "ring" and HEADS["spoilage"][labels["spoilage"]] == "static"
    assert labels["motion"] == -100  # a frozen clip does not show its motion


def test_samples_depend_on_the_step_only() -> None:
    data = make_labelled(1, 12, SilentLog())
    sampler = ProbeSampler(data, batch_size=8, seed=2)
    (clips, labels), (again, _), (other, _) = sampler(1), sampler(1), sampler(2)
    assert torch.equal(clips, again) and not torch.equal(clips, other)
    assert set(labels) == set(HEADS) and clips.shape == (8, 8, 3, 32, 32)


@pytest.mark.skipif(not (ASSETS / "probe").exists(), reason="the shipped probe is not in this checkout")
def test_shipped_probe_reads_real_clips() -> None:
    probe = Probe.from_pretrained(ASSETS / "probe")
    drawn = [world.make_clip(78, index, held_out=True) for index in range(144)]
    clips = [clip for clip in drawn if not clip.scene.motion.startswith("pan")]  # not among the suite's prompts
    logits = probe.predict(np.stack([clip.video for clip in clips]))
    truth = [labels_of(clip.scene) for clip in clips]
    hits = {h: logits[h].argmax(1) == torch.tensor([row[h] for row in truth]) for h in ("color", "shape", "motion")}
    assert hits["color"].float().mean() > 0.97 and hits["motion"].float().mean() > 0.97
    assert (hits["color"] & hits["shape"] & hits["motion"]).float().mean() > 0.88
