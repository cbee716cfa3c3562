"""Work ahead on an ordered stream, with bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def map_ahead(function: Callable[[In], Out], items: Iterable[In], workers: int, ahead: int) -> Iterator[Out]:
    """`map` on a pool of threads: results in order, at most `ahead` items taken before their turn.

    An exception of `function` surfaces at its item; abandoning the iterator cancels what has not begun.
    """
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="liqe-decode")
    waiting: collections.deque[concurrent.futures.Future[Out]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=True)
