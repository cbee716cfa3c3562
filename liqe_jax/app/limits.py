"""Limits on the size of a request and on the total size of stored uploads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Limits:
    """ASGI middleware: answers 413 to a request whose body has more than `most` bytes.

    Gradio limits the size of each file, but not the size of a request with many files. Uploads that are never scored
    stay until they are swept: while `stored()` exceeds `most_stored`, new uploads are answered with 503.
    """

    def __init__(self, app: Any, most: int, stored: Callable[[], int], most_stored: int):
        self.app, self.most, self.stored, self.most_stored = app, most, stored, most_stored

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self.most:
            await _drain(receive)
            await self._refuse(send)
            return
        if scope["path"].endswith("/upload") and self.stored() > self.most_stored:
            await _drain(receive)
            await _answer(send, 503, "Too many photographs are waiting. Try again in a few minutes.")
            return
        received, answering, more = 0, False, True

        async def counted() -> Any:
            nonlocal received, more
            message = await receive()
            received, more = received + len(message.get("body", b"")), message.get("more_body", False)
            if received > self.most:  # a chunked body without a content-length
                raise _TooMuch
            return message

        async def noted(message: Any) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooMuch:
            if more:
                await _drain(receive)
            if not answering:
                await self._refuse(send)

    async def _refuse(self, send: Any) -> None:
        await _answer(send, 413, f"A request may have {self.most} bytes; drop fewer or smaller photographs.")


async def _answer(send: Any, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drain(receive: Any) -> None:
    """Reads and drops the rest of a body: a browser reads the answer only after it has sent everything."""
    while (await receive()).get("more_body", False):
        pass


class _TooMuch(Exception):
    """The body exceeds the limit."""
