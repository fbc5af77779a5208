"""Work on several threads whose results come back in order."""

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# glibc's names for two settings of its allocator (malloc.h), and what they are set to:
# freed memory that is kept, and the size from which a buffer is mapped on its own.
_TRIM_THRESHOLD, _KEPT = -1, 1 << 28
_MAP_THRESHOLD, _MAPPED = -3, 1 << 25


def _alone() -> None:
    torch.set_num_threads(1)


@cache
def _keep_freed_memory() -> None:
    """Tells glibc to reuse the buffers of pieces and not to give them back.

    Half of a formula's time are page faults otherwise. Another C library than glibc is
    left as it is.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MAP_THRESHOLD, _MAPPED)


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
) -> Iterator[Result]:
    """function(item) for every item, on so many threads; results in order.

    The threads are a few items ahead of the reader. What fails, or a reader that stops
    early, cancels what has not begun and waits for what has.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    _keep_freed_memory()
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tadrop", initializer=_alone)
    ahead: deque[Future[Result]] = deque()
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
