"""Slots of the API's exports: a reader holds one, and none for ever."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import HTTPException

from scripts.api import warehouse
from scripts.api.warehouse import ExportSlots


def test_a_reader_has_one_slot_and_leaves_the_others_to_others() -> None:
    async def exports() -> None:
        slots = ExportSlots(2, 3600)
        mine = await slots.take("me", lambda: None)
        with pytest.raises(HTTPException, match="an export of yours is running"):
            await slots.take("me", lambda: None)
        await slots.take("another", lambda: None)
        slots.give_back(mine)
        await slots.take("me", lambda: None)

    asyncio.run(exports())


def test_without_a_free_slot_a_reader_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "POOL_TIMEOUT", 0.01)

    async def exports() -> None:
        slots = ExportSlots(1, 3600)
        first = await slots.take("one", lambda: None)
        for _ in range(2):
            with pytest.raises(HTTPException, match="exports are running: try again"):
                await slots.take("two", lambda: None)
        slots.give_back(first)
        await slots.take("two", lambda: None)

    asyncio.run(exports())


def test_a_slot_whose_time_is_up_is_ended_and_free() -> None:
    async def exports() -> None:
        slots, ended = ExportSlots(1, 0.01), asyncio.Event()
        slow = await slots.take("slow", ended.set)
        await ended.wait()
        await slots.take("slow", lambda: None)
        # Too late: its slot is somebody else's by now.
        slots.give_back(slow)
        with pytest.raises(HTTPException, match="an export of yours"):
            await slots.take("slow", lambda: None)

    asyncio.run(exports())
