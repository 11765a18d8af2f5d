"""Threads for blocking work of hot paths: one hand-over there, one back, nothing between.

``loop.run_in_executor`` puts a second future with its own lock between thread and loop. Measured with an empty job: 50 to 120 µs of CPU
there and 30 to 50 here, and on a busy machine a fifth of the waiting. Work that was begun is finished even if nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class WorkersClosed(RuntimeError):
    """The threads have ended."""


class _Thread:
    """One thread and where its next job is put."""

    __slots__ = ("inbox", "thread")

    def __init__(self, serve: Callable[[_Thread], None], name: str) -> None:
        self.inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self.thread = threading.Thread(target=serve, args=(self,), name=name, daemon=True)


class Workers:
    """At most so many threads, each started when all others are at work; who makes them closes them.

    A job goes to the thread that was idle last: its caches are warm, and the others sleep on.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._size, self._name = threads, name
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Thread] = []
        self._threads: list[_Thread] = []
        self._closed = False

    def run(self, work: Callable[..., T], *given: Any) -> asyncio.Future[T]:
        """Have ``work(*given)`` done by a thread; return the future of its result. Call in the loop's thread."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job: _Job = (done, work, given)
        with self._lock:
            if self._closed:
                raise WorkersClosed(f"The threads {self._name} have ended.")
            if self._idle:
                thread = self._idle.pop()
            elif len(self._threads) < self._size:
                thread = _Thread(self._serve, f"{self._name}_{len(self._threads)}")
                self._threads.append(thread)
                thread.thread.start()
            else:
                self._waiting.append(job)
                return done
            thread.inbox.put(job)  # inside the lock: never behind the word that ends the thread
        return done

    def _serve(self, mine: _Thread) -> None:
        while (job := mine.inbox.get()) is not None:
            while job is not None:
                _do(*job)
                job = self._next(mine)  # what the last one held may be large

    def _next(self, mine: _Thread) -> _Job | None:
        """Return what waits for a thread; with nothing, ``mine`` is idle."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(mine)
            return None

    def close(self) -> None:
        """Drop what no thread has begun, wait for the rest."""
        with self._lock:
            self._closed = True
            dropped, self._waiting = self._waiting, deque()
            threads, self._threads = self._threads, []
        for done, _, _ in dropped:
            _tell(done, done.cancel)
        for thread in threads:
            thread.inbox.put(None)
        for thread in threads:
            thread.thread.join()


def _do(done: asyncio.Future[Any], work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    try:
        result = work(*given)
    except BaseException as problem:  # whoever awaits gets it, whatever it is
        _tell(done, _fail, done, problem)
    else:
        _tell(done, _settle, done, result)


def _tell(done: asyncio.Future[Any], act: Callable[..., Any], *given: Any) -> None:
    """Have ``act`` done in the loop; a loop that has ended waits for nothing any more."""
    loop = done.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(act, *given)


def _settle(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], problem: BaseException) -> None:
    if not done.done():
        done.set_exception(problem)
