from __future__ import annotations

import pytest
import torch
from torch import nn

from hummingbird.errors import UserError
from hummingbird.models.convert.clip_layers import join_projections, split_projections
from hummingbird.models.convert.mapping import filled, inverse, rename


def test_every_key_gets_its_new_name() -> None:
    state = {"a": torch.ones(1), "b": torch.zeros(2)}
    renamed = rename(state, {"a": "x", "b": "y"})
    assert renamed.keys() == {"x", "y"} and renamed["y"] is state["b"]
    assert rename(renamed, inverse({"a": "x", "b": "y"})) == state


def test_missing_and_left_over_keys_are_listed() -> None:
    state = {"a": torch.ones(1), "c": torch.ones(1)}
    with pytest.raises(UserError, match=r"1 missing: b; 1 left over: c") as error:
        rename(state, {"a": "x", "b": "y"})
    assert error.value.next_step
    many = {f"k{index:02}": torch.ones(1) for index in range(20)}
    with pytest.raises(UserError, match=r"20 left over: k00, .*, k11 and 8 more"):
        rename(many, {})


def test_two_tensors_cannot_get_one_name() -> None:
    with pytest.raises(ValueError, match="same name"):
        inverse({"a": "x", "b": "x"})


def test_a_filled_network_holds_the_tensors_themselves() -> None:
    state = {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2, dtype=torch.float16)}
    network = filled(lambda: nn.Linear(3, 2), state)
    assert network.weight.data_ptr() == state["weight"].data_ptr() and network.weight.dtype == torch.float16


def test_other_shapes_are_listed() -> None:
    state = {"weight": torch.ones(3, 3), "more": torch.ones(1)}
    with pytest.raises(UserError, match=r"1 missing: bias; 1 left over: more; 1 of another shape: weight \[3, 3\], th"):
        filled(lambda: nn.Linear(3, 2), state)


def test_joined_projections_are_split_in_order_and_joined_again() -> None:
    state = {"l.0.self_attn.in_proj_weight": torch.arange(18.0).reshape(6, 3), "other": torch.ones(1)}
    split = split_projections(state)
    assert torch.equal(split["l.0.self_attn.k_proj.weight"], state["l.0.self_attn.in_proj_weight"][2:4])
    joined = join_projections(split)
    assert joined.keys() == state.keys() and all(torch.equal(joined[name], state[name]) for name in state)
    del split["l.0.self_attn.v_proj.weight"]
    assert "l.0.self_attn.q_proj.weight" in join_projections(split)  # then a strict renaming reports it
