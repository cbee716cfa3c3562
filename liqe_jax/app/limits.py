"""A bound on what one request may send."""

from __future__ import annotations

from typing import Any


class Limits:
    """ASGI middleware: answers 413 to a request whose body has more than `most` bytes.

    Gradio bounds the size of each file, but takes a thousand of them in one request.
    """

    def __init__(self, app: Any, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self.most:
            await _drain(receive)
            await self._refuse(send)
            return
        received, answering, more = 0, False, True

        async def counted() -> Any:
            nonlocal received, more
            message = await receive()
            received, more = received + len(message.get("body", b"")), message.get("more_body", False)
            if received > self.most:  # it was sent in pieces, without saying how much it would be
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
        body = f"A request may have {self.most} bytes; drop fewer or smaller photographs.".encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _drain(receive: Any) -> None:
    """Takes the rest of a body and drops it: a browser reads no answer before it has sent everything."""
    while (await receive()).get("more_body", False):
        pass


class _TooMuch(Exception):
    """The body is larger than it may be."""
