"""Processes for work that is the same for every feature: they end with the process that started them, in silence."""

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
    """A pool of one process a core, each begun with `initializer(*arguments)`.

    Ctrl-C is the main process's to answer: workers ignore it, and what they have not begun is dropped. Should the main
    process vanish, so do they.
    """
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=_begin, initargs=(initializer, arguments)
    ) as pool:
        with _interrupts_held():
            pool.submit(_nothing)  # starts all processes
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In a worker, first of all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nobody waits for a result any more


def _nothing() -> None:
    pass


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is answered when the block ends: what Python runs around a fork would swallow it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of it
        return
    came: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if came:
        raise KeyboardInterrupt
