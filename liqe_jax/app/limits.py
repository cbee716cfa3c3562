"""Limits on the size of a request and on the total size of stored uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# Requests that are answered at the same time. Each visitor keeps one open while results are awaited, and 32 can wait.
MOST_REQUESTS = 256

# Seconds without a byte of a body that was announced, after which its request ends and its room is given back.
PATIENCE = 60.0


class Limits:
    """ASGI middleware that refuses requests.

    413 for a body of more than `most` bytes: Gradio limits the size of each file, but not of a request with many
    files. 503 for an upload for which there is no room: uploads that are never scored stay until they are swept. The
    room is reserved before the first byte is taken, so that uploads at the same time fit together.
    503 also for more than `most_requests` at once, and 408 for a body that stops coming.

    Args:
      app: what answers the others.
      most: bytes of a body.
      stored: gives the bytes that uploads take now, those under way included.
      most_stored: bytes that they may take.
      most_requests: at the same time.
      patience: seconds between two pieces of a body.
    """

    def __init__(
        self,
        app: Any,
        most: int,
        stored: Callable[[], int],
        most_stored: int,
        most_requests: int = MOST_REQUESTS,
        patience: float = PATIENCE,
    ):
        self.app, self.most, self.stored, self.most_stored = app, most, stored, most_stored
        self.most_requests, self.patience = most_requests, patience
        self._requests = 0
        self._expected: dict[int, int] = {}  # number of an upload under way -> bytes that are still to come
        self._uploads = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._requests >= self.most_requests:
            # Its body is not taken, since that would be one more request under way.
            await _answer(send, 503, "Too many visitors at once. Try again in a few minutes.")
            return
        self._requests += 1
        try:
            await self._bounded(scope, receive, send)
        finally:
            self._requests -= 1

    async def _bounded(self, scope: Any, receive: Any, send: Any) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"")
        size = int(length) if length.isdigit() and len(length) < 20 else None
        if size is None and length:
            await _answer(send, 400, "The content-length is not a number of bytes.")
            return
        if size is not None and size > self.most:
            await self._drain(receive)
            await self._refuse(send)
            return
        # Of a body that comes in pieces nobody knows the size.
        wanted = self.most if size is None else size
        if not scope["path"].endswith("/upload"):
            await self._counted(scope, receive, send, None)
        elif self.stored() + sum(self._expected.values()) + wanted > self.most_stored:
            await self._drain(receive)
            await _answer(send, 503, "Too many photographs are waiting. Try again in a few minutes.")
        else:
            self._uploads += 1
            number = self._uploads
            self._expected[number] = wanted
            try:
                await self._counted(scope, receive, send, number)
            finally:
                del self._expected[number]

    async def _counted(self, scope: Any, receive: Any, send: Any, upload: int | None) -> None:
        received, answering, more = 0, False, True

        async def counted() -> Any:
            nonlocal received, more
            # After the body, servers wait for the visitor to leave, which may take long.
            message = await (asyncio.wait_for(receive(), self.patience) if more else receive())
            size, more = len(message.get("body", b"")), message.get("more_body", False)
            received += size
            if received > self.most:  # it was sent in pieces, without saying how much it would be
                raise _TooMuch
            if upload is not None:  # what has come is in the folder, where `stored` counts it
                self._expected[upload] = max(self._expected[upload] - size, 0)
            return message

        async def noted(message: Any) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooMuch:
            if more:
                await self._drain(receive)
            if not answering:
                await self._refuse(send)
        except TimeoutError:
            if not more:
                raise
            if not answering:
                await _answer(send, 408, "The upload stopped in the middle. Try again.")

    async def _refuse(self, send: Any) -> None:
        await _answer(send, 413, f"A request may have {self.most} bytes; drop fewer or smaller photographs.")

    async def _drain(self, receive: Any) -> None:
        """Takes the rest of a body and drops it: a browser reads no answer before it has sent everything."""
        taken, more = 0, True
        try:
            while more and taken <= 10 * self.most:
                message = await asyncio.wait_for(receive(), self.patience)
                taken, more = taken + len(message.get("body", b"")), message.get("more_body", False)
        except TimeoutError:
            return


async def _answer(send: Any, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _TooMuch(Exception):
    """The body exceeds the limit."""
