from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from hummingbird.errors import UserError
from hummingbird.models.convert.clip_layers import layer_renames
from hummingbird.models.convert.keymap import KeyMap, Rename, renamed
from hummingbird.models.convert.loading import load_public

NAMES = KeyMap("this test", [Rename("a", ("x",)), Rename("b", ("y",))])


def test_every_key_gets_its_new_name() -> None:
    public = {"a": torch.ones(1), "b": torch.zeros(2)}
    ours = NAMES.to_ours(public)
    assert ours.keys() == {"x", "y"} and ours["y"] is public["b"]
    assert NAMES.to_public(ours) == public


def test_missing_and_left_over_keys_are_listed() -> None:
    with pytest.raises(UserError, match=r"not this test: 1 missing: b; 1 left over: c") as error:
        NAMES.to_ours({"a": torch.ones(1), "c": torch.ones(1)})
    assert error.value.next_step
    with pytest.raises(UserError, match="1 missing: y"):
        NAMES.to_public({"x": torch.ones(1)})
    many = {f"k{index:02}": torch.ones(1) for index in range(50)}
    with pytest.raises(UserError, match=r"50 left over: k00, .*, k39 and 10 more"):
        KeyMap("this test", []).to_ours(many)


def test_what_a_network_does_not_use_is_known_by_name() -> None:
    names = KeyMap("this test", [Rename("a", ("x",))], unused=re.compile(r"head\..*"))
    public = {"a": torch.ones(1), "head.weight": torch.ones(2)}
    ours = names.to_ours(public)
    assert ours.keys() == {"x"}
    assert names.to_public(ours) | names.unused(public) == public
    with pytest.raises(UserError, match="1 left over: tail"):
        names.to_ours(public | {"tail": torch.ones(1)})


def test_derived_tensors_are_not_read_and_made_again() -> None:
    names = KeyMap("this test", [Rename("a", ("x",))], {"mask": lambda: torch.zeros(3)})
    ours = names.to_ours({"a": torch.ones(1), "mask": torch.ones(3)})
    assert ours.keys() == {"x"} and torch.equal(names.to_public(ours)["mask"], torch.zeros(3))


@pytest.mark.parametrize(
    ("rename", "shape", "expected"),
    [
        (Rename("p", ("o",), axes=(2,)), (4, 3, 1), (4, 3)),
        (Rename("p", ("o",), axes=(2, 3)), (4, 3, 1, 1), (4, 3)),
        (Rename("p", ("o",), axes=(0,)), (1, 5, 2), (5, 2)),
        (Rename("p", ("o",), transposed=True), (4, 3), (3, 4)),
    ],
)
def test_a_reshaped_tensor_comes_back(rename: Rename, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    [ours] = rename.to_ours(tensor)
    assert ours.shape == expected and ours.data_ptr() == tensor.data_ptr()
    assert torch.equal(rename.to_public([ours]), tensor)


def test_a_tensor_without_the_axis_is_refused() -> None:
    with pytest.raises(UserError, match=r"p has the shape \[4, 3\] and lacks an axis"):
        Rename("p", ("o",), axes=(2,)).to_ours(torch.ones(4, 3))


def test_joined_projections_are_split_in_order_and_joined_again() -> None:
    renames = {it.public: it for it in layer_renames("", "", 1)}
    joined = renames["resblocks.0.attn.in_proj_weight"]
    assert [name.split(".")[3] for name in joined.ours] == ["q_proj", "k_proj", "v_proj"]
    tensor = torch.arange(18.0).reshape(6, 3)
    parts = joined.to_ours(tensor)
    assert torch.equal(parts[1], tensor[2:4])
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 3  # so that they can be saved
    assert torch.equal(joined.to_public(list(parts)), tensor)


def test_a_loaded_network_holds_the_tensors_themselves() -> None:
    public = {"w.weight": torch.ones(2, 3, dtype=torch.float16), "w.bias": torch.zeros(2, dtype=torch.float16)}
    names = KeyMap("this test", renamed({"w": "0"}))
    network = load_public(nn.Sequential(nn.Linear(3, 2, device="meta")), names, public)
    assert network[0].weight.data_ptr() == public["w.weight"].data_ptr() and network[0].weight.dtype == torch.float16


def test_other_shapes_are_listed() -> None:
    names = KeyMap("this test", renamed({"w": "0"}))
    with pytest.raises(UserError, match=r"1 of another shape: 0\.weight \[3, 3\] instead of \[2, 3\]"):
        public = {"w.weight": torch.ones(3, 3), "w.bias": torch.ones(2)}
        load_public(nn.Sequential(nn.Linear(3, 2, device="meta")), names, public)


def test_quantised_weights_are_refused() -> None:
    public = {"w.weight": torch.ones(2, 3, dtype=torch.int8), "w.bias": torch.ones(2)}
    with pytest.raises(UserError, match=r"quantised; 1 of whole numbers: 0\.weight"):
        load_public(nn.Sequential(nn.Linear(3, 2, device="meta")), KeyMap("this test", renamed({"w": "0"})), public)
