"""Worker threads give back what the work gave, however it ended, and end when they are closed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from consilium_platform.workers import Workers, WorkersClosed


async def test_results_and_failures_come_back_to_who_asked() -> None:
    workers = Workers(3, "test")

    def work(number: int) -> str:
        if number % 4 == 3:
            raise ValueError(number)
        return f"{threading.current_thread().name.rsplit('_', 1)[0]} {number}"

    ends = await asyncio.gather(*(workers.run(work, number) for number in range(40)), return_exceptions=True)
    for number, end in enumerate(ends):
        assert str(end) == (str(number) if number % 4 == 3 else f"test {number}")
    workers.close()


async def test_work_runs_beside_the_loop_and_never_more_than_there_are_threads() -> None:
    workers, inside, most, lock = Workers(2, "test"), 0, 0, threading.Lock()
    gate = threading.Event()

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.wait(20)
        with lock:
            inside -= 1

    jobs = [workers.run(work) for _ in range(6)]
    async with asyncio.timeout(20):
        while most < 2:
            await asyncio.sleep(0.001)
    gate.set()
    await asyncio.gather(*jobs)
    assert most == 2
    workers.close()


async def test_who_stops_waiting_leaves_the_work_to_finish() -> None:
    workers, gate, finished = Workers(1, "test"), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(20)
        finished.set()

    job = workers.run(work)
    job.cancel()
    gate.set()
    assert await workers.run(finished.wait, 20)
    assert job.cancelled()
    workers.close()


async def test_closing_finishes_what_was_begun_and_cancels_the_rest() -> None:
    workers, begun, gate = Workers(1, "test"), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        gate.wait(20)
        return "done"

    first, second = workers.run(work), workers.run(work)
    assert await asyncio.to_thread(begun.wait, 20)
    closing = asyncio.get_running_loop().run_in_executor(None, workers.close)
    async with asyncio.timeout(20):
        while not second.cancelled():
            await asyncio.sleep(0.001)
    gate.set()
    await closing
    assert await first == "done"
    with pytest.raises(WorkersClosed):
        workers.run(work)
