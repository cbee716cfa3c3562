"""A visit to the page without a browser; run in a process of its own, it prints what the server kept.

    python tests/app_visit.py MODEL_FOLDER PHOTOGRAPH

A process of its own because of the search through its memory, and because importing Gradio leaves
resources open, which tests take for an error.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from liqe_jax.taxonomy import JOINT

NAME = "a-name-that-nobody-else-has.jpg"
SECRET = "not-an-upload"


def post(url: str, body: bytes, kind: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upload(url: str, content: bytes, copies: int = 1) -> tuple[int, bytes]:
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{NAME}"\r\n\r\n'.encode()
    body = b"".join(part + content + b"\r\n" for _ in range(copies)) + b"--x--\r\n"
    return post(url + "gradio_api/upload", body, "multipart/form-data; boundary=x")


def event_of(url: str, element: str) -> int:
    """The number of the event that first changes the element."""
    with urllib.request.urlopen(url + "config") as answer:
        config = json.load(answer)
    (component,) = (c["id"] for c in config["components"] if c["props"].get("elem_id") == element)
    return next(d["id"] for d in config["dependencies"] if component in d["outputs"])


def scored(url: str, paths: list[str], visitor: str, name: str = NAME) -> str:
    """Everything that the page is sent when these were dropped."""
    files = [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}} for path in paths]
    return answered(url, "drop", [files], visitor)


def answered(url: str, element: str, data: list, visitor: str) -> str:
    """Everything that the page is sent by the event that first changes the element."""
    body = {"data": data, "fn_index": event_of(url, element), "session_hash": visitor, "trigger_id": None}
    status, answer = post(url + "gradio_api/queue/join?", json.dumps(body).encode(), "application/json")
    assert status == 200, answer
    sent = ""
    with urllib.request.urlopen(url + f"gradio_api/queue/data?session_hash={visitor}") as stream:
        for line in stream:
            sent += line.decode()
            if b'"process_completed"' in line:
                return sent
    raise AssertionError(sent)


def kept(content: bytes) -> list[str]:
    """What of a visit is still in this process's memory."""
    gc.collect()
    found = set()
    for holder in gc.get_objects():
        for thing in gc.get_referents(holder):
            if type(thing) is str and len(thing) > 1000 and "data:image/webp" in thing:
                found.add("markup with pictures")
            elif type(thing) is str and NAME in thing and thing is not NAME:
                found.add("name")
            elif type(thing) is bytes and thing[:4] == b"RIFF" and thing[8:12] == b"WEBP":
                found.add("picture")
            elif type(thing) is bytes and thing == content and thing is not content:
                found.add("upload")
            elif type(thing) is np.ndarray and thing.dtype == np.uint8 and thing.ndim == 3 and thing.size > 10_000:
                found.add("pixels")
    return sorted(found)


@contextlib.contextmanager
def slow_comparison() -> Iterator[None]:
    """On a busy machine Gradio keeps what it does not on a quiet one."""
    from liqe_jax.app import page

    quick = page.compare

    def slow(*arguments: Any) -> str:
        time.sleep(0.5)
        return quick(*arguments)

    page.compare = slow
    try:
        yield
    finally:
        page.compare = quick


def visit(url: str, content: bytes) -> dict:
    import gradio

    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    secret = folder.parent / SECRET
    secret.write_bytes(content)
    try:
        refused = scored(url, [str(secret)], "first", "other.jpg")
    finally:
        outlived = secret.exists()
        secret.unlink(missing_ok=True)
    status, answer = upload(url, content)
    assert status == 200, answer
    (path,) = json.loads(answer)
    stored = os.path.exists(path)
    sent = scored(url, [path, path], "second")
    uniform = {"quality": 5, "scene": 9, "distortion": 11}
    numbers = {
        "name": NAME,
        "probabilities": {a.name: dict.fromkeys(a.labels, 1 / uniform[a.name]) for a in JOINT.attributes},
    }
    with slow_comparison():
        compared = answered(url, "difference", [numbers, numbers], "second")
    too_large, _ = upload(url, content + b"0" * 2_000_000)
    too_many, _ = upload(url, content + b"0" * 400_000, copies=70)
    result = {
        "stored": stored,
        "shown": all(text in sent for text in ("thumb", "highest", NAME, "2 scored, 0 failed")),
        "compared": "The same quality, 3.00." in compared,
        "secret_shown": "thumb" in refused,
        "secret_outlived": outlived,
        "too_large": too_large,
        "too_many": too_many,
    }
    del sent, refused, compared, numbers, answer, path
    (page,) = gradio.Blocks.instances
    # Gradio clears up once a second, on a busy machine later; what it keeps stays however long one waits.
    end = time.monotonic() + 20
    while True:
        time.sleep(1.5)
        left = {
            "remembered": "second" in page.state_holder.session_data,
            "kept": kept(content),
            "files": [str(file.relative_to(folder)) for file in folder.rglob("*")],
        }
        if not any(left.values()) or time.monotonic() > end:
            break
    return {
        **result,
        **left,
        "folder": str(folder),
    }


if __name__ == "__main__":
    from liqe_jax.app.serve import serve
    from liqe_jax.scoring.load import load

    photograph = Path(sys.argv[2]).read_bytes()

    def started(url: str) -> None:
        print(json.dumps(visit(url, photograph)))
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        serve(load(sys.argv[1]), port=0, max_megabytes=1, started=started)
