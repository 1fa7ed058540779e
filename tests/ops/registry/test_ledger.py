"""The ledger's arithmetic, by properties: whoever writes what in which order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hummingbird.ops.registry import ledger
from hummingbird.ops.registry.ledger import Action, Entry, fold, new_entry

ALIAS = "champion"


def entry(action: Action, before: int | None, after: int, number: int) -> Entry:
    return replace(new_entry(ALIAS, action, before, after, "because", "me"), number=number)


@st.composite
def races(draw: st.DrawFn) -> list[Entry]:
    """What promoters wrote who looked at the ledger, thought for a while, and then wrote, in any order."""
    entries: list[Entry] = []
    seen: dict[int, tuple[int | None, int | None]] = {}  # promoter -> holder and previous when it looked
    for _ in range(draw(st.integers(1, 25))):
        who = draw(st.integers(0, 4))
        if who not in seen:
            standing = fold(entries, ALIAS)
            seen[who] = (standing.holder, standing.previous)
            continue
        holder, previous = seen.pop(who)
        if previous is not None and draw(st.booleans()):
            entries.append(entry("rollback", holder, previous, len(entries) + 1))
        else:
            after = draw(st.integers(1, 6).filter(lambda version, holder=holder: version != holder))
            entries.append(entry("promote", holder, after, len(entries) + 1))
    return entries


@given(races())
def test_every_valid_entry_follows_the_one_before(entries: list[Entry]) -> None:
    standing = fold(entries, ALIAS)
    holder = None
    for valid in standing.valid:
        assert valid.before == holder
        holder = valid.after
    assert standing.holder == holder
    assert {each.id for each in (*standing.valid, *standing.lost)} == {each.id for each in entries}


@given(st.lists(st.integers(2, 6), min_size=2, max_size=6))
def test_of_promotions_that_saw_the_same_holder_the_first_wins(candidates: list[int]) -> None:
    start = entry("promote", None, 1, 1)
    rivals = [entry("promote", 1, version, 2 + place) for place, version in enumerate(candidates)]
    standing = fold([start, *rivals], ALIAS)
    assert [standing.won(rival) for rival in rivals] == [True] + [False] * (len(rivals) - 1)
    assert standing.holder == rivals[0].after


@given(races())
def test_a_rollback_restores_the_state_before_the_promotion(entries: list[Entry]) -> None:
    before = fold(entries, ALIAS)
    if before.holder is None:
        return
    version = before.holder + 1
    promoted = [*entries, entry("promote", before.holder, version, len(entries) + 1)]
    assert fold(promoted, ALIAS).previous == before.holder
    back = [*promoted, entry("rollback", version, before.holder, len(entries) + 2)]
    assert fold(back, ALIAS).history == before.history


@given(races(), st.data())
def test_what_was_decided_stays_decided(entries: list[Entry], data: st.DataObject) -> None:
    until = data.draw(st.integers(0, len(entries)))
    earlier, later = fold(entries[:until], ALIAS), fold(entries, ALIAS)
    assert later.valid[: len(earlier.valid)] == earlier.valid
    shuffled = data.draw(st.permutations(entries))
    assert fold(shuffled, ALIAS) == later, "the server's order counts, not the order of reading"


@given(races(), st.data())
def test_a_request_sent_twice_and_other_aliases_and_refusals_change_nothing(
    entries: list[Entry], data: st.DataObject
) -> None:
    last = len(entries)
    standing = fold(entries, ALIAS)
    noise = [replace(entry("promote", standing.holder, 99, last + 1), alias="other")]
    noise.append(entry("refuse", standing.holder, 99, last + 2))
    if standing.valid:
        noise.append(replace(data.draw(st.sampled_from(standing.valid)), number=last + 3))
    assert fold([*entries, *noise], ALIAS) == standing


def test_a_rollback_that_skips_a_version_does_not_count() -> None:
    entries = [entry("promote", before, after, after) for before, after in ((None, 1), (1, 2), (2, 3))]
    assert fold([*entries, entry("rollback", 3, 1, 4)], ALIAS).holder == 3
    assert fold([*entries, entry("rollback", 3, 2, 4), entry("rollback", 2, 1, 5)], ALIAS).holder == 1


@given(races())
def test_tags_hold_all_of_an_entry(entries: list[Entry]) -> None:
    for each in entries:
        assert ledger.from_tags(each.number, ledger.to_tags(each), None) == each
    assert ledger.from_tags(1, {"alias": "champion"}, None) is None
