"""Exports against the model that they were made from: size, differences of scores, seconds per image.

    python benchmarks/export.py PHOTOS... [--model liqe_nano|vit-b-32] [--count 20] [--rounds 7] [--only NAME...]

PHOTOS are image files or folders. `vit-b-32` is a random CLIP ViT-B/32 with a logit scale of 100, like LIQE's. Each
contender is a process of its own; they take turns, one photograph each, so that a machine whose speed drifts slows all
of them alike. `onnx int8` is `--dtype int8`. That and PyTorch, which is transformers' CLIP of the same sizes, are there
for `vit-b-32` only. Crops are chosen beforehand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CONTENDERS = ("liqe_jax", "stablehlo", "onnx", "onnx int8", "torch")
MODELS = ("liqe_nano", "vit-b-32")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# Quality of one photograph, from its crops [1, P, S, S, 3].
Predict = Callable[[np.ndarray], float]


def random_vit(folder: Path) -> None:
    """Writes the random model in our own format."""
    import jax
    from flax.traverse_util import flatten_dict

    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.weights.checkpoint import Checkpoint
    from liqe_jax.weights.native import write_native
    from liqe_jax.weights.open import with_text_features
    from liqe_jax.weights.provenance import Provenance

    encoder = CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048))
    params = {**jax.jit(encoder.init_params)(jax.random.key(0)), "logit_scale": np.log(np.float32(100))}
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}
    write_native(folder, with_text_features(Checkpoint(flat, encoder, Provenance("vit-b-32")), "joint"))


def ours(path: str) -> Predict:
    """A model of this package, or a StableHLO file."""
    import jax

    import liqe_jax

    model = liqe_jax.load(path, devices=jax.devices()[:1])

    def predict(crops: np.ndarray) -> float:
        count = crops.shape[1]
        (batch,) = model.forward.stream(model.weights, [crops[0]], lambda item: item, batch_size=1, crops=count)
        return float(batch.prediction.values["quality"][0])

    return predict


def onnx(path: str) -> Predict:
    """An ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda crops: float(session.run(["quality"], {"crops": crops})[0][0])


def pytorch(_: str) -> Predict:
    """Transformers' CLIP, random too: its scores are of no interest."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = CLIPVisionConfig(hidden_size=768, intermediate_size=3072, patch_size=32, projection_dim=512)
    model, text = CLIPVisionModelWithProjection(sizes).eval(), torch.randn(495, 512)

    def predict(crops: np.ndarray) -> float:
        with torch.inference_mode():
            pixels = torch.from_numpy(crops[0]).permute(0, 3, 1, 2).float() / 255
            features = torch.nn.functional.normalize(model(pixel_values=pixels).image_embeds, dim=-1)
            joint = (100 * features @ text.T).mean(0).softmax(0).view(5, 99)
            return float(joint.sum(1) @ torch.arange(1.0, 6.0))

    return predict


def work(contender: str, folder: Path) -> None:
    """A contender's process: scores the photograph named on each line of its input, answers with score and seconds."""
    kinds: dict[str, tuple[Callable[[str], Predict], str]] = {
        "liqe_jax": (ours, "original"),
        "stablehlo": (ours, "model.stablehlo"),
        "onnx": (onnx, "model.onnx"),
        "onnx int8": (onnx, "int8.onnx"),
        "torch": (pytorch, ""),
    }
    make, name = kinds[contender]
    predict = make(str(folder / name))
    for line in sys.stdin:
        crops = np.load(folder / f"{line.strip()}.npy")
        began = time.perf_counter()
        quality = predict(crops)
        print(json.dumps([quality, time.perf_counter() - began]), flush=True)


def prepare(model: str, photographs: list[Path], folder: Path, contenders: list[str]) -> None:
    """Writes the model, its exports, and the crops of the photographs."""
    import liqe_jax
    from liqe_jax.weights.native import write_native
    from liqe_jax.weights.open import open_checkpoint

    original = folder / "original"
    if model == "vit-b-32":
        random_vit(original)
    else:
        write_native(original, open_checkpoint(model))
    loaded = liqe_jax.load(original)
    liqe_jax.export(loaded, folder / "model.stablehlo")
    liqe_jax.export(loaded, folder / "model.onnx", output="quality")
    if "onnx int8" in contenders:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # As liqe_jax.export, which refuses liqe_nano.
        quantize_dynamic(folder / "model.onnx", folder / "int8.onnx", weight_type=QuantType.QUInt8)
    for number, path in enumerate(photographs):
        np.save(folder / f"{number}.npy", loaded.crops(path)[None])
    for file in sorted(folder.glob("*.*")):
        if file.suffix in (".onnx", ".stablehlo"):
            print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")


def ask(worker: subprocess.Popen, number: int) -> tuple[float, float]:
    """Score and seconds of one photograph."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{number}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit("A contender stopped; its own error is above.")
    quality, seconds = json.loads(answer)
    return quality, seconds


def report(scores: dict[str, list[float]], seconds: dict[str, list[float]]) -> None:
    """A line for each contender: the largest difference from the original's scores, and the median time."""
    print(f"{'':10} {'largest difference':>18} {'s/image':>8} {'times':>6}")
    base = statistics.median(seconds["liqe_jax"])
    for name, times in seconds.items():
        pairs = zip(scores[name], scores["liqe_jax"], strict=True)
        largest = f"{max(abs(a - b) for a, b in pairs):.1e}" if name != "torch" else "-"
        print(f"{name:10} {largest:>18} {statistics.median(times):8.3f} {base / statistics.median(times):6.2f}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--model", choices=MODELS, default="liqe_nano")
    parser.add_argument("--count", type=int, default=20, help="photographs")
    parser.add_argument("--rounds", type=int, default=7, help="of timing, one photograph each")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work[0], Path(arguments.work[1]))
    found = [file for path in arguments.photos for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    photographs = [path for path in found if path.suffix.lower() in SUFFIXES][: arguments.count]
    if not photographs:
        parser.error("there are no photographs; name files or folders")
    wanted = ["liqe_jax", *(name for name in arguments.only if name != "liqe_jax")]
    if arguments.model != "vit-b-32":
        wanted = [name for name in wanted if name != "torch"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(arguments.model, photographs, folder, wanted)
        command = [sys.executable, __file__, "--work"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = {name: subprocess.Popen([*command, name, temporary], **pipes) for name in wanted}
        try:
            scores = {name: [ask(w, n)[0] for n in range(len(photographs))] for name, w in workers.items()}
            seconds: dict[str, list[float]] = {name: [] for name in workers}
            for number in range(arguments.rounds):
                for name, worker in workers.items():
                    seconds[name].append(ask(worker, number % len(photographs))[1])
        finally:
            for worker in workers.values():
                worker.kill()
                worker.communicate()
    print(f"{arguments.model}, {len(photographs)} photographs, {arguments.rounds} rounds")
    report(scores, seconds)
    return None


if __name__ == "__main__":
    main()
