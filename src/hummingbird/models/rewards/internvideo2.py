"""Video-text reward: InternVideo2 stage 2 (arXiv:2403.15377), its vision tower beside the first layers of a BERT.

The text feature is the projected last hidden state of the first token. The layers of the published BERT that look at
the video only serve matching; the reward has none of them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer, PreTrainedConfig

from hummingbird.models.rewards.internvideo2_tower import InternVideo2Tower
from hummingbird.models.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hummingbird.models.rewards.video_reward import VideoReward


class InternVideo2Config(PreTrainedConfig):
    """Sizes of the vision tower and of the text tower; the defaults of the vision tower are the 1B model's.

    Fields that do not speak for themselves: ``num_frames`` that the reward looks at; ``trained_frames`` of the position
    table; ``pool_dim``, the width after pooling; ``hidden_act`` of the vision blocks: the published weights were most
    likely trained with the tanh form of GELU, which the fused kernels compute (``gelu`` is the exact one);
    ``checkpoint_blocks``: compute blocks again in the backward pass to save memory; ``max_text_length`` in tokens.
    """

    model_type = "internvideo2_reward"
    sub_configs = {"text_config": BertConfig}  # noqa: RUF012 - transformers' own form

    text_config: Any = None  # a BertConfig, or its fields
    image_size: int = 224
    patch_size: int = 14
    hidden_size: int = 1408
    num_hidden_layers: int = 40
    num_attention_heads: int = 16
    intermediate_size: int = 6144
    hidden_act: str = "gelu_pytorch_tanh"
    rms_norm_eps: float = 1e-6
    layer_norm_eps: float = 1e-5
    pool_heads: int = 16
    pool_dim: int = 768
    projection_dim: int = 512
    trained_frames: int = 4
    num_frames: int = 8
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD
    fit: str = "round"
    max_text_length: int = 40
    checkpoint_blocks: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.text_config, BertConfig):
            self.text_config = BertConfig(**(self.text_config or {}))
        super().__post_init__(**kwargs)


class BertText(nn.Module):
    """Token ids [B, L] and their mask -> text features [B, projection_dim], not normalised."""

    def __init__(self, config: BertConfig, projection_dim: int) -> None:
        super().__init__()
        self.bert = BertModel._from_config(config, add_pooling_layer=False)
        self.projection = nn.Linear(config.hidden_size, projection_dim)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.projection(hidden[:, 0])


class InternVideo2Reward(VideoReward):
    """InternVideo2's two towers; see :class:`InternVideo2Config`."""

    config_class = InternVideo2Config
    config: InternVideo2Config
    tokenizer_type = BertTokenizer
    _supports_sdpa = True

    def __init__(self, config: InternVideo2Config, tokenizer: BertTokenizer | None = None) -> None:
        super().__init__(config, tokenizer)
        self.vision_model = InternVideo2Tower(config)
        self.text_model = BertText(config.text_config, config.projection_dim)
        self.post_init()

    @property
    def image_size(self) -> int:
        return self.config.image_size

    def encode_frames(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        if keep is not None:
            raise ValueError("InternVideo2 looks at all patches; keep must be None")
        return self.vision_model(video)

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        tokenizer: BertTokenizer = self.tokenizer
        length = min(self.config.max_text_length, tokenizer.model_max_length)
        batch = tokenizer(prompts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        return self.text_model(batch.input_ids.to(self.device), batch.attention_mask.to(self.device))
