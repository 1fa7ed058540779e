"""An untrained pipeline of the miniature's shape, and a reward that needs no network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel

from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import miniature_unet
from hummingbird.models.vae import miniature_vae
from hummingbird.pipelines.text_to_video import TextToVideoPipeline


class Brightness:
    """A reward that wants bright pictures and remembers what it was shown."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.pictures = torch.empty(0)

    def score(self, pictures: Tensor, prompts: list[str]) -> Tensor:
        self.prompts, self.pictures = prompts, pictures.detach()
        return pictures.flatten(1).mean(dim=1)


@pytest.fixture
def brightness() -> type[Brightness]:
    return Brightness


@pytest.fixture
def pipeline() -> TextToVideoPipeline:
    torch.manual_seed(0)
    tokenizer = build_world_tokenizer()
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer)).requires_grad_(False).eval()
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    pipe = TextToVideoPipeline(
        miniature_vae().requires_grad_(False), text_encoder, tokenizer, unet, miniature_scheduler()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
