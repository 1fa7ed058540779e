"""Golden files of the reward models: CLIP, ViCLIP, InternVideo2's two towers, and the preparation of frames.

InternVideo2's vision tower has no plain attention: it always uses torch's fused one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hummingbird.models.convert import internvideo2, open_clip, viclip
from hummingbird.models.convert.keymap import KeyMap
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward
from hummingbird.models.rewards.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    prepare_bytes,
    prepare_frames,
)
from hummingbird.parity.backends import prepare
from hummingbird.parity.golden import NETWORK, Case, Golden, Kind, Setup, has_keys
from hummingbird.parity.reward_configs import (
    clip_config,
    internvideo2_config,
    internvideo2_text_config,
    viclip_config,
)
from hummingbird.parity.tokens import token_cases

PREPARED = 1e-5
#: Where a tolerance is not a network's own: gradients, cosines times 100, and logits.
TOLERANCES = {"d_meancosine_d_rgb": 1e-6, "hps_score_x100": 2e-3, "logits_per_image": 2e-3, "logit_scale_exp": 2e-3}


def open_clip_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """OpenCLIP's whole CLIP through :class:`ImageTextReward`, from pixels in [0, 1] and token ids."""
    config = clip_config(golden.config["config"])
    clip = open_clip.load(golden.under("weights/"), config)
    yield _returned(golden, open_clip.key_map(config), clip)
    reward = ImageTextReward(prepare(clip, setup))
    pixels, ids = golden.tensors["in/rgb01"].to(setup.device), golden.tensors["in/tokens"].to(setup.device)
    prepared = prepare_frames(pixels, config.vision_config.image_size, CLIP_MEAN, CLIP_STD)
    yield from _prepared(golden, "pixel_values", prepared)
    image = reward.encode_image(pixels.requires_grad_())
    with torch.no_grad():
        text = reward.token_features(ids)
        raw_image = clip.get_image_features(pixel_values=prepared.to(setup.dtype)).pooler_output
        raw_text = clip.get_text_features(input_ids=ids).pooler_output
    score, matrix, scale = (image * text).sum(-1), image @ text.T, clip.logit_scale.exp()
    ours = {
        "image_features": image,
        "text_features": text,
        "image_features_unnormalised": raw_image,
        "text_features_unnormalised": raw_text,
        "cosine": score,
        "cosine_matrix_image_by_text": matrix,
        "hps_score": score,
        "hps_score_x100": 100 * score,
        "logits_per_image": scale * matrix,
        "logit_scale_exp": scale.reshape(1),
        "d_meancosine_d_rgb": torch.autograd.grad(score.mean(), pixels)[0],
    }
    yield from _compared(golden, ours)


def viclip_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """ViCLIP through :class:`VideoTextReward`, from pixels in [0, 1] and token ids."""
    config = viclip_config(golden.config["config"])
    reward = viclip.load(golden.under("weights/"), config)
    yield _returned(golden, viclip.key_map(config), reward)
    if "tokenizer" in golden.config:
        yield from token_cases(golden.config["tokenizer"])
    reward = prepare(reward, setup)
    pixels, ids = golden.tensors["in/rgb01"].to(setup.device), golden.tensors["in/tokens"].to(setup.device)
    prepared = _normalised(pixels, reward.image_size)
    yield from _prepared(golden, "video", prepared)
    clip = reward.encode_video(pixels.requires_grad_())
    with torch.no_grad():
        video, tower = prepared.to(setup.dtype), reward.vision_model
        raw_text = reward.text_model(input_ids=ids).text_embeds
        text = F.normalize(raw_text.float(), dim=-1)
        ours = {
            "text_features": text,
            "text_features_unnormalised": raw_text,
            "vision_features_unnormalised": tower(video),
            "vision_tokens_before_ln_pre": tower.tokens(video),
            "vision_features_one_frame_unnormalised": tower(video[:, :1]),
        }
        reward.config.image_mean, reward.config.image_std = CLIP_MEAN, CLIP_STD  # as VBench normalises
        seen = reward.encode_video(pixels)
    score = (clip * text).sum(-1)
    ours |= {
        "vision_features_clip_mean_std": seen,
        "cosine_clip_mean_std": (seen * text).sum(-1),
        "vision_features": clip,
        "cosine": score,
        "cosine_matrix_video_by_text": clip @ text.T,
        "d_meancosine_d_rgb": torch.autograd.grad(score.mean(), pixels)[0],
    }
    yield from _compared(golden, ours)


@torch.no_grad()
def internvideo2_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """InternVideo2's vision tower; twice, as the fused kernels compute another GELU than the plain classes."""
    config = internvideo2_config(golden.config["config"], "gelu")
    exact = _with_random_rest(golden, config)
    yield _returned(golden, internvideo2.key_map(config), exact)
    pixels = golden.tensors["in/rgb01"].to(setup.device)
    prepared = _normalised(pixels, exact.image_size)
    yield from _prepared(golden, "video", prepared)
    tower, clip = prepare(exact, setup).vision_model, prepared.to(setup.dtype)
    blocks: list[Tensor] = []
    hook = tower.blocks[0].register_forward_hook(lambda module, inputs, output: blocks.append(output))
    ours = {"x_vis": tower.tokens(clip), "tokens_after_block0": blocks[0], "features_unnormalised": tower(clip)}
    hook.remove()
    ours |= _pooled(exact, clip) | _pooled(exact, clip[:, :1], "one_frame/")
    if "in/video_2T" in golden.tensors:
        longer = golden.tensors["in/video_2T"].to(setup.device, setup.dtype)
        ours |= _pooled(exact, longer, "interp_2T/")
        ours["interp_2T/pos_embed"] = tower.positions(longer.shape[1])
    fused = prepare(_with_random_rest(golden, internvideo2_config(golden.config["config"], "gelu_pytorch_tanh")), setup)
    ours |= _pooled(fused, clip, "tanh_gelu/")
    ours["features"] = exact.encode_video(pixels)  # the way that rewards go
    yield from _compared(golden, ours)


@torch.no_grad()
def internvideo2_text_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """The first layers of InternVideo2's BERT."""
    config = internvideo2_text_config(golden.config["config"])
    reward = _with_random_rest(golden, config)
    yield _returned(golden, internvideo2.key_map(config), reward)
    tower = prepare(reward, setup).text_model
    inputs = {name: it.to(setup.device) for name, it in golden.under("in/").items()}
    hidden, features = tower.bert(**inputs).last_hidden_state, tower(**inputs)
    seen = inputs["attention_mask"].bool()[..., None]  # what stands in the padding means nothing
    ours = {
        "last_hidden_state": torch.where(seen, hidden, golden.tensors["out/last_hidden_state"].to(hidden)),
        "cls": hidden[:, 0],
        "features_unnormalised": features,
        "features": F.normalize(features.float(), dim=-1),
    }
    yield from _compared(golden, ours)


def preprocess_cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """The ways from frames of any size to a square, each with its rounding, crop and normalisation."""
    size = golden.config["target"]
    ours: dict[str, Tensor] = {}
    for shape, about in golden.config["cases"].items():
        frames, levels = (golden.tensors[f"in/{it}"].to(setup.device) for it in (shape, f"{shape}_uint8"))
        corner = tuple(about["turbo_crop_offset"])
        normalised, cropped = prepare_bytes(levels, size, CLIP_MEAN, CLIP_STD)
        ways = {
            "hps": prepare_frames(frames, size, CLIP_MEAN, CLIP_STD),
            "squash_pick_clip": prepare_frames(frames, size, CLIP_MEAN, CLIP_STD, "squash"),
            "hps_no_antialias_old_torchvision": prepare_frames(frames, size, CLIP_MEAN, CLIP_STD, antialias=False),
            "turbo_video": prepare_frames(frames, size, IMAGENET_MEAN, IMAGENET_STD, "round", corner=corner),
            "vbench_viclip": normalised,
            "vbench_viclip_uint8": cropped,
        }
        ours |= {f"{shape}/{name}": it for name, it in ways.items()}
    yield from _compared(golden, ours, lambda name: 0 if name.endswith("_uint8") else PREPARED)


def _configured(*keys: str) -> Callable[[Golden], bool]:
    """Whether the original's configuration has all of these."""
    return lambda golden: has_keys(golden.config.get("config", {}), *keys)


def _is_preprocess(golden: Golden) -> bool:
    cases = golden.config.get("cases", {})
    return "target" in golden.config and len(cases) > 0 and all("turbo_crop_offset" in it for it in cases.values())


KINDS = [
    Kind("open_clip", _configured("vision_cfg", "text_cfg"), open_clip_cases),
    Kind("viclip", _configured("vision", "text", "activation"), viclip_cases),
    Kind("internvideo2", _configured("attn_pool_num_heads", "tubelet_size"), internvideo2_cases),
    Kind("internvideo2_text", _configured("layers_run_fusion_layer", "text_proj"), internvideo2_text_cases),
]
PREPARATION = [Kind("reward_preprocess", _is_preprocess, preprocess_cases)]


def _tolerance(name: str) -> float:
    return TOLERANCES.get(name, NETWORK)


def _compared(
    golden: Golden, ours: Mapping[str, Tensor], tolerance: Callable[[str], float] = _tolerance
) -> Iterator[Case]:
    """One case for each output of the original; one that we do not compute is a miss."""
    for name, exact in golden.under("out/").items():
        if name in ours:
            yield Case.compare(name, ours[name], exact, tolerance(name))
        else:
            yield Case(f"{name} (not computed)", float("inf"), tolerance(name))


def _prepared(golden: Golden, name: str, ours: Tensor) -> Iterator[Case]:
    """The original's own prepared input, where the file has it."""
    if f"in/{name}" in golden.tensors:
        yield Case.compare(f"prepared {name}", ours, golden.tensors[f"in/{name}"], PREPARED)


def _returned(golden: Golden, names: KeyMap, network: nn.Module) -> Case:
    """Whether every golden weight comes back bit for bit from our network."""
    weights = golden.under("weights/")
    public = names.to_public(network.state_dict()) | names.unused(weights)
    same = all(name in public and torch.equal(public[name], it) for name, it in weights.items())
    return Case("weights there and back", 0.0 if same else float("inf"), 0.0)


def _normalised(clips: Tensor, size: int) -> Tensor:
    """Clips [B, T, 3, H, W] as the video rewards prepare them."""
    frames = prepare_frames(clips.flatten(0, 1), size, IMAGENET_MEAN, IMAGENET_STD, "round")
    return frames.unflatten(0, clips.shape[:2])


def _with_random_rest(golden: Golden, config: InternVideo2Config) -> InternVideo2Reward:
    """A whole reward from the weights of one tower."""
    rest = internvideo2.key_map(config).to_public(InternVideo2Reward(config).state_dict())
    return internvideo2.load(rest | golden.under("weights/"), config)


def _pooled(reward: InternVideo2Reward, clip: Tensor, prefix: str = "") -> dict[str, Tensor]:
    tower = reward.vision_model
    pooled = tower.pool(tower.tokens(clip))
    return {f"{prefix}pooled": pooled, f"{prefix}features": F.normalize(tower.projection(pooled).float(), dim=-1)}
