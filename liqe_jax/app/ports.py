"""A port to listen on."""

from __future__ import annotations

import socket

from liqe_jax.errors import UsageError

FIRST = 7860  # Gradio's own, which Hugging Face Spaces expect
TRIED = 100


def free_port(host: str, port: int | None = None) -> int:
    """A port of `host` that nobody listens on.

    Args:
      host: a name or an address, IPv6 without brackets.
      port: the one that is wanted; 0 stands for any, None for the first free one from `FIRST`.

    Raises:
      UsageError: there is none, or no such host on this computer.
    """
    candidates = range(FIRST, FIRST + TRIED) if port is None else (port,)
    reason = "none was tried"
    for candidate in candidates:
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, candidate))
                return listener.getsockname()[1]
        except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
            reason = getattr(error, "strerror", None) or str(error)
    named = f"port {port}" if port is not None else f"any port from {candidates[0]} to {candidates[-1]}"
    raise UsageError(
        f"Cannot listen on {host}, {named}: {reason}. Choose others with --host and --port (0 takes any free port)."
    )
