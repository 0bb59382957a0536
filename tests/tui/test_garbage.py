"""Full rounds of the garbage collector: short while keys may come, whole when nobody is there, and nothing lost."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from tui import garbage


class _Ring:
    """Only a garbage collector frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    callbacks = list(gc.callbacks)
    yield
    assert gc.callbacks == callbacks
    gc.unfreeze()


def test_what_survived_a_round_is_not_looked_at_again() -> None:
    with garbage.kept_from_keys():
        before = gc.get_freeze_count()
        assert before > 10_000, "what the imports made"
        kept = [_Ring() for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() >= before + len(kept)
        assert len(gc.get_objects()) < before / 10, "the next round looks at next to nothing"


def test_young_garbage_is_found_as_before() -> None:
    with garbage.kept_from_keys():
        ring = _Ring()
        seen = weakref.ref(ring)
        del ring
        gc.collect()
        assert seen() is None


@pytest.mark.parametrize(("idle_s", "found"), [(60.0, True), (0.5, False)])
async def test_a_whole_round_comes_when_nobody_presses_a_key(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, found: bool
) -> None:
    monkeypatch.setattr(garbage, "_LOOK_S", 0.01)
    monkeypatch.setattr(garbage, "_WHOLE_EVERY_S", 0.05)
    with garbage.kept_from_keys():
        ring = _Ring()
        seen = weakref.ref(ring)
        gc.collect()  # it is frozen now
        del ring
        gc.collect()
        assert seen() is not None
        rounds = asyncio.create_task(garbage.rounds(lambda: idle_s))
        for _ in range(300 if found else 30):
            await asyncio.sleep(0.01)
            if seen() is None:
                break
        rounds.cancel()
        await asyncio.gather(rounds, return_exceptions=True)
        assert (seen() is None) is found
        assert gc.get_freeze_count() > 10_000


@pytest.mark.parametrize(("idle_s", "comes"), [(5.0, True), (0.1, False)])
async def test_a_full_round_waits_for_a_pause_between_keys(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, comes: bool
) -> None:
    monkeypatch.setattr(garbage, "_LOOK_S", 0.01)
    with garbage.kept_from_keys():
        gc.collect()
        before = gc.get_stats()[2]["collections"]
        kept: list[list[object]] = []
        rounds = asyncio.create_task(garbage.rounds(lambda: idle_s))
        while gc.get_count()[2] < 2 * garbage._ROUND_AFTER and gc.get_stats()[2]["collections"] == before:
            kept += [[] for _ in range(10_000)]
            await asyncio.sleep(0.02)
        rounds.cancel()
        await asyncio.gather(rounds, return_exceptions=True)
        assert (gc.get_stats()[2]["collections"] > before) is comes


def test_the_rounds_are_pythons_own_again_afterwards() -> None:
    before = gc.get_threshold()
    with garbage.kept_from_keys():
        assert gc.get_threshold()[2] > before[2]
    assert gc.get_threshold() == before
