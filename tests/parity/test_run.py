"""Golden files through our classes: the recorded numbers, other sizes, and what is not allowed to pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.models.convert import dover, text, unet, vae
from hummingbird.models.text_tower import OpenClipTextTower, conditioning_tower, text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.parity.golden import Setup
from hummingbird.parity.run import Row, all_passed, run_folder

CPU = Setup()
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "channel_mult": [1, 1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [4, 1],
    "num_head_channels": 16,
    "context_dim": 8,
    "fps_cond": True,
    "time_cond_proj_dim": 16,
}


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """The network with every parameter random, also those that start as zeros."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return network.eval()


def write(folder: Path, name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """A golden file of our own."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    save_file({key: it.detach().clone().contiguous() for key, it in tensors.items()}, path.with_suffix(".safetensors"))
    return path


@torch.no_grad()
def write_unet(folder: Path, middle_block: bool = True) -> Path:
    """A golden file of a denoiser at a size of which there is no recorded one."""
    network = randomised(VideoUNet(**unet.config_from_public(UNET, middle_block=middle_block)))
    inputs = {
        "x": torch.randn(1, 4, 3, 8, 4),
        "context": torch.randn(1, 5, 8),
        "timesteps": torch.tensor([77]),
        "timestep_cond": torch.randn(1, 16),
    }
    fps = {"with_rate": torch.tensor(24), "default": None}
    outputs = {
        name: network(
            inputs["x"], inputs["timesteps"], inputs["context"], timestep_cond=inputs["timestep_cond"], fps=rate
        ).sample
        for name, rate in fps.items()
    }
    case = {"fps_cond": True, "time_cond_proj_dim": 16, "timestep_cond": "in/timestep_cond"}
    cases = {"with_rate": case | {"fps": 24}, "default": case | {"fps": "argument omitted: default 16"}}
    public = unet.key_map(network).to_public(network.state_dict())
    return write(
        folder,
        "other",
        {"config": UNET, "middle_block": middle_block, "cases": cases},
        {f"weights/{key}": it for key, it in public.items()}
        | {f"in/{key}": it for key, it in inputs.items()}
        | {f"case/{key}/y": it for key, it in outputs.items()},
    )


def verdicts(rows: list[Row]) -> set[str]:
    return {row.verdict for row in rows}


def test_the_copies_kept_here_are_within_tolerance(golden: Path) -> None:
    rows = list(run_folder(golden, CPU))
    assert verdicts(rows) == {"ok"}
    assert {row.kind for row in rows} == {
        *("denoiser", "autoencoder", "text tower", "DOVER", "consistency step", "CLIP tokens", "schedule tables"),
        *("open_clip", "viclip", "internvideo2_text", "reward_preprocess"),
    }


def test_the_whole_set_is_within_tolerance_or_of_unknown_kind(shared_golden: Path) -> None:
    rows = list(run_folder(shared_golden, CPU))
    assert verdicts(rows) <= {"ok", "not run"}
    denoisers = {row.file: 0 for row in rows if row.kind == "denoiser"}
    assert set(denoisers) == {f"{name}_unet_small.json" for name in ("vc2", "hb09", "hb07")}
    assert all(row.case.tolerance == 2e-5 for row in rows if row.kind == "denoiser" and row.case)


@pytest.mark.parametrize("middle_block", [True, False])
def test_a_denoiser_of_another_size_runs_unseen(tmp_path: Path, middle_block: bool) -> None:
    write_unet(tmp_path, middle_block)
    rows = list(run_folder(tmp_path, CPU))
    assert [row.case.name for row in rows if row.case] == ["with_rate", "default"]
    assert verdicts(rows) == {"ok"}


@torch.no_grad()
def test_a_text_tower_and_an_autoencoder_of_another_size_run_unseen(tmp_path: Path) -> None:
    sizes = {"width": 24, "heads": 3, "layers": 2, "vocab": 60}
    tower = OpenClipTextTower(text_config(**sizes, context=9))
    randomised(tower)
    tokens = torch.randint(60, (2, 9))
    outputs = {
        "in/tokens": tokens,
        "out/last": tower(input_ids=tokens).last_hidden_state,
        "out/penultimate": conditioning_tower(tower)(input_ids=tokens).last_hidden_state,
    }
    public = text.key_map(tower).to_public(tower.state_dict())
    weights = {f"weights/{key}": it for key, it in public.items() if key != "attn_mask"}
    write(tmp_path, "text", sizes | {"context_length": 9}, weights | outputs)

    ddconfig = json.loads((Path(__file__).parent / "golden/vae_small.json").read_text())["ddconfig"]
    ddconfig |= {"ch_mult": [1, 1, 2], "num_res_blocks": 2}
    autoencoder = randomised(vae.build_vae(vae.config_from_public(ddconfig, 4)).to_empty(device="cpu"))
    z = torch.randn(1, 4, 2, 3)
    public = vae.key_map(autoencoder).to_public(autoencoder.state_dict())
    weights = {f"weights/{key}": it for key, it in public.items()}
    outputs = {"in/x": torch.zeros(1, 3, 8, 8), "in/z": z, "out/decoded": autoencoder.decode(z).sample}
    write(tmp_path, "vae", {"ddconfig": ddconfig, "embed_dim": 4}, weights | outputs | {"in/noise": torch.zeros(1)})

    rows = list(run_folder(tmp_path, CPU))
    assert verdicts(rows) == {"ok"}
    assert [row.case.name for row in rows if row.case] == ["penultimate", "last", "decoded"]


def test_a_damaged_output_fails_the_command(golden: Path, tmp_path: Path) -> None:
    tensors = load_file(golden / "clip_text_small.safetensors")
    tensors["out/last"][0, 3, 5] += 3e-5
    write(tmp_path, "clip", json.loads((golden / "clip_text_small.json").read_text()), tensors)
    result = CliRunner().invoke(app, ["parity", str(tmp_path)])
    assert result.exit_code == 1
    assert "MISS" in result.output and "1 of 2 comparisons in 1 files within tolerance" in result.output


def test_a_wrong_timestep_fails(tmp_path: Path) -> None:
    path = write_unet(tmp_path)
    tensors = load_file(path.with_suffix(".safetensors"))
    tensors["in/timesteps"] += 1
    save_file(tensors, path.with_suffix(".safetensors"))
    assert verdicts(list(run_folder(tmp_path, CPU))) == {"MISS"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("unknown", {"what": "something else", "cases": {}}),
        ("list", [1, 2]),
    ],
)
def test_an_unknown_kind_is_not_run_and_never_passes(tmp_path: Path, name: str, content: Any) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
    rows = list(run_folder(tmp_path, CPU))
    assert verdicts(rows) == {"not run"}
    assert not all_passed(rows)
    assert CliRunner().invoke(app, ["parity", str(tmp_path)]).exit_code == 1


def test_files_that_cannot_be_read_are_errors_and_the_others_still_run(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{ not json")
    for name in ("cd_step.json", "cd_step.safetensors"):
        (tmp_path / name).write_bytes((golden / name).read_bytes())
    rows = list(run_folder(tmp_path, CPU))
    assert rows[0].verdict == "ERROR" and "not readable" in rows[0].problem
    assert verdicts(rows[1:]) == {"ok"}
    assert not all_passed(rows)


@pytest.mark.parametrize(
    "name", ["vc2_unet_small", "vae_small", "clip_text_small", "dover_mobile_small", "cd_step", "open_clip_small"]
)
def test_lost_data_are_an_error(golden: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.json").write_bytes((golden / f"{name}.json").read_bytes())
    [row] = run_folder(tmp_path, CPU)
    assert row.verdict == "ERROR" and f"{name}.safetensors, which holds its tensors, is missing" in row.problem


def test_data_without_their_description_are_an_error(golden: Path, tmp_path: Path) -> None:
    for name in ("clip_tokens.json", "cd_step.safetensors"):
        (tmp_path / name).write_bytes((golden / name).read_bytes())
    rows = list(run_folder(tmp_path, CPU))
    assert rows[0].verdict == "ERROR" and "cd_step.json, which says what it is, is missing" in rows[0].problem
    assert verdicts(rows[1:]) == {"ok"} and not all_passed(rows)


def test_a_lost_output_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_unet(tmp_path).with_suffix(".safetensors")
    tensors = load_file(path)
    del tensors["case/default/y"]
    save_file(tensors, path)
    rows = list(run_folder(tmp_path, CPU))
    assert [row.verdict for row in rows] == ["ok", "ERROR"] and rows[1].problem == "it lacks case/default/y"


def test_a_lost_weight_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_unet(tmp_path)
    tensors = load_file(path.with_suffix(".safetensors"))
    del tensors["weights/out.2.bias"]
    save_file(tensors, path.with_suffix(".safetensors"))
    [row] = run_folder(tmp_path, CPU)
    assert row.verdict == "ERROR" and "1 missing: out.2.bias" in row.problem


@pytest.mark.parametrize("attention", ["plain", "fused", "math"])
def test_attention_backends_agree(tmp_path: Path, attention: str) -> None:
    write_unet(tmp_path)
    assert verdicts(list(run_folder(tmp_path, Setup(attention=attention)))) == {"ok"}


def test_half_precision_has_a_wider_tolerance_for_networks_only(golden: Path) -> None:
    rows = list(run_folder(golden, Setup(dtype=torch.bfloat16)))
    assert verdicts(rows) == {"ok"}
    tolerances: dict[str, set[float]] = {}
    for row in rows:
        if row.case and row.case.tolerance:
            tolerances.setdefault(row.kind, set()).add(row.case.tolerance)
    assert max(tolerances["text tower"]) == pytest.approx(0.1)
    assert tolerances["consistency step"] == {1e-6, 2e-6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "float23"], "did you mean 'float32'?"),
        (["--attention", "flsh"], "did you mean 'flash'?"),
        (["--device", "warp"], "cannot compute on 'warp'"),
    ],
)
def test_unknown_options_are_refused(golden: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["parity", str(golden), *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_empty_or_absent_folder_is_an_error(tmp_path: Path) -> None:
    for folder, message in ((tmp_path, "no golden files"), (tmp_path / "absent", "no folder")):
        result = CliRunner().invoke(app, ["parity", str(folder)])
        assert result.exit_code == 2 and message in result.stderr


def test_dovers_key_map_makes_the_index_tables_again() -> None:
    names = dover.key_map(dover.build_dover(dover.PUBLISHED["dover"]))
    tables = {name: make() for name, make in names.derived.items()}
    assert len(tables) == 12
    table = tables["technical_backbone.layers.0.blocks.0.attn.relative_position_index"]
    assert table.shape == (392, 392) and table.dtype == torch.int64
    assert table[0, 0] == (7 * 13 + 6) * 13 + 6  # no offset: the middle of a 15 x 13 x 13 table
