"""Small networks with random weights, in files of the public forms and under the public names: a pre-filled store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from hummingbird.params import Foundation, Params, PublicCheckpoints
from hummingbird.runlog import SilentLog, Verdicts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hummingbird.models.convert.networks import Networks

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CHOSEN = PublicCheckpoints(
    teacher="videocrafter2",
    tokenizer="clip-vit-h-14",
    dover="dover",
    recaptioner="llama-3-8b-instruct",
    image_reward="hpsv2.1",
    image_reward_eval="pickscore",
    video_reward="internvideo2-1b",
    video_reward_tokenizer="bert-uncased",
    video_reward_eval="viclip-l",
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ring"]


@dataclass(frozen=True)
class World:
    """A project with a full store, what its checkpoints hold, and the tensors that must come out, by folder."""

    project: Path
    networks: Networks
    expected: dict[str, dict[str, Tensor]]

    def params(self, **changed: str) -> Params:
        """Conversion of the store's checkpoints, with some parts played by others."""
        roles = CHOSEN.model_copy(update=changed)
        return Params(foundation=Foundation(mode="checkpoints", checkpoints=roles))

    def replace(self, name: str, file: str, write: Callable[[Path], Any]) -> None:
        """Let the store hold another file, as if it had been fetched so."""
        from hummingbird.checkpoints.catalogue import catalogue, choose
        from hummingbird.checkpoints.fetch import Options, fetch
        from hummingbird.checkpoints.store import Store
        from hummingbird.runlog import SilentLog

        store, folder = Store(self.project), self.project / "weights" / name
        write(folder / file)
        shutil.rmtree(store.imports / name)
        fetch(choose([name], catalogue()), store, Options(True, self.project / "weights"), SilentLog())


def _sizes() -> dict[str, Any]:
    """Configurations: a few layers each, with every kind of layer that the published networks have."""
    from hummingbird.models.rewards.internvideo2 import InternVideo2Config
    from hummingbird.models.rewards.published import vit_h14
    from hummingbird.models.rewards.video_text import VideoTextConfig
    from hummingbird.models.text import build_world_tokenizer
    from hummingbird.models.text_tower import text_config

    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "image_size": 28, "patch_size": 14}
    vocab = len(build_world_tokenizer())
    ends = {"vocab_size": vocab, "bos_token_id": vocab - 2, "eos_token_id": vocab - 1}

    def clip(fit: str) -> Any:
        config = vit_h14(fit)
        for part, size in ((config.text_config, {**tower, **ends}), (config.vision_config, vision)):
            for name, value in size.items():
                setattr(part, name, value)
        return config

    unet = {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 32, "attention_head_dim": 16}
    technical = {"kind": "swin", "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": (4, 4, 4)}
    technical |= {"fragments": (4, 4), "fragment_biases": (True, False)}
    return {
        "teacher": unet,
        "student": {**unet, "layers_per_block": 1, "has_mid_block": False},
        "vae": {
            **{"double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32},
            **{"ch_mult": (1, 1, 1, 1), "num_res_blocks": 1, "attn_resolutions": ()},
        },
        "text": text_config(width=32, heads=2, layers=3, vocab=vocab, context=24),
        "dover": {
            "technical": technical,
            "aesthetic": {"kind": "convnext", "version": 1, "dims": (8, 16), "depths": (1, 1)},
            "head_hidden": 8,
            "views": {
                **{"technical_frames": 2, "technical_clips": 1, "technical_interval": 2, "grid": 4, "fragment": 8},
                **{"aesthetic_frames": 2, "aesthetic_size": 32},
            },
        },
        "hps": clip("truncate"),
        "pick": clip("squash"),
        "viclip": VideoTextConfig(
            text_config={**tower, **ends, "max_position_embeddings": 12, "projection_dim": 8},
            vision_config={**vision, "projection_dim": 8},
            projection_dim=8,
            num_frames=4,
            fit="round",
        ),
        "internvideo2": InternVideo2Config(
            text_config={**tower, "vocab_size": len(WORDS)}, **vision, pool_heads=2, pool_dim=8, projection_dim=6
        ),
    }


def _networks(sizes: dict[str, Any]) -> Networks:
    """The table of the published networks in these sizes."""
    from hummingbird.models.convert import networks as table
    from hummingbird.models.convert import open_clip

    return {
        "videocrafter2": {
            "unet": table.Network(partial(table.write_unet, options=sizes["teacher"])),
            "vae": table.Network(partial(table.write_vae, config=sizes["vae"])),
            "text_encoder": table.Network(partial(table.write_text_encoder, config=sizes["text"])),
        },
        "hummingbird-0.7b": {"unet": table.Network(partial(table.write_unet, options=sizes["student"]))},
        "clip-vit-h-14": {"tokenizer": table.Network(partial(table.write_clip_tokenizer, config=sizes["text"]))},
        "dover": {"dover": table.Network(partial(table.write_dover, options=sizes["dover"]))},
        "llama-3-8b-instruct": {"recaptioner": table.Network(table.write_language_model)},
        "hpsv2.1": {"image_reward": table.clip_reward(sizes["hps"])},
        "pickscore": {"image_reward": table.clip_reward(sizes["pick"], open_clip.load_transformers)},
        "internvideo2-1b": {"video_reward": table.internvideo2_reward(sizes["internvideo2"])},
        "viclip-l": {"video_reward": table.viclip_reward(sizes["viclip"])},
    }


def _randomised(network: nn.Module, dtype: Any) -> nn.Module:
    import torch

    for parameter in network.parameters():  # zero-initialised layers too
        parameter.data = (torch.randn_like(parameter) * 0.05).to(dtype)
    return network.eval()


def _write_weights(folder: Path, sizes: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Write every checkpoint's files; returns the state dicts that must come out, by folder of the foundation."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPModel

    from hummingbird.models.convert import dover, internvideo2, open_clip, text, unet, vae, viclip
    from hummingbird.models.dover import Dover
    from hummingbird.models.rewards.internvideo2 import InternVideo2Reward
    from hummingbird.models.rewards.video_text import VideoTextReward
    from hummingbird.models.text import build_world_tokenizer
    from hummingbird.models.text_tower import OpenClipTextTower, conditioning_tower
    from hummingbird.models.unet import VideoUNet

    torch.manual_seed(0)
    half, full, brain = torch.float16, torch.float32, torch.bfloat16

    def path(name: str, file: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name / file

    teacher = _randomised(VideoUNet(**sizes["teacher"]), half)
    config = vae.config_from_public(sizes["vae"], 4)
    frames = _randomised(vae.build_vae(config).to_empty(device="cpu"), full)
    tower = _randomised(OpenClipTextTower(sizes["text"]), full)
    parts = {
        "model.diffusion_model.": unet.key_map(teacher).to_public(teacher.state_dict()),
        "first_stage_model.": vae.key_map(frames).to_public(frames.state_dict()),
        "cond_stage_model.model.": text.key_map(tower).to_public(tower.state_dict()),
    }
    whole = {prefix + key: it for prefix, state in parts.items() for key, it in state.items()}
    torch.save({"state_dict": whole | {"betas": torch.ones(3)}}, path("videocrafter2", "videocrafter2.ckpt"))

    student = _randomised(VideoUNet(**sizes["student"], time_cond_proj_dim=8), half)
    public = unet.key_map(student).to_public(student.state_dict())
    save_file({key: it.contiguous() for key, it in public.items()}, path("hummingbird-0.7b", "07B_merged_all.pt"))

    quality = _randomised(Dover(**sizes["dover"]), full)
    torch.save(dover.key_map(quality).to_public(quality.state_dict()), path("dover", "DOVER.pth"))

    hps = _randomised(CLIPModel(sizes["hps"]), half)
    public = open_clip.key_map(sizes["hps"]).to_public(hps.state_dict())
    torch.save({"state_dict": public, "epoch": 3}, path("hpsv2.1", "HPS_v2.1_compressed.pt"))

    pick = _randomised(CLIPModel(sizes["pick"]), full)
    pick.save_pretrained(folder / "pickscore", max_shard_size="40KB")
    assert len(list((folder / "pickscore").glob("*.safetensors"))) > 1

    video = _randomised(InternVideo2Reward(sizes["internvideo2"]), brain)
    spare = {"temp": torch.ones(()), "itm_head.weight": torch.ones(2, 2)}
    public = internvideo2.key_map(sizes["internvideo2"]).to_public(video.state_dict()) | spare
    torch.save({"module": public}, path("internvideo2-1b", "InternVideo2-stage2_1b-224p-f4.pt"))

    held_out = _randomised(VideoTextReward(sizes["viclip"]), full)
    public = viclip.key_map(sizes["viclip"]).to_public(held_out.state_dict()) | {"temp": torch.tensor(0.01)}
    torch.save({"model": public}, path("viclip-l", "ViClip-InternVid-10M-FLT.pth"))

    build_world_tokenizer(77).save_pretrained(folder / "clip-vit-h-14")
    path("clip-vit-h-14", "config.json").write_text('{"model_type": "clip"}')
    path("bert-uncased", "vocab.txt").write_text("\n".join(WORDS) + "\n")
    language = path("llama-3-8b-instruct", "")
    shutil.copytree(ROOT / "assets/miniature/recaptioner", language, dirs_exist_ok=True)
    _move_template(language)
    made = {"unet": teacher, "vae": frames, "text_encoder": conditioning_tower(tower), "dover": quality}
    rewards = {
        "image_reward": hps,
        "image_reward_eval": pick,
        "video_reward": video,
        "video_reward_eval": held_out,
        "student": student,
    }
    return {name: dict(network.state_dict()) for name, network in (made | rewards).items()}


def _move_template(folder: Path) -> None:
    """Llama 3 has its chat template in ``tokenizer_config.json``."""
    import json

    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = (folder / "chat_template.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink()


class Told(SilentLog):
    """What a stage told whoever was watching: its progress bars, with their totals and how far they came, and the
    verdicts while each of them grew."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int | None, int]] = []
        self.verdicts: list[Verdicts] = []

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        self.verdicts.append(Verdicts())
        self.bars.append((description, total, 0))
        for count, item in enumerate(items, 1):
            self.bars[-1] = (description, total, count)
            yield item

    def verdict(self, reason: str, clips: int = 1) -> None:
        self.verdicts[-1].add(reason, clips)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(scope="session")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A project whose store holds all checkpoints. Tests work on copies of it."""
    from dvc.repo import Repo

    from hummingbird.checkpoints.catalogue import catalogue, choose
    from hummingbird.checkpoints.fetch import Options, fetch
    from hummingbird.checkpoints.store import Store
    from hummingbird.runlog import SilentLog

    project = tmp_path_factory.mktemp("public") / "project"
    project.mkdir()
    sizes = _sizes()
    expected = _write_weights(project / "weights", sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(project.parent / "dvc-global"))
        patch.setenv("DVC_SITE_CACHE_DIR", str(project.parent / "dvc-site"))
        Repo.init(str(project), no_scm=True).close()
        names = [*CHOSEN.names, "hummingbird-0.7b"]
        fetch(choose(names, catalogue()), Store(project), Options(True, project / "weights"), SilentLog())
    return World(project, _networks(sizes), expected)


@pytest.fixture
def world(full_store: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the project, which is the current folder."""
    project = tmp_path / "project"
    shutil.copytree(full_store.project, project)
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    yield World(project, full_store.networks, full_store.expected)
