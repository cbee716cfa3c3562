"""Builds the page that scores photographs in the browser: `python tools/web.py web/dist`, or `make web`.

The folder holds the page, the embedded model as ONNX and ONNX Runtime Web, and can be served by anything that serves
files. Needs npm, and `pip install 'liqe_jax[onnx]'`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import liqe_jax
from liqe_jax.weights.known import EMBEDDED

WEB = Path(__file__).parent.parent / "web"

# The runtime, as the npm registry has it; `npm view onnxruntime-web@VERSION dist.integrity` tells the digest.
RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

# What every browser needs, and what those with WebGPU load instead.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def vendor(folder: Path) -> None:
    """Downloads the runtime, compares its digest, and unpacks what the page loads."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", f"{RUNTIME}@{VERSION}", "--silent", "--pack-destination", temporary]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (package,) = Path(temporary).iterdir()
        with package.open("rb") as file:
            found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if found != SHA512:
            sys.exit(f"{package.name} has sha512 {found}; expected {SHA512}. Nothing of it is used.")
        with tarfile.open(package) as archive:
            for name in (*RUNTIME_FILES, *WEBGPU_FILES):
                content = archive.extractfile(f"package/dist/{name}")
                assert content is not None
                (folder / name).write_bytes(content.read())


def test_picture(side: int) -> np.ndarray:
    """The picture that WebGPU has to score as we do, uint8 [side, side, 3] (`testPicture` of web/model.js)."""
    index = np.arange(8 * 8 * 3)
    small = ((index * 37 + (index >> 3) * 91) % 256).astype(np.uint8).reshape(8, 8, 3)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def build(target: Path) -> None:
    """Makes the folder anew."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(WEB, target, ignore=shutil.ignore_patterns("dist"))
    model = liqe_jax.load(EMBEDDED)
    described = liqe_jax.export(model, target / "model.onnx", output="marginals")
    quality = model.score(test_picture(model.encoder.image_size)).quality
    (target / "model.json").write_text(json.dumps({**described, "test_quality": quality}), "utf-8")
    vendor(target / "ort")
    files = sorted(path for path in target.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    kept = [str(path.relative_to(target)) for path in files if path.name not in (*WEBGPU_FILES, "sw.js")]
    version = {"version": f"liqe-{digest.hexdigest()[:16]}", "files": ["./", *kept]}
    (target / "build.js").write_text(f"self.BUILD = {json.dumps(version, indent=1)};\n", "utf-8")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("target", type=Path, help="folder; what is in it is removed")
    build(arguments.parse_args().target)
