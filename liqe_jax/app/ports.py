"""Finds a free port."""

from __future__ import annotations

import socket

from liqe_jax.errors import UsageError

FIRST = 7860  # Gradio's default, which Hugging Face Spaces expect
TRIED = 100


def free_port(host: str, port: int | None = None) -> int:
    """Finds a free port of `host`.

    Args:
      host: name or address; IPv6 without brackets.
      port: the port; 0 stands for any free one, None for the first free one from `FIRST`.

    Raises:
      UsageError: no port is free, or the host is not an address of this computer.
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
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            reason = getattr(error, "strerror", None) or str(error)
    named = f"port {port}" if port is not None else f"any port from {candidates[0]} to {candidates[-1]}"
    raise UsageError(
        f"Cannot listen on {host}, {named}: {reason}. Choose another --host or --port (0 takes any free port)."
    )
