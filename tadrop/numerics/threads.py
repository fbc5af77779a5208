"""Work on several threads whose results come back in order."""

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")


Result = TypeVar("Result")


def _alone() -> None:
    torch.set_num_threads(1)


@cache
def _keep_freed_memory() -> None:
    """Tells glibc to reuse blocks' buffers and not give them back: else half of a
    formula's time are page faults.
    """
    trim_threshold, map_threshold, kept, mapped = -1, -3, 1 << 28, 1 << 25
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(trim_threshold, kept)
        libc.mallopt(map_threshold, mapped)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """function(item) for every item, on so many threads, a few items ahead of the
    reader; results in order.

    What fails, or a reader that stops early, cancels what has not begun and waits for
    what has.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    _keep_freed_memory()
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tadrop", initializer=_alone)
    ahead: deque = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)
