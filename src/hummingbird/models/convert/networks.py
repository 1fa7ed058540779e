"""What each public checkpoint holds, by its name in ``hummingbird checkpoints list``, and how it becomes the folder
that the later stages load.

A network keeps the precision of its file: what loads it says in which it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor
from transformers import BertTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer

from hummingbird.errors import UserError
from hummingbird.models.convert import internvideo2, open_clip, viclip
from hummingbird.models.convert.language_model import write_language_model
from hummingbird.models.convert.public import UNETS, VAE_CONFIG, load_dover, load_text_tower, load_unet, load_vae
from hummingbird.models.convert.reading import read_tensors
from hummingbird.models.convert.saving import save_network
from hummingbird.models.rewards.internvideo2 import InternVideo2Config
from hummingbird.models.rewards.published import internvideo2_1b, viclip_l, vit_h14
from hummingbird.models.rewards.video_text import VideoTextConfig
from hummingbird.models.text import PADDING_ID
from hummingbird.models.text_tower import conditioning_tower, text_config

Kind = Literal["unet", "vae", "text_encoder", "tokenizer", "dover", "recaptioner", "image_reward", "video_reward"]
Vocabulary = Literal["clip", "bert"]
Write = Callable[[Path, Path], None]  # (folder of the checkpoint's files, folder to fill)

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_OTHER_FILES = "fetch the checkpoint as the table names it: hummingbird checkpoints list"


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint.

    Args:
        write: makes its folder.
        vocabulary: whose tokenizer, which ``write_tokenizer`` puts beside the network, it reads by; None if it reads no
            text, or if its tokenizer is a folder of its own.
    """

    write: Write
    vocabulary: Vocabulary | None = None
    write_tokenizer: Write | None = None


Networks = Mapping[str, Mapping[Kind, Network]]


class _LoadsClip(Protocol):
    def __call__(self, state: Mapping[str, Tensor], config: CLIPConfig) -> CLIPModel: ...


def write_unet(source: Path, target: Path, *, options: Mapping[str, Any]) -> None:
    """A denoiser; ``options`` are arguments of ``VideoUNet``. A guidance embedding is recognised."""
    save_network(load_unet(_weights(source), options), target)


def write_vae(source: Path, target: Path, *, config: Mapping[str, Any]) -> None:
    """The frame autoencoder; ``config`` is in the public form."""
    save_network(load_vae(_weights(source), public_config=config), target)


def write_text_encoder(source: Path, target: Path, *, config: CLIPTextConfig) -> None:
    """What a denoiser reads of the text tower, whose whole has this ``config``: one layer less, and the final norm."""
    save_network(conditioning_tower(load_text_tower(_weights(source), config=config)), target)


def write_dover(source: Path, target: Path, *, options: Mapping[str, Any]) -> None:
    """The quality assessor; ``options`` are arguments of ``Dover``."""
    save_network(load_dover(_weights(source), options), target)


def write_clip(source: Path, target: Path, *, config: CLIPConfig, load: _LoadsClip = open_clip.load) -> None:
    """An image-text reward."""
    save_network(load(_tensors(source), config), target)


def write_viclip(source: Path, target: Path, *, config: VideoTextConfig) -> None:
    """A video-text reward: ViCLIP."""
    save_network(viclip.load(_tensors(source), config), target)


def write_internvideo2(source: Path, target: Path, *, config: InternVideo2Config) -> None:
    """A video-text reward: InternVideo2."""
    save_network(internvideo2.load(_tensors(source), config), target)


def write_clip_tokenizer(source: Path, target: Path, *, config: CLIPTextConfig) -> None:
    """CLIP's tokenizer as a text tower of this ``config`` reads: its length, and padding by zeros as in OpenCLIP.

    Raises:
        UserError: there is none in ``source``, or its vocabulary is not the tower's.
    """
    length = config.max_position_embeddings
    try:
        tokenizer = CLIPTokenizer.from_pretrained(
            source, local_files_only=True, model_max_length=length, **{PADDING_ID: 0}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{source} holds no tokenizer of CLIP: {error}", _OTHER_FILES) from error
    _require_vocabulary(source, len(tokenizer), config.vocab_size)
    if tokenizer.eos_token_id != config.eos_token_id:
        raise UserError(
            f"the tokenizer in {source} ends a text with token {tokenizer.eos_token_id}, the text tower expects "
            f"{config.eos_token_id}",
            _OTHER_FILES,
        )
    tokenizer.save_pretrained(target)


def write_bert_tokenizer(source: Path, target: Path, *, config: InternVideo2Config) -> None:
    """BERT's tokenizer, cut at the length of InternVideo2's text tower.

    Raises:
        UserError: there is none in ``source``, or its vocabulary is not the tower's.
    """
    try:
        tokenizer = BertTokenizer.from_pretrained(
            source, local_files_only=True, model_max_length=config.max_text_length
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{source} holds no tokenizer of BERT: {error}", _OTHER_FILES) from error
    _require_vocabulary(source, len(tokenizer), config.text_config.vocab_size)
    tokenizer.save_pretrained(target)


def clip_reward(config: CLIPConfig, load: _LoadsClip = open_clip.load) -> Network:
    """An image-text reward of this configuration with its tokenizer."""
    tokenizer = partial(write_clip_tokenizer, config=config.text_config)
    return Network(partial(write_clip, config=config, load=load), "clip", tokenizer)


def viclip_reward(config: VideoTextConfig) -> Network:
    """ViCLIP of this configuration with its tokenizer."""
    tokenizer = partial(write_clip_tokenizer, config=config.text_config)
    return Network(partial(write_viclip, config=config), "clip", tokenizer)


def internvideo2_reward(config: InternVideo2Config) -> Network:
    """InternVideo2 of this configuration with its tokenizer."""
    tokenizer = partial(write_bert_tokenizer, config=config)
    return Network(partial(write_internvideo2, config=config), "bert", tokenizer)


#: The published networks. A table of the same form with other sizes converts checkpoints of other sizes.
PUBLISHED: Networks = {
    "videocrafter2": {
        "unet": Network(partial(write_unet, options=UNETS["videocrafter2"])),
        "vae": Network(partial(write_vae, config=VAE_CONFIG)),
        "text_encoder": Network(partial(write_text_encoder, config=text_config())),
    },
    "hummingbird-0.7b": {"unet": Network(partial(write_unet, options=UNETS["hummingbird-0.7b"]))},
    "clip-vit-h-14": {"tokenizer": Network(partial(write_clip_tokenizer, config=text_config()))},
    "dover": {"dover": Network(partial(write_dover, options={}))},
    "llama-3-8b-instruct": {"recaptioner": Network(write_language_model)},
    "hpsv2.1": {"image_reward": clip_reward(vit_h14())},
    "pickscore": {"image_reward": clip_reward(vit_h14("squash"), open_clip.load_transformers)},
    "internvideo2-1b": {"video_reward": internvideo2_reward(internvideo2_1b())},
    "viclip-l": {"video_reward": viclip_reward(viclip_l())},
}


def find_network(name: str, kind: Kind, networks: Networks = PUBLISHED) -> Network:
    """The network of this ``kind`` in the checkpoint called ``name``.

    Raises:
        UserError: it holds none.
    """
    found = networks.get(name, {}).get(kind)
    if found is None:
        others = [other for other, held in networks.items() if kind in held]
        raise UserError(
            f"checkpoint {name!r} holds no {kind}", f"name one that does in foundation.checkpoints: {', '.join(others)}"
        )
    return found


def _weights(source: Path) -> Path:
    """The one file of weights in ``source``."""
    files = _weight_files(source)
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise UserError(f"{source} should hold one file of weights, but holds {found}", _OTHER_FILES)
    return files[0]


def _tensors(source: Path) -> dict[str, Tensor]:
    """All tensors of the files of weights in ``source``: one, or the pieces of one."""
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(source):
        piece = read_tensors(file)
        if twice := sorted(tensors.keys() & piece.keys()):
            raise UserError(f"{file} repeats {len(twice)} tensors of the files before it: {twice[0]}", _OTHER_FILES)
        tensors |= piece
    if not tensors:
        raise UserError(f"{source} holds no file of weights", _OTHER_FILES)
    return tensors


def _weight_files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.suffix in WEIGHTS and not path.name.startswith("."))


def _require_vocabulary(source: Path, found: int, expected: int) -> None:
    if found != expected:
        raise UserError(
            f"the tokenizer in {source} has {found} tokens, the text tower reads {expected}",
            "name its own tokenizer in foundation.checkpoints",
        )
