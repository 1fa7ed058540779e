"""Pre-training of the miniature's text encoder: from its embeddings every fact of a caption can be read off linearly.

It stands for the contrastive pre-training of a real text tower and is frozen afterwards, as VideoCrafter2's is. Trained
only through the denoiser, a text encoder mixes colours and backgrounds well before anything tells it that "left" and
"right" differ, and the denoiser then never learns to tell them apart.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.data import world
from hummingbird.models.text import build_world_tokenizer, miniature_text_config, tokenize
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

NONE = "none"
_OBJECT = {"color": tuple(world.COLORS), "shape": world.SHAPES, "texture": world.TEXTURES}
#: The facts that are named, with their classes; ``second/...`` are those of the other object.
FACTS: dict[str, tuple[str, ...]] = {
    **_OBJECT,
    "size": (NONE, *world.SIZES),
    "background": world.BACKGROUNDS,
    "motion": world.MOTIONS,
    "speed": (NONE, *world.SPEEDS),
    "relation": (NONE, *world.RELATIONS),
    **{f"second/{fact}": (NONE, *classes) for fact, classes in _OBJECT.items()},
    "spoilage": (NONE, *world.SPOILAGE),
}

#: What the web says of a spoilt clip.
QUALITY_TAG = {
    "blur": "blurry",
    "noise": "noisy",
    "compression": "compressed",
    "dark": "dark",
    "washed_out": "washed out",
    "static": "frozen",
}


def tagged_caption(scene: world.Scene, rng: np.random.Generator) -> str:
    """The caption as the web would have it: most bad clips say what is wrong with them, so that a hand-written negative
    prompt means something to the teacher."""
    caption = world.caption(scene)
    tag = QUALITY_TAG.get(scene.spoilage or "")
    if tag is not None and rng.random() < 0.7:
        return f"{tag} {caption}"
    if scene.spoilage is None and rng.random() < 0.05:
        return f"sharp {caption}"
    return caption


def name_facts(scene: world.Scene, caption: str) -> dict[str, int]:
    """Class of every fact that ``caption`` states."""
    first, second = scene.objects[0], scene.objects[1] if len(scene.objects) > 1 else None
    tagged = QUALITY_TAG.get(scene.spoilage or "", NONE) in caption
    values = {
        **{fact: getattr(first, fact) for fact in _OBJECT},
        "size": NONE if second else first.size,
        "background": scene.background,
        "motion": scene.motion,
        "speed": scene.speed or NONE,
        "relation": scene.relation or NONE,
        **{f"second/{fact}": getattr(second, fact) if second else NONE for fact in _OBJECT},
        "spoilage": scene.spoilage if tagged and scene.spoilage else NONE,
    }
    return {fact: FACTS[fact].index(value) for fact, value in values.items()}


class Captions:
    """``captions(step) -> (token ids [B, L], labels of each fact [B])`` of scenes of the training combinations."""

    def __init__(self, tokenizer: CLIPTokenizer, *, batch_size: int, seed: int) -> None:
        self.tokenizer, self.batch_size, self.seed = tokenizer, batch_size, seed

    def __call__(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, step])
        captions, labels = [], []
        for _ in range(self.batch_size):
            scene = world.sample_scene(rng, two_objects=0.3)
            if rng.random() < 0.3:
                scene = replace(scene, spoilage=str(rng.choice(list(QUALITY_TAG))))
            captions.append(tagged_caption(scene, rng))
            labels.append(name_facts(scene, captions[-1]))
        columns = {fact: torch.tensor([row[fact] for row in labels]) for fact in FACTS}
        return tokenize(self.tokenizer, captions), columns


class NamingMethod:
    """Sum of the cross entropies of linear heads on the mean embedding; the heads are thrown away."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        self.text_encoder = text_encoder
        width = text_encoder.config.hidden_size
        self.heads = nn.ModuleDict({fact: nn.Linear(width, len(classes)) for fact, classes in FACTS.items()})
        self.trainable = nn.ModuleDict({"text_encoder": text_encoder, "heads": self.heads})

    def loss(self, batch: tuple[Tensor, dict[str, Tensor]], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, labels = batch
        mean = self.text_encoder(input_ids=tokens).last_hidden_state.mean(dim=1)
        logits = {fact: head(mean) for fact, head in self.heads.items()}
        losses = [F.cross_entropy(logits[fact], labels[fact]) for fact in FACTS]
        right = {f"named/{fact}": (logits[fact].argmax(1) == labels[fact]).float().mean() for fact in FACTS}
        return torch.stack(losses).sum(), right


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train the encoder from nothing into ``text_encoder`` and ``tokenizer`` below ``out``.

    Returns its accuracy on fresh captions.
    """
    tokenizer = build_world_tokenizer()
    torch.manual_seed(seed)
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer))
    optim = Optim(
        steps=max(2, round(1000 * budget)),
        batch_size=64,
        learning_rate=1e-3,
        warmup_steps=round(50 * min(budget, 1)),
        weight_decay=0.01,
    )
    method = NamingMethod(text_encoder)
    work = work / f"text_encoder_{config_key(text_encoder.config.to_dict(), seed, budget)}"
    captions = Captions(tokenizer, batch_size=optim.batch_size, seed=seed)
    Trainer(method, captions, optim, work=work, seed=seed, log=log, description="text encoder", on_cpu=True).fit()
    with torch.no_grad():
        _, figures = method.loss(Captions(tokenizer, batch_size=512, seed=seed + 1_000_000)(0), 0)
    text_encoder.half().save_pretrained(out / "text_encoder")  # loading takes it back to single precision
    tokenizer.save_pretrained(out / "tokenizer")
    return {name: float(value) for name, value in figures.items()}
