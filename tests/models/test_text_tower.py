"""The full-size text path: OpenCLIP's tower, what of it conditions a denoiser, and CLIP's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from hummingbird.models.clip_tokenizer import clip_tokenizer
from hummingbird.models.convert import text
from hummingbird.models.convert.loading import load_public
from hummingbird.models.text import encode_prompts, tokenize
from hummingbird.models.text_tower import OpenClipTextTower, build_tower, conditioning_tower, text_config


@pytest.fixture(scope="module")
def tower() -> OpenClipTextTower:
    """Loaded as from a public file, where queries, keys and values are one tensor."""
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, "layers": 3, "vocab": 49408}
    source = OpenClipTextTower(text_config(**sizes)).eval()
    names = text.key_map(source)
    public = {name: it.contiguous() for name, it in names.to_public(source.state_dict()).items()}
    assert public["transformer.resblocks.0.attn.in_proj_weight"].shape == (48, 16)
    assert public["attn_mask"][0].tolist() == [0.0, *[-torch.inf] * 76]
    return load_public(build_tower(text_config(**sizes)), names, public).eval()


@torch.no_grad()
def test_the_condition_is_the_last_layer_but_one_after_the_final_norm(tower: OpenClipTextTower) -> None:
    tokenizer = clip_tokenizer()
    ids = tokenize(tokenizer, ["a ghost ship", ""])
    states = tower(input_ids=ids, output_hidden_states=True).hidden_states
    wanted = tower.text_model.final_layer_norm(states[-2])
    found = encode_prompts(conditioning_tower(tower), tokenizer, ["a ghost ship", ""])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert not torch.allclose(found, tower(input_ids=ids).last_hidden_state, atol=1e-3)


@torch.no_grad()
def test_saved_and_loaded_the_condition_is_the_same(tower: OpenClipTextTower, tmp_path: Path) -> None:
    model, ids = conditioning_tower(tower), torch.tensor([[49406, 320, 49407, 0]])
    model.save_pretrained(tmp_path)
    loaded = CLIPTextModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert torch.equal(loaded(input_ids=ids).last_hidden_state, model(input_ids=ids).last_hidden_state)


def test_an_exclamation_mark_is_text_and_not_padding(tmp_path: Path) -> None:
    """Its token is 0, which also pads."""
    tokenizer = clip_tokenizer(8)
    wanted = [49406, 1929, 748, 49407, 0, 0, 0, 0]
    assert tokenize(tokenizer, ["dog!!"])[0].tolist() == wanted
    tokenizer.save_pretrained(tmp_path)
    assert tokenize(CLIPTokenizer.from_pretrained(tmp_path), ["dog!!"])[0].tolist() == wanted


def test_what_is_too_long_ends_with_the_end_of_text() -> None:
    ids = tokenize(clip_tokenizer(32), ["word " * 100])[0]
    assert len(ids) == 32 and ids[-1] == 49407 and ids[-2] == 2653
