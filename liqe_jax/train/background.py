"""Work for the disk that training does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Background:
    """One thread that runs actions in their order. They must not use collectives, whose order the main thread sets."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._begun: list[Future[Any]] = []

    def submit(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Returns at once."""
        self._begun.append(self._pool.submit(action, *arguments))

    def wait(self) -> None:
        """Waits until everything is done; raises what an action raised."""
        while self._begun:
            self._begun.pop(0).result()

    def close(self) -> None:
        """Waits, and ends the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()
