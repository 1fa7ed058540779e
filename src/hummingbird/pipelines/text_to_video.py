"""Text in, video out: one diffusers pipeline for the teacher (DDIM with CFG) and the few-step students (LCM)."""

from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, DiffusionPipeline, LCMScheduler
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.models.light_decoder import LightDecoder
from hummingbird.models.text import check_prompt, encode_prompts
from hummingbird.models.unet import VideoUNet
from hummingbird.models.vae import decode_video, downscale_factor


def guidance_embedding(guidance_scale: Tensor, dim: int) -> Tensor:
    """Embedding [B, dim] of guidance scales [B] in the form ``uncond + g (cond - uncond)``, float32.

    The consistency literature embeds w = g - 1 as sin|cos of 1000 w with frequencies exp(-ln(1e4) i / (dim/2 - 1)).
    diffusers' ``get_timestep_embedding`` is the same but for a rounding of the frequencies, which angles of 15,000
    turn into differences of 1e-3; networks in use were trained with the rounding here.
    """
    frequencies = guidance_frequencies(dim).to(guidance_scale.device)
    angles = ((guidance_scale - 1) * 1000).float()[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, dim % 2))


def guidance_frequencies(dim: int) -> Tensor:
    """The frequencies [dim // 2] of :func:`guidance_embedding`, float32."""
    half = dim // 2
    return (torch.arange(half, dtype=torch.float32) * -(math.log(10_000) / (half - 1))).exp()


def student_timesteps(steps: int, scheduler: LCMScheduler) -> list[int]:
    """The ``steps`` timesteps of the consistency sampler: every (N // steps)-th of its N-step solver grid, from the top
    (4 of 50: 999, 759, 519, 279). diffusers' own choice rounds differently (499, 259)."""
    grid = scheduler.config.original_inference_steps
    if not 1 <= steps <= grid:
        raise ValueError(f"a consistency sampler of {grid} solver steps runs in 1..{grid} steps, not {steps}")
    skip = scheduler.config.num_train_timesteps // grid
    return [(grid - i * (grid // steps)) * skip - 1 for i in range(steps)]


class TextToVideoPipeline(DiffusionPipeline):
    """Generates videos from prompts.

    With a ``DDIMScheduler`` it samples with classifier-free guidance, both passes in one batch. With an
    ``LCMScheduler`` the guidance scale enters through the network's guidance embedding and there is one pass a step.

    Args:
        vae: decodes the latents, and need not do more.
        num_inference_steps, guidance_scale, num_frames, fps: defaults of a call.
        sample_size: height and width in pixels of what the VAE decodes.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny | LightDecoder,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: VideoUNet,
        scheduler: DDIMScheduler | LCMScheduler,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        num_frames: int = 8,
        fps: int = 8,
        sample_size: tuple[int, int] = (32, 32),
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_frames=num_frames,
            fps=fps,
            sample_size=tuple(sample_size),
        )
        self.negative_prompt_embeds: Tensor | None = None  # a learned negative embedding [1, L, D], used where set

    def encode(self, prompts: list[str]) -> Tensor:
        """Text embeddings [B, L, D]."""
        return encode_prompts(self.text_encoder, self.tokenizer, prompts)

    def initial_noise(self, seeds: list[int], num_frames: int, text: Tensor) -> tuple[Tensor, list[torch.Generator]]:
        """Latent noise [B, C, T, h, w] where and as exact as ``text``; video i depends on ``seeds[i]`` alone."""
        factor = downscale_factor(self.vae)
        height, width = self.config.sample_size
        shape = (len(seeds), self.unet.config.in_channels, num_frames, height // factor, width // factor)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = randn_tensor(shape, generator=generators, device=text.device, dtype=text.dtype)
        return noise * self.scheduler.init_noise_sigma, generators

    @torch.no_grad()
    def __call__(
        self,
        prompts: str | list[str],
        seeds: int | list[int] = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        negative_prompt_embeds: Tensor | None = None,
        num_frames: int | None = None,
        fps: int | None = None,
        output_type: str = "np",
    ) -> NDArray[np.uint8] | Tensor:
        """Generate one video for each prompt.

        Returns:
            uint8 [B, T, H, W, 3], or with ``output_type="latent"`` the latents [B, C, T, h, w].

        Raises:
            UserError: a prompt is empty or has no known word.
            ValueError: numbers of prompts and seeds differ, or a negative prompt is given to a student.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        seeds = [seeds] * len(prompts) if isinstance(seeds, int) else list(seeds)
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
        for prompt in prompts:
            check_prompt(self.tokenizer, prompt)
        steps = num_inference_steps or self.config.num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        # The text says where to work: `self.device` walks through all modules, a tenth of a student's call.
        text = self.encode(prompts)
        rate = torch.tensor(fps or self.config.fps, device=text.device)
        latents, generators = self.initial_noise(seeds, num_frames or self.config.num_frames, text)
        if isinstance(self.scheduler, LCMScheduler):
            if negative_prompt is not None or negative_prompt_embeds is not None:
                raise ValueError(
                    "a guidance-distilled student has no unconditional pass, so it takes no negative prompt"
                )
            latents = self._sample_student(latents, generators, text, steps, scale, rate)
        else:
            negative = self._negative(text, negative_prompt, negative_prompt_embeds)
            latents = self._sample_guided(latents, text, negative, steps, scale, rate)
        if output_type == "latent":
            return latents
        video = decode_video(self.vae, latents)
        return (video.movedim(-3, -1) * 255).round().to(torch.uint8).cpu().numpy()

    def _negative(self, text: Tensor, prompt: str | None, embeds: Tensor | None) -> Tensor:
        if prompt is not None:
            embeds = self.encode([prompt])
        elif embeds is None:
            embeds = self.negative_prompt_embeds if self.negative_prompt_embeds is not None else self.encode([""])
        return embeds.to(text).expand(len(text), -1, -1)

    def _sample_guided(
        self, latents: Tensor, text: Tensor, negative: Tensor, steps: int, scale: float, fps: Tensor
    ) -> Tensor:
        self.scheduler.set_timesteps(steps, device=latents.device)
        context = torch.cat([negative, text])
        for timestep in self.progress_bar(self.scheduler.timesteps):
            prediction = self.unet(torch.cat([latents, latents]), timestep, context, fps=fps).sample
            uncond, cond = prediction.chunk(2)
            guided = uncond + scale * (cond - uncond)
            latents = self.scheduler.step(guided, timestep, latents).prev_sample
        return latents

    def _sample_student(
        self,
        latents: Tensor,
        generators: list[torch.Generator],
        text: Tensor,
        steps: int,
        scale: float,
        fps: Tensor,
    ) -> Tensor:
        self.scheduler.set_timesteps(timesteps=student_timesteps(steps, self.scheduler), device=latents.device)
        dim = self.unet.config.time_cond_proj_dim
        cond = None
        if dim is not None:
            cond = guidance_embedding(torch.full((len(latents),), scale, device=latents.device), dim).to(latents.dtype)
        for timestep in self.progress_bar(self.scheduler.timesteps):
            prediction = self.unet(latents, timestep, text, timestep_cond=cond, fps=fps).sample
            out = self.scheduler.step(prediction, timestep, latents, generator=generators)
            latents = out.prev_sample
        return out.denoised
