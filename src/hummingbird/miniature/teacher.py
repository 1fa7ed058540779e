"""Training of the miniature teacher: the denoiser, on latents of the world; its text encoder is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from hummingbird.data import world
from hummingbird.miniature.text_encoder import tagged_caption
from hummingbird.models.text import build_world_tokenizer, tokenize
from hummingbird.models.unet import miniature_unet
from hummingbird.models.vae import encode_frames, pixels_from_video
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.records import fingerprint
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

CLIPS = 10_240
SPOILT = 0.15
CAPTION_DROPOUT = 0.12
TIME_SHIFT = 3.0  # samples noisy timesteps more often; layout and motion are decided there
FPS = 8


def miniature_scheduler() -> DDIMScheduler:
    """v-prediction on a cosine schedule with zero terminal SNR, trailing timesteps: what was measured to learn."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


@dataclass
class TeacherData:
    """Cached training set: latents fp16 [N, C, T, h, w] and token ids [N, L]; ``empty`` [L] are those of ''."""

    latents: Tensor
    tokens: Tensor
    empty: Tensor
    seed: int
    batch_size: int

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        rows = torch.from_numpy(rng.integers(0, len(self.latents), self.batch_size))
        tokens = self.tokens[rows].clone()
        dropped = torch.from_numpy(rng.random(self.batch_size) < CAPTION_DROPOUT)
        tokens[dropped] = self.empty
        return self.latents[rows].float(), tokens


@torch.no_grad()
def build_data(vae: AutoencoderKL, seed: int, clips: int, batch_size: int, log: RunLog) -> TeacherData:
    """Draw ``clips`` clips of training combinations and encode them."""
    tokenizer = build_world_tokenizer()
    latents, captions = [], []
    for index in log.progress(range(clips), "drawing the teacher's clips", clips):
        clip = world.make_clip(seed, index, spoilt_share=SPOILT)
        z = encode_frames(vae, pixels_from_video(torch.from_numpy(clip.video)))
        latents.append(z.transpose(0, 1).half())
        captions.append(tagged_caption(clip.scene, np.random.default_rng([seed, index, 1])))
    return TeacherData(
        torch.stack(latents), tokenize(tokenizer, captions), tokenize(tokenizer, [""])[0], seed, batch_size
    )


class DiffusionMethod:
    """Denoising score matching in the scheduler's own prediction type."""

    def __init__(self, unet: nn.Module, text_encoder: CLIPTextModel, scheduler: DDIMScheduler) -> None:
        self.trainable, self.scheduler = unet, scheduler
        self.text_encoder = text_encoder.requires_grad_(False).eval()

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        latents, tokens = batch
        with torch.no_grad():
            text = self.text_encoder(input_ids=tokens).last_hidden_state
        u = torch.rand(len(latents))
        shifted = TIME_SHIFT * u / (1 + (TIME_SHIFT - 1) * u)
        timesteps = (shifted * self.scheduler.config.num_train_timesteps).long().clamp(max=999)
        noise = torch.randn_like(latents)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        target = self.scheduler.get_velocity(latents, noise, timesteps)
        prediction = self.trainable(noisy, timesteps, text, fps=torch.tensor(FPS)).sample
        return F.mse_loss(prediction, target), {}


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train the teacher from nothing into ``unet`` and ``scheduler`` below ``out``, which has the VAE and the text
    encoder already."""
    optim = Optim(
        steps=max(2, int(3000 * budget)),
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=int(100 * min(budget, 1)),
        weight_decay=0.01,
        ema_decay=0.999 if budget > 0.3 else 0.9,
    )
    made_from = fingerprint(out / "vae", out / "text_encoder")
    work = work / f"teacher_{config_key(seed, budget, made_from)}"
    cache = work / "data.pt"
    clips = max(64, int(CLIPS * min(budget, 1)))
    torch.manual_seed(seed)
    if cache.is_file():
        data = TeacherData(**torch.load(cache, weights_only=True))
    else:
        vae = AutoencoderKL.from_pretrained(out / "vae", dtype=torch.float32).eval()
        data = build_data(vae, seed, clips, optim.batch_size, log)
        work.mkdir(parents=True, exist_ok=True)
        torch.save(vars(data), cache)
    torch.manual_seed(seed)
    text_encoder = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)
    unet = miniature_unet(text_encoder.config.hidden_size)
    scheduler = miniature_scheduler()
    method = DiffusionMethod(unet, text_encoder, scheduler)
    history = Trainer(method, data, optim, work=work, seed=seed, log=log, description="teacher", on_cpu=True).fit()
    unet.half().save_pretrained(out / "unet")  # loading takes it back to single precision
    scheduler.save_pretrained(out / "scheduler")
    tail = [row["loss"] for row in history[-100:]]
    return {"loss": float(np.mean(tail)), "steps": optim.steps, "clips": len(data.latents)}
