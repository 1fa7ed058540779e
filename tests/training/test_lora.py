"""Adapters: every layer has one that acts, they merge into plain weights, and their file is diffusers' own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers.loaders import PeftAdapterMixin
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.models.fast_layers import SplitGEGLU
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Lora
from hummingbird.training.lora import add_adapters, load_adapters, merge_adapters, save_adapters

GUIDANCE = "time_embedding.cond_proj"


def network(width: int = 16) -> VideoUNet:
    """All kinds of layers, none of them zero: an adapter before a zero layer could not be seen."""
    torch.manual_seed(0)
    unet = VideoUNet(
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(width, width),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=8,
        time_cond_proj_dim=8,
        pooled_text=True,
        prompt_layout=True,
        temporal_dropout=0.0,
    )
    for parameter in unet.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return unet.eval()


def output(unet: nn.Module) -> Tensor:
    g = torch.Generator().manual_seed(1)
    latents, text, guidance = (torch.randn(shape, generator=g) for shape in ((2, 2, 3, 4, 4), (2, 5, 6), (2, 8)))
    steps, fps = torch.tensor([19, 999]), torch.tensor([8.0, 4.0])
    found: Tensor = unet(latents, steps, text, timestep_cond=guidance, fps=fps).sample
    return found


def trained(unet: VideoUNet, std: float = 0.3) -> VideoUNet:
    """``unet`` with adapters that do something."""
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=std)
    return unet


def test_a_new_adapter_changes_nothing_and_alone_is_trained() -> None:
    unet = network()
    before = output(unet)
    add_adapters(unet, Lora(rank=4, alpha=4.0), whole=(GUIDANCE,))
    torch.testing.assert_close(output(unet), before)
    names = [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
    assert [name for name in names if "lora_" not in name] == [f"{GUIDANCE}.weight"]


def test_every_layer_has_an_adapter_that_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SplitGEGLU, "NARROWEST", 0)  # its fast form would read the weights past the adapter
    unet = network()
    layers = [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d)]
    add_adapters(unet, Lora(rank=4, alpha=4.0))
    output(unet).square().sum().backward()
    found = dict(unet.named_parameters())
    for layer in layers:  # at B = 0 the output moves with B if, and only if, the adapter is used
        gradient = found[f"{layer}.lora_B.default.weight"].grad
        assert gradient is not None, layer
        assert float(gradient.abs().max()) > 1e-3, layer


def test_a_layer_gets_the_rank_it_can_hold_and_the_scale_of_all() -> None:
    unet = network()
    add_adapters(unet, Lora(rank=12, alpha=6.0))
    for module in unet.modules():
        if hasattr(module, "lora_A"):
            out, into = module.get_base_layer().weight.shape[:2]
            assert module.r["default"] == min(12, into, out)
            assert module.scaling["default"] == pytest.approx(0.5)


def test_merged_weights_give_the_adapted_output_in_a_plain_network(tmp_path: Path) -> None:
    unet = network()
    names, before = list(unet.state_dict()), output(unet)
    add_adapters(unet, Lora(rank=4, alpha=8.0), whole=(GUIDANCE,))
    adapted = output(trained(unet))
    assert float((adapted - before).detach().abs().max()) > 0.1
    merge_adapters(unet)
    assert list(unet.state_dict()) == names
    torch.testing.assert_close(output(unet), adapted, atol=1e-4, rtol=1e-4)
    unet.save_pretrained(tmp_path)
    assert "lora" not in (tmp_path / "config.json").read_text()
    read = VideoUNet.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(read[name], value) for name, value in unet.state_dict().items())


def test_saved_adapters_come_back_at_any_strength(tmp_path: Path) -> None:
    unet = network()
    plain = copy.deepcopy(unet)
    add_adapters(unet, Lora(rank=12, alpha=6.0))
    trained(unet)
    save_adapters(unet, tmp_path / "style.safetensors")
    same, weaker, without = (copy.deepcopy(plain) for _ in range(3))
    load_adapters(same, tmp_path / "style.safetensors")
    torch.testing.assert_close(output(same), output(unet))
    load_adapters(weaker, tmp_path / "style.safetensors", 0.5)
    for module in weaker.modules():
        if hasattr(module, "lora_A"):
            assert module.scaling["default"] == pytest.approx(0.25)
    load_adapters(without, tmp_path / "style.safetensors", 0.0)
    merge_adapters(without)
    assert all(torch.equal(without.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_diffusers_reads_the_file(tmp_path: Path) -> None:
    class Reader(PeftAdapterMixin, VideoUNet):  # diffusers mixes it into the networks whose LoRA it loads
        pass

    unet = network()
    other = Reader.from_config(unet.config)
    other.load_state_dict(unet.state_dict())
    add_adapters(unet, Lora(rank=12, alpha=6.0))
    save_adapters(trained(unet), tmp_path / "style.safetensors")
    other.load_lora_adapter(tmp_path, weight_name="style.safetensors", prefix="unet")
    torch.testing.assert_close(output(other.eval()), output(unet))


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    """peft's own names, and no metadata: the factors' product as it is."""
    unet, source = network(), network()
    add_adapters(source, Lora(rank=4, alpha=4.0))
    save_adapters(trained(source), tmp_path / "ours.safetensors")
    tensors = load_file(tmp_path / "ours.safetensors")
    renamed = {name.replace("unet.", "base_model.model.", 1): value for name, value in tensors.items()}
    save_file(renamed, tmp_path / "theirs.safetensors")
    load_adapters(unet, tmp_path / "theirs.safetensors")
    torch.testing.assert_close(output(unet), output(source))


def test_what_is_no_lora_of_this_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"
    with pytest.raises(UserError, match="no file"):
        load_adapters(network(), file)
    file.write_bytes(b"what")
    with pytest.raises(UserError, match="cannot be read"):
        load_adapters(network(), file)
    save_file({"unet.conv_in.weight": torch.zeros(2)}, file)
    with pytest.raises(UserError, match="no LoRA"):
        load_adapters(network(), file)
    wide = network(width=32)
    add_adapters(wide, Lora(rank=4, alpha=4.0))
    save_adapters(wide, file)
    narrow = network()
    before = list(narrow.state_dict())
    with pytest.raises(UserError, match="leads from"):
        load_adapters(narrow, file)
    save_file({f"unet.other.lora_{x}.weight": torch.zeros(2, 2) for x in "AB"}, file)
    with pytest.raises(UserError, match="no layer other"):
        load_adapters(narrow, file)
    assert list(narrow.state_dict()) == before
