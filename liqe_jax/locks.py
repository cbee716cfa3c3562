"""Advisory locks on files and folders that one process at a time may write.

A lock is a file beside what it protects. The system releases it when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from liqe_jax.errors import UsageError
from liqe_jax.messages import printable

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".lock"


@contextlib.contextmanager
def in_use(path: str | os.PathLike) -> Iterator[None]:
    """Holds a file or folder, which need not exist, for this process until the block ends.

    FILE is locked by FILE.lock, a folder by FOLDER/.lock. Where the file system has no locks, or the lock cannot be
    written, nothing is held. Raises UsageError if another process holds it; the message says which.
    """
    path = Path(path)
    lock = path / SUFFIX if path.is_dir() else path.with_name(path.name + SUFFIX)
    # A pipe or a device such as /dev/stdout is not a file that could be continued.
    held = None if fcntl is None or (path.exists() and not (path.is_file() or path.is_dir())) else _acquire(lock, path)
    try:
        yield
    finally:
        if held is not None:
            # Removed while it is held: a process that opened it before finds that it is gone, and makes another.
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(held)


def _acquire(lock: Path, path: Path) -> int | None:
    """The descriptor of the lock; None where there can be none."""
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:  # a read-only folder; what is to be written there says so itself
            return None
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = printable(os.read(held, 200).decode("utf-8", "replace")) or "another process"
            os.close(held)
            raise UsageError(
                f"{path} is in use by {holder}. Two processes would overwrite each other's results: wait until it "
                "ends, end it, or write elsewhere."
            ) from None
        except OSError:  # some network file systems
            os.close(held)
            return None
        try:
            is_ours = os.path.samestat(os.fstat(held), os.stat(lock))
        except FileNotFoundError:
            is_ours = False
        if is_ours:
            os.ftruncate(held, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(held, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
            return held
        os.close(held)  # its holder removed it between our opening and our locking
