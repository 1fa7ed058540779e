from __future__ import annotations

from pathlib import Path

from hummingbird.data.blocks import Block, finish_block, finished_shards, plan_blocks


def ranges(blocks: list[Block]) -> list[tuple[str, int, int]]:
    return [(block.name, block.first, block.stop) for block in blocks]


def plan(folder: Path, items: str, size: int = 4) -> list[Block]:
    return plan_blocks(folder, len(items), size, lambda first, stop: items[first:stop])


def make(folder: Path, blocks: list[Block]) -> None:
    for block in blocks:
        if finished_shards(folder, block) is None:
            (folder / f"{block.name}.tar").write_text(block.digest)
            finish_block(folder, block, [f"{block.name}.tar"])


def test_a_new_source_is_cut_evenly(tmp_path: Path) -> None:
    assert ranges(plan(tmp_path, "abcdefghij")) == [("00000", 0, 4), ("00001", 4, 8), ("00002", 8, 10)]
    assert ranges(plan(tmp_path, "abcd")) == [("00000", 0, 4)]
    assert plan(tmp_path, "") == []


def test_a_source_that_grows_leaves_finished_blocks_alone(tmp_path: Path) -> None:
    make(tmp_path, plan(tmp_path, "abcdef"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    grown = plan(tmp_path, "abcdefghijk")
    assert ranges(grown) == [("00000", 0, 4), ("00001", 4, 6), ("00002", 6, 10), ("00003", 10, 11)]
    assert [finished_shards(tmp_path, block) for block in grown] == [["00000.tar"], ["00001.tar"], None, None]
    make(tmp_path, grown)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert plan(tmp_path, "abcdefghijk") == grown


def test_a_changed_item_spoils_only_its_own_block(tmp_path: Path) -> None:
    make(tmp_path, plan(tmp_path, "abcdefghij"))
    blocks = plan(tmp_path, "abcdeXghij")
    assert ranges(blocks) == [("00000", 0, 4), ("00001", 4, 8), ("00002", 8, 10)]
    assert [finished_shards(tmp_path, block) is None for block in blocks] == [False, True, False]


def test_a_source_that_shrinks_is_cut_anew_where_it_ends(tmp_path: Path) -> None:
    make(tmp_path, plan(tmp_path, "abcdefghij"))
    blocks = plan(tmp_path, "abcdefg")
    assert ranges(blocks) == [("00000", 0, 4), ("00001", 4, 7)]
    assert [finished_shards(tmp_path, block) is None for block in blocks] == [False, True]


def test_blocks_may_be_finished_in_any_order(tmp_path: Path) -> None:
    blocks = plan(tmp_path, "abcdefghij")
    make(tmp_path, blocks[1:])
    assert plan(tmp_path, "abcdefghij") == blocks
    assert [finished_shards(tmp_path, block) is None for block in blocks] == [True, False, False]


def test_a_shard_that_was_touched_or_lost_is_not_finished(tmp_path: Path) -> None:
    blocks = plan(tmp_path, "abcdefghij")
    make(tmp_path, blocks)
    (tmp_path / "00000.tar").write_text("abc")
    (tmp_path / "00001.tar").unlink()
    assert [finished_shards(tmp_path, block) is None for block in blocks] == [True, True, False]


def test_a_block_without_any_video_is_finished_too(tmp_path: Path) -> None:
    [block] = plan(tmp_path, "ab")
    assert finished_shards(tmp_path, block) is None
    finish_block(tmp_path, block, [])
    assert finished_shards(tmp_path, block) == []
