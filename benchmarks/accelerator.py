"""Scoring and training on the accelerator that is here: speed, fraction of its peak, memory, parity with the CPU.

    python benchmarks/accelerator.py [--output accelerator.json]      at most five minutes on a GPU or TPU
    python benchmarks/accelerator.py --small                          a tiny encoder, on any device

Weights are random; time and memory do not depend on them. All local devices work together. A row is left out, with the
reason in its place, if the device has too little memory or if the time is used up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.tpu import CHIPS, CROPS, SCORED_CROPS, encoder_and_prompts

# Peak operations per second in bfloat16 (T4: float16) by JAX's name of the device. NVIDIA's data sheets of the T4
# (65 TFLOP/s), L4 (121), A100 (312), H100 and H200 SXM (989), without sparsity; TPUs as in benchmarks/tpu.py.
PEAKS = {
    "T4": 65e12,
    "L4": 121e12,
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "TPU v4": CHIPS["v4"].flops,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
}


def peak_of(kind: str) -> float | None:
    """Peak of a device by the longest known part of its name; None where it is not known."""
    known = [name for name in PEAKS if name in kind]
    return PEAKS[max(known, key=len)] if known else None


def random_params(encoder: Any) -> Any:
    """Small random parameters, made by NumPy."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(encoder.init_params, jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.02, a.shape).astype(np.float32), shapes)


def timed(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call that waits for its result, after one call that does not count."""
    call()
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 3 or (time.monotonic() < end and len(times) < 50):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def scoring(name: str, dtype: str, images: int, seconds: float) -> dict[str, float]:
    """Images per second of `predict` on all local devices, and how far it is from float32 on the CPU."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from liqe_jax.model.predict import predict
    from liqe_jax.scoring.forward import Forward, with_kernels_of
    from liqe_jax.taxonomy import JOINT

    encoder, _ = encoder_and_prompts(name, 1)
    params, rng = random_params(encoder), np.random.default_rng(1)
    text = rng.normal(size=(len(JOINT.prompts), encoder.projection_dim)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    size = encoder.image_size
    crops = rng.integers(0, 256, (images * jax.local_device_count(), SCORED_CROPS, size, size, 3), np.uint8)
    forward = Forward(encoder, JOINT, dtype, jax.local_devices())
    weights = forward.place(with_kernels_of(jax.tree.map(jnp.asarray, params), encoder, dtype), text)
    items = list(crops)

    def score() -> Any:
        batches = forward.stream(weights, items, lambda item: item, batch_size=len(items), crops=SCORED_CROPS)
        return np.concatenate([batch.prediction.values["quality"] for batch in batches])

    took, quality = timed(score, seconds), score()
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        expected = predict(params, crops[:1], text, encoder=encoder, tasks=JOINT).values["quality"]
    return {
        "images_per_second": len(items) / took,
        "seconds": took,
        "largest_difference_from_cpu": float(np.abs(quality[:1] - np.asarray(expected)).max()),
    }


def training(name: str, dtype: str, images: int, seconds: float) -> dict[str, float]:
    """Seconds of a training step on all local devices, and the fraction of their peak."""
    import jax
    import numpy as np

    from liqe_jax.taxonomy import JOINT
    from liqe_jax.train.losses import Labels, losses_of
    from liqe_jax.train.mapped import Mapped, spread
    from liqe_jax.train.optimizers import find_optimizer
    from liqe_jax.train.plan import Plan
    from liqe_jax.train.settings import default_config
    from liqe_jax.train.step import Batch, initial_state

    devices = jax.local_devices()
    images *= len(devices)
    encoder, prompts = encoder_and_prompts(name, len(devices))
    optimizer = find_optimizer(default_config().optimizer)
    plan = Plan(encoder, JOINT, losses_of(JOINT), prompts.order, 1, optimizer, dtype=jax.numpy.dtype(dtype))
    rng, size = np.random.default_rng(2), encoder.image_size
    labels = Labels(
        rng.normal(size=images).astype(np.float32),
        np.zeros(images, np.int32),
        np.eye(11, dtype=np.float32)[np.arange(images) % 11],
        np.eye(9, dtype=np.float32)[np.arange(images) % 9],
    )
    crops = rng.integers(0, 256, (images, CROPS, size, size, 3), np.uint8)
    mapped = Mapped(devices)
    state = mapped.replicate(initial_state(random_params(encoder), plan))
    batch, rows = (
        mapped.place(spread(Batch(crops, labels), len(devices))),
        mapped.place(spread(prompts.rows, len(devices))),
    )
    rest = batch, rows, np.float32(5e-6), np.ones(len(plan.losses), np.float32)
    step = mapped.step(plan).lower(state, *rest).compile()
    costs = step.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    current = [state]

    def take() -> None:
        current[0], metrics = step(current[0], *rest)
        jax.block_until_ready(metrics.grad_norm)

    took, peak = timed(take, seconds), peak_of(devices[0].device_kind)
    result = {"images_per_second": images / took, "seconds": took, "flops_per_device": costs.get("flops", 0.0)}
    if peak:
        result["fraction_of_peak"] = result["flops_per_device"] / took / peak
    return result


def measure(names: list[str], limit: float, images: int) -> list[dict[str, Any]]:
    """All rows that fit into the time and the memory."""
    import jax

    device, start, rows = jax.local_devices()[0], time.monotonic(), []
    works = [(what, name, dtype) for name in names for what in (scoring, training) for dtype in ("float32", "bfloat16")]
    for what, name, dtype in works:
        row: dict[str, Any] = {"what": what.__name__, "encoder": name, "dtype": dtype}
        if time.monotonic() - start > limit:
            row["left_out"] = "the time was used up"
        else:
            try:
                row |= what(name, dtype, images, limit / len(works) / 4)
                memory = device.memory_stats() or {}
                row |= {"peak_bytes": memory["peak_bytes_in_use"]} if "peak_bytes_in_use" in memory else {}
            except jax.errors.JaxRuntimeError as error:
                row["left_out"] = str(error).splitlines()[0][:200]
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown; what was not measured is empty."""
    columns = ("what", "encoder", "dtype", "images_per_second", "seconds", "fraction_of_peak", "peak_bytes")
    columns += ("largest_difference_from_cpu", "left_out")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [f"{row[name]:.4g}" if isinstance(row.get(name), float) else str(row.get(name, "")) for name in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="accelerator.json")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds after which nothing new is begun")
    parser.add_argument("--images", type=int, default=6, help="per device and call")
    parser.add_argument("--small", action="store_true", help="a tiny encoder, one image per device")
    arguments = parser.parse_args()
    import jax

    names, images = (["tiny"], 1) if arguments.small else (["ViT-B/32", "ViT-L/14"], arguments.images)
    rows = measure(names, arguments.limit, images)
    devices = jax.local_devices()
    found = {"device": devices[0].device_kind, "devices": len(devices), "jax": jax.__version__, "rows": rows}
    Path(arguments.output).write_text(json.dumps(found, indent=2) + "\n")
    print(f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
