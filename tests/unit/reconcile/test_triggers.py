"""The inbox merges what belongs together and never sleeps through a trigger."""

from __future__ import annotations

import asyncio

from powernode_agent.reconcile.triggers import Inbox, Trigger


async def test_triggers_of_one_burst_are_one_pass() -> None:
    loop = asyncio.get_running_loop()
    inbox = Inbox(loop.time)
    inbox.put(Trigger.LINK)
    inbox.put(Trigger.NETLINK)
    inbox.put(Trigger.LINK)
    assert await inbox.take(loop.time() + 5) == {Trigger.LINK, Trigger.NETLINK}
    assert await inbox.take(loop.time()) == frozenset()


async def test_a_trigger_during_the_gathering_joins() -> None:
    loop = asyncio.get_running_loop()
    inbox = Inbox(loop.time)
    inbox.put(Trigger.POLL)
    taking = asyncio.create_task(inbox.take(loop.time() + 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    inbox.put(Trigger.REVISION)
    assert await taking == {Trigger.POLL, Trigger.REVISION}


async def test_the_timeout_returns_nothing() -> None:
    loop = asyncio.get_running_loop()
    inbox = Inbox(loop.time)
    assert await inbox.take(loop.time() - 1) == frozenset()


async def test_a_waiting_take_wakes_up_for_a_trigger() -> None:
    loop = asyncio.get_running_loop()
    inbox = Inbox(loop.time)
    taking = asyncio.create_task(inbox.take(loop.time() + 60))
    await asyncio.sleep(0)
    inbox.put(Trigger.OPERATOR)
    assert await asyncio.wait_for(taking, 5) == {Trigger.OPERATOR}
