"""Worker processes for work that is the same for every feature; they end quietly with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def worker_pool(initializer: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Start a pool with one process per core, each of which first runs `initializer(*arguments)`.

    Workers ignore Ctrl-C: the main process handles it and drops the tasks that have not started. If the main process is
    killed, the workers end too.
    """
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=_begin, initargs=(initializer, arguments)
    ) as pool:
        with _delay_interrupts():
            # The executor starts all its processes at the first task
            pool.submit(_do_nothing)
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Set up a worker process before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*arguments)


def _end_with_parent() -> None:
    """Wait until the main process has ended, then end this worker, in whatever task it is."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # No clean-up: nobody waits for a result any more
    os._exit(1)


def _do_nothing() -> None:
    pass


@contextmanager
def _delay_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until the block ends.

    Python runs hooks around a fork and ignores exceptions in them, so a KeyboardInterrupt raised there would be lost.
    """
    # Only the main thread gets the signal, and only it may set a handler
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if received:
        raise KeyboardInterrupt
