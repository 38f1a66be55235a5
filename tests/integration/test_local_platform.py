"""Replicas as processes: zero and back with connections kept, and every way that they can fail."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from support.localplatform import LIMITS, SUPPORT, Client, Local, generation, local

from headrace.scaler.errors import StartFailed
from headrace.scaler.platform import ReplicaState

pytestmark = pytest.mark.integration


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def client(running: Local) -> AsyncGenerator[Client]:
    made = await Client.connect(running.address)
    try:
        yield made
    finally:
        await made.aclose()


async def test_zero_one_zero_one_on_one_connection() -> None:
    async with local() as running, client(running) as kept:
        await kept.send("/pid")
        await running.until(lambda: running.woken > 0)
        assert running.platform.look().waiting == 1
        await running.scaled(1)
        first = (await kept.response())[2]
        await running.scaled(0)
        woken = running.woken
        await kept.send("/pid")
        await running.until(lambda: running.woken > woken)
        assert running.platform.look().waiting == 1
        await running.scaled(1)
        second = (await kept.response())[2]
        assert first != second
        await running.until(lambda: running.platform.look().completed == {"http": 2})
        assert running.platform.look().waiting == 0
        assert running.platform.look().replicas[0].cold_start_s is not None


async def test_connections_go_straight_on_when_one_of_two_drains() -> None:
    async with local() as running:
        await running.scaled(2)
        clients: list[Client] = []
        before: set[bytes] = set()
        while len(before) < 2:  # the kernel shares connections out as it likes
            clients.append(await Client.connect(running.address))
            before.add(await clients[-1].get("/pid"))
        await running.scaled(1)
        after = {await one.get("/pid") for one in clients}
        assert len(after) == 1
        for one in clients:
            await one.aclose()


async def test_scale_in_drains_the_least_busy() -> None:
    async with local() as running, client(running) as busy:
        await running.scaled(2)
        await busy.send("/slow")
        await running.until(lambda: any(one.in_flight for one in running.platform.look().replicas))
        (working,) = [one.pid for one in running.platform.look().replicas if one.in_flight]
        await running.scaled(1)
        assert running.pids() == {working}
        assert (await busy.response())[0] == 200


async def test_a_killed_replica_is_replaced() -> None:
    async with local() as running:
        await running.scaled(1)
        os.kill(running.pids().pop(), signal.SIGKILL)
        await running.until(lambda: running.platform.look().replaced == 1)
        async with client(running) as caller:
            assert await caller.get() == b"ok"


async def test_one_that_exits_in_a_request_is_replaced_again_and_again() -> None:
    async with local() as running:
        await running.scaled(1)
        for count in range(1, 4):
            async with client(running) as caller:
                await caller.send("/exit")
                assert await caller.closed()
            await running.replaced(count)
            await running.settled(1)
        assert running.platform.look().failed_starts == 0


async def test_a_replica_whose_loop_hangs_is_killed_and_replaced() -> None:
    async with local() as running, client(running) as stuck:
        await running.scaled(1)
        await stuck.send("/hang")
        assert await stuck.closed()
        async with client(running) as caller:
            assert await caller.get() == b"ok"
        assert running.platform.look().replaced == 1


async def test_three_failed_starts_refuse_what_waits() -> None:
    async with local({"FAIL": "no module named `nope`"}) as running, client(running) as held:
        await held.send()
        await running.until(lambda: running.woken > 0)
        running.platform.apply(1)
        status, headers, body = await held.response()
        assert (status, headers["content-type"], headers["connection"]) == (503, "application/json", "close")
        assert json.loads(body)["reason"] == "no module named `nope`"
        assert int(headers["retry-after"]) >= 1
        assert await held.closed()
        assert running.platform.look().failed_starts == 3
        async with client(running) as later:  # refused at once: nothing new is known
            await later.send()
            assert (await later.response())[0] == 503
        await running.platform.replace(generation())
        async with client(running) as healed:
            assert await healed.get() == b"ok"


async def test_an_exit_before_ready_is_a_failed_start() -> None:
    async with local({"EXIT": "7"}) as running:
        running.platform.apply(1)
        await running.until(lambda: running.platform.look().failed_starts == 2)
        assert running.platform.look().failure == "it exited with code 7 before it was ready"


async def test_a_start_that_takes_too_long_is_a_failed_one() -> None:
    limits = msgspec.structs.replace(LIMITS, start_timeout_s=0.5)
    async with local({"DEAF": "1"}, limits) as running:
        running.platform.apply(1)
        await running.until(lambda: running.platform.look().failed_starts == 1)
        assert running.platform.look().failure == "expected to be ready within 0.5 s of its start"


async def test_a_program_that_is_not_there_is_a_failed_start() -> None:
    async with local() as running:
        missing = msgspec.structs.replace(generation(), command=("/nowhere/python",))
        with pytest.raises(StartFailed, match="can't run /nowhere/python: No such file"):
            await running.platform.replace(missing)
        running.platform._generation = missing
        running.platform.apply(2)
        await running.until(lambda: running.platform.look().failed_starts == 3)
        running.platform.apply(0)


async def test_reload_goes_over_without_a_gap() -> None:
    async with local({"NAME": "old"}) as running, client(running) as kept:
        await running.scaled(2)
        assert await kept.get("/name") == b"old"
        reload = asyncio.create_task(running.platform.replace(generation({"NAME": "new"})))
        answers = [b"old"]
        while not reload.done():
            async with client(running) as another:
                answers.append(await another.get("/name"))
        await reload
        await running.settled(2)
        assert await kept.get("/name") == b"new"
        assert set(answers) <= {b"old", b"new"}
        assert {one.generation for one in running.platform.look().replicas} == {2}


async def test_a_broken_reload_keeps_the_old() -> None:
    async with local({"NAME": "old"}) as running, client(running) as kept:
        await running.scaled(1)
        with pytest.raises(StartFailed, match="NameError: nope"):
            await running.platform.replace(
                generation({"FAIL": "Traceback (most recent call last):\n  File x\nNameError: nope\n"})
            )
        await running.settled(1)
        assert await kept.get("/name") == b"old"
        assert running.platform.look().failed_starts == 0


async def test_reload_at_zero_tries_one_and_keeps_the_generation() -> None:
    async with local({"NAME": "old"}) as running, client(running) as caller:
        await running.platform.replace(generation({"NAME": "new"}))
        await running.settled(0)
        await running.scaled(1)
        assert await caller.get("/name") == b"new"


async def test_closing_ends_a_reload() -> None:
    async with local() as running:
        reload = asyncio.create_task(running.platform.replace(generation({"SLOW": "60"})))
        await running.until(lambda: running.states() == [ReplicaState.STARTING])
    with pytest.raises(StartFailed, match="before it was ready"):
        await reload
    with pytest.raises(StartFailed, match="closing"):
        await running.platform.replace(generation())


async def test_output_comes_by_line() -> None:
    async with local() as running:
        await running.scaled(1)
        (pid,) = running.pids()
        await running.until(lambda: (pid, "started") in running.lines)


async def test_one_starting_is_drained_before_it_is_ready() -> None:
    async with local({"SLOW": "0.3"}) as running:
        running.platform.apply(1)
        assert running.states() == [ReplicaState.STARTING]
        running.platform.apply(0)
        await running.settled(0)
        assert running.platform.look().failed_starts == 0


async def test_one_that_does_not_drain_in_time_is_ended() -> None:
    limits = msgspec.structs.replace(LIMITS, drain_timeout_s=0.1, grace_s=0.1, ping_interval_s=60)
    async with local(limits=limits) as running, client(running) as stuck:
        await running.scaled(1)
        await stuck.send("/hang")
        await running.until(lambda: running.platform.look().replicas[0].in_flight == 1)
        await running.scaled(0)


async def test_nothing_is_left_when_closed() -> None:
    async with local() as running:
        await running.scaled(2)
        pids = running.pids()
        before = descriptors()
    for pid in pids:
        with pytest.raises(ProcessLookupError, match="No such process"):
            os.kill(pid, 0)
    assert descriptors() < before


async def test_nothing_is_refused_over_ten_transitions() -> None:
    """Half of the clients stay connected, half connect for each request."""
    async with local() as running:
        answered = 0
        over = asyncio.Event()

        async def ask(keep: bool) -> None:
            nonlocal answered
            while not over.is_set():
                async with client(running) as caller:
                    while not over.is_set():
                        assert await caller.get("/slow") == b"ok"
                        answered += 1
                        if not keep:
                            break

        callers = [asyncio.create_task(ask(keep=index % 2 == 0)) for index in range(20)]
        for _ in range(10):
            await running.until(lambda: running.platform.look().waiting > 0)
            await running.scaled(1)
            before = answered
            await running.until(lambda: answered >= before + 40)  # noqa: B023 - read in this turn
            await running.drained()
        running.platform.apply(1)
        over.set()
        await asyncio.gather(*callers)
        assert answered >= 400


async def test_a_replica_does_not_outlive_a_killed_platform() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=SUPPORT.parent, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    replica = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    descriptor = os.pidfd_open(replica)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    parent.kill()
    await parent.wait()
    await asyncio.wait_for(gone.wait(), 20)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


PARENT = """
import asyncio
from support.localplatform import local

async def main():
    async with local() as running:
        await running.scaled(1)
        print(running.pids().pop(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
