"""Public checkpoints that are damaged or not what their name says: one error with the next step, the rest untouched."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.convert import assemble
from hummingbird.models.dover import Dover
from hummingbird.runlog import SilentLog
from hummingbird.stages import foundation

TEACHER = ("videocrafter2", "videocrafter2.ckpt")
HPS = ("hpsv2.1", "HPS_v2.1_compressed.pt")
VICLIP = ("viclip-l", "ViClip-InternVid-10M-FLT.pth")
LANGUAGE = ("llama-3-8b-instruct", "model.safetensors")
Change = Callable[[dict[str, Any]], None]


def refuse(world: Any, problem: str) -> UserError:
    """Run the stage, which must fail by ``problem`` and leave the earlier foundation; returns the error."""
    ours = Layout().foundation
    ours.mkdir(parents=True)
    (ours / "earlier").write_text("kept")
    with pytest.raises(UserError, match=problem) as caught:
        foundation.run(world.params(), Layout(), SilentLog(), world.networks)
    assert [path.name for path in ours.iterdir()] == ["earlier"]
    assert not list(ours.parent.glob(".*.part"))
    assert caught.value.next_step
    return caught.value


def edited(key: str | None, change: Change) -> Callable[[Path], None]:
    """Writes a PyTorch file again with its state dict, under ``key``, changed."""

    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content[key] if key else content)
        path.unlink()
        torch.save(content, path)

    return write


def put(values: dict[str, torch.Tensor]) -> Change:
    return lambda state: state.update(values)


def half_of_it(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)  # a whole module, to read which its class would have to be imported


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": os.path.join}))


ATTENTION = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"


@pytest.mark.parametrize(
    ("checkpoint", "harm", "problem"),
    [
        (TEACHER, half_of_it, r"unet from checkpoint videocrafter2: .*cannot be read"),
        (HPS, half_of_it, r"image_reward from checkpoint hpsv2\.1: .*cannot be read"),
        (LANGUAGE, half_of_it, "recaptioner from checkpoint llama-3-8b-instruct: .*no whole language model"),
        (HPS, a_module, r"image_reward from checkpoint hpsv2\.1: .*is refused.*GLOBAL torch\.nn"),
        (HPS, plain_pickle, r"image_reward from checkpoint hpsv2\.1: .*is refused"),
        (
            TEACHER,
            edited("state_dict", lambda state: state.pop(ATTENTION)),
            r"unet from .*not this UNet: 1 missing: middle_block\.1\.transformer_blocks\.0\.attn1\.to_q\.weight",
        ),
        (
            TEACHER,
            edited("state_dict", put({"model.diffusion_model.adapter.weight": torch.ones(1)})),
            r"unet from .*1 left over: adapter\.weight",
        ),
        (
            TEACHER,
            edited("state_dict", put({"first_stage_model.encoder.conv_in.weight": torch.ones(8, 3, 3, 3)})),
            r"vae from .*1 of another shape: encoder\.conv_in\.weight \[8, 3, 3, 3\] instead of \[32,",
        ),
        (
            HPS,
            edited("state_dict", put({"score_predictor.weight": torch.ones(1)})),
            r"image_reward from .*1 left over: score_predictor\.weight",
        ),
        (VICLIP, edited("model", lambda state: state.pop("vision_encoder.proj")), "video_reward_eval from .*1 missing"),
        (
            TEACHER,
            edited("state_dict", put({ATTENTION: torch.full((64, 64), 7e4).half()})),
            r"unet from .*1 tensors hold infinite numbers.*mid_block.*to_q\.weight",
        ),
        (("bert-uncased", "vocab.txt"), lambda path: path.write_text("[PAD]\n[UNK]\n"), "video_reward from .*tokens"),
    ],
)
def test_a_wrong_checkpoint_is_named_and_nothing_else_lost(
    world: Any, checkpoint: tuple[str, str], harm: Callable[[Path], Any], problem: str
) -> None:
    world.replace(*checkpoint, harm)
    refuse(world, problem)


def test_missing_tensors_of_the_language_model_are_listed(world: Any) -> None:
    def harm(path: Path) -> None:
        state = {name: it.clone() for name, it in load_file(path).items()}
        del state["model.layers.0.self_attn.q_proj.weight"]
        save_file(state | {"adapter": torch.ones(1), "model.norm.weight": torch.ones(3)}, path, {"format": "pt"})

    world.replace(*LANGUAGE, harm)
    error = refuse(world, "does not hold the tensors of its config")
    for found in ("1 missing: model.layers.0.self_attn.q_proj", "1 unexpected: adapter", "1 mismatched: model.norm"):
        assert found in error.problem


def test_a_language_model_that_takes_no_instructions_is_refused(world: Any) -> None:
    def harm(path: Path) -> None:
        config = json.loads(path.read_text())
        del config["chat_template"]
        path.write_text(json.dumps(config))

    world.replace("llama-3-8b-instruct", "tokenizer_config.json", harm)
    refuse(world, "recaptioner from .*no chat template")


def test_a_tokenizer_of_another_vocabulary_is_refused(world: Any) -> None:
    from hummingbird.models.clip_tokenizer import clip_tokenizer

    world.replace("clip-vit-h-14", "tokenizer.json", lambda path: clip_tokenizer().save_pretrained(path.parent))
    refuse(world, "tokenizer from checkpoint clip-vit-h-14: .*has 49408 tokens, the text tower reads 432")


def test_files_of_an_earlier_version_are_not_mixed_in(world: Any) -> None:
    """Fewer pieces than there were: the others still lie in the folder, but are not of this checkpoint any more."""

    def lose_one(path: Path) -> None:
        min(path.parent.glob("*.safetensors")).unlink()

    world.replace("pickscore", "config.json", lose_one)
    error = refuse(world, r"pickscore holds files that were not fetched: model-00001-of-0000\d\.safetensors")
    for name in error.next_step.removeprefix("delete them, then run again: rm ").split():
        Path(name).unlink()
    with pytest.raises(UserError, match=r"image_reward_eval from checkpoint pickscore: .*\d+ missing: "):
        foundation.run(world.params(), Layout(), SilentLog(), world.networks)


def test_a_checkpoint_that_is_missing_or_damaged_is_found_before_anything_is_converted(world: Any) -> None:
    path = world.project / "checkpoints/files/dover/DOVER.pth"
    path.unlink()
    assert refuse(world, "not in .*checkpoints: dover").next_step == "hummingbird checkpoints fetch dover"
    assert not Layout().work("foundation", "checkpoints").exists()


def test_a_full_disk_keeps_the_networks_that_were_finished(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As safetensors tells it: in words, and with no error number."""

    def full(self: Any, *args: Any, **kwargs: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(Dover, "save_pretrained", full)
        error = refuse(world, "cannot write .*dover.*No space left")
        assert "free some disk space" in error.next_step
    work = Layout().work("foundation", "checkpoints")
    assert {path.name.split("-")[0] for path in work.iterdir()} == {"unet", "vae", "text_encoder", "tokenizer"}
    foundation.run(world.params(), Layout(), SilentLog(), world.networks)
    assert not (Layout().foundation / "earlier").exists()


def test_a_disk_that_is_full_when_the_folder_is_put_together(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(assemble, "link_or_copy", full)
        refuse(world, "cannot write .*foundation.*No space left")


def test_vbench_says_that_it_has_no_probe(world: Any) -> None:
    from evaluation.vbench.judges import load_judges

    foundation.run(world.params(), Layout(), SilentLog(), world.networks)
    with pytest.raises(UserError, match="made of public checkpoints and has no probe") as caught:
        load_judges(Layout().foundation)
    assert "leave vbench and report out" in caught.value.next_step
