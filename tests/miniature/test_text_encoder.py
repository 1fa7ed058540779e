from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from transformers import CLIPTextModel

from hummingbird.data import world
from hummingbird.miniature.text_encoder import FACTS, Captions, NamingMethod, name_facts, tagged_caption
from hummingbird.models.text import build_world_tokenizer, miniature_text_config


def test_only_facts_that_the_caption_states_are_labelled() -> None:
    thing = world.SceneObject(color="red", shape="ring", texture="plain", size="small")
    scene = world.Scene((thing,), None, "sea", "left", "slowly", spoilage="blur")
    named = {fact: FACTS[fact][index] for fact, index in name_facts(scene, world.caption(scene)).items()}
    assert named["motion"] == "left" and named["speed"] == "slowly" and named["size"] == "small"
    assert named["relation"] == named["second/color"] == named["spoilage"] == "none"
    tagged = name_facts(scene, f"blurry {world.caption(scene)}")
    assert FACTS["spoilage"][tagged["spoilage"]] == "blur"


def test_most_spoilt_clips_say_so_and_hardly_any_other_does() -> None:
    rng = np.random.default_rng(0)
    scene = world.make_clip(1, 0).scene
    spoilt = [tagged_caption(replace(scene, spoilage="dark"), rng).startswith("dark ") for _ in range(300)]
    clean = [tagged_caption(scene, rng) == world.caption(scene) for _ in range(300)]
    assert 0.6 < np.mean(spoilt) < 0.8 and np.mean(clean) > 0.85


def test_it_learns_to_tell_directions_apart() -> None:
    tokenizer = build_world_tokenizer()
    torch.manual_seed(0)
    method = NamingMethod(CLIPTextModel(miniature_text_config(tokenizer)))
    captions = Captions(tokenizer, batch_size=64, seed=1)
    optimizer = torch.optim.AdamW(method.trainable.parameters(), lr=1e-3)
    for step in range(150):
        loss, _ = method.loss(captions(step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        _, figures = method.loss(captions(10_000), 0)
    assert figures["named/motion"] > 0.5  # chance: 0.13
