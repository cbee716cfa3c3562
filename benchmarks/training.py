"""A training step against PyTorch doing the reference's, in one run; memory, arithmetic, devices.

    python benchmarks/training.py [--rounds 3]          4 images x 3 crops, float32: time, peak memory
    python benchmarks/training.py --full                the paper's 48 x 3 with micro-batches
    python benchmarks/training.py --devices             overhead of 1, 2, 4, 8 virtual devices
    python benchmarks/training.py --sharing             forms of encoding the 495 prompts
    python benchmarks/training.py --loop                a step within the loop against the bare one (loop.py)

The peer is transformers' CLIPModel in PyTorch taking the reference's step: all 495 prompts padded to 77
tokens, both towers, the three losses, AdamW. Contenders are processes of their own and take turns. Weights
are random ViT-B/32; time does not depend on them. Peak memory is the process's, everything included.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CROPS, PROMPT_LENGTH, PROMPTS = 3, 77, 495
GIGA = 1e9


def liqe_step(
    images: int,
    dtype: str,
    micro_batches: int,
    remat: bool,
    devices: int = 1,
    small: bool = False,
    mapping: str = "pmap",
) -> Callable[[], float]:
    """Our step, compiled; calling it takes one."""
    from liqe_jax.memory import return_freed_memory
    from liqe_jax.train.mapped import compiled_ahead

    return_freed_memory()
    import jax
    import numpy as np

    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.taxonomy import JOINT
    from liqe_jax.train.losses import Labels, losses_of
    from liqe_jax.train.mapped import Mapped, spread
    from liqe_jax.train.optimizers import find_optimizer
    from liqe_jax.train.plan import Plan
    from liqe_jax.train.settings import default_config
    from liqe_jax.train.step import Batch, initial_state

    encoder = CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048))
    if small:
        encoder = CLIP(TowerConfig(64, 2, 2, 128), TowerConfig(64, 2, 2, 128), projection_dim=32)
    prompts = encoder.prompts(JOINT.prompts, devices=devices)
    groups = min(images // 2, 6)
    plan = Plan(
        encoder,
        JOINT,
        losses_of(JOINT),
        prompts.order,
        groups,
        find_optimizer(default_config().optimizer),
        dtype=np.dtype(dtype) if dtype == "float32" else jax.numpy.bfloat16,
        remat=remat,
        micro_batches=micro_batches,
    )
    rng = np.random.default_rng(0)
    batch = Batch(
        rng.integers(0, 256, (images, CROPS, 224, 224, 3), np.uint8),
        Labels(
            rng.normal(size=images).astype(np.float32),
            np.arange(images, dtype=np.int32) % groups,
            np.eye(11, dtype=np.float32)[np.arange(images) % 11],
            np.eye(9, dtype=np.float32)[np.arange(images) % 9],
        ),
    )
    batch = jax.tree.map(lambda a: a.reshape(devices, -1, *a.shape[1:]), batch)
    local = jax.local_devices()[:devices]
    # Random numbers made by NumPy: JAX's initialisers would leave 1.4 GB of scratch behind.
    shapes = jax.eval_shape(encoder.init_params, jax.random.key(0))
    params = jax.tree.map(lambda a: rng.normal(0, 0.02, a.shape).astype(np.float32), shapes)
    mapped = Mapped(local, mapping)
    state = [mapped.replicate(jax.jit(lambda tree: initial_state(tree, plan))(params))]
    del params
    rows, weights = spread(prompts.rows, devices), np.ones(3, np.float32)
    rest = batch, rows, np.float32(5e-6), weights
    step = compiled_ahead(mapped.step(plan), state[0], *rest)

    def take() -> float:
        state[0], metrics = step(state[0], *rest)
        return float(metrics.grad_norm[0])

    return take


def torch_step(images: int) -> Callable[[], float]:
    """The reference's step with transformers' CLIPModel."""
    import numpy as np
    import torch
    from transformers import CLIPConfig, CLIPModel

    from liqe_jax.taxonomy import JOINT
    from liqe_jax.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig()).eval()
    model.logit_scale.requires_grad = False
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-6, weight_decay=1e-3)
    token_ids = torch.as_tensor(Tokenizer.default()(JOINT.prompts), dtype=torch.long)
    rng = np.random.default_rng(0)
    pixels = torch.as_tensor(rng.normal(size=(images * CROPS, 3, 224, 224)).astype(np.float32))
    mos = torch.as_tensor(rng.normal(size=images).astype(np.float32))
    levels = torch.arange(1, 6, dtype=torch.float32)
    first, second = torch.triu_indices(images, images, offset=1)

    def features(output) -> torch.Tensor:
        vectors = getattr(output, "pooler_output", output)
        return vectors / vectors.norm(dim=-1, keepdim=True)

    def fidelity(p, g):
        return 1 - torch.sqrt(p * g + 1e-8) - torch.sqrt((1 - p) * (1 - g) + 1e-8)

    def take() -> float:
        optimizer.zero_grad()
        image = features(model.get_image_features(pixel_values=pixels))
        text = features(model.get_text_features(input_ids=token_ids))
        logits = (model.logit_scale.exp() * image @ text.T).reshape(images, CROPS, -1).mean(1)
        joint = logits.softmax(-1).reshape(images, 5, 9, 11)
        quality = joint.sum((2, 3)) @ levels
        p = 0.5 * (1 + torch.erf((quality[first] - quality[second]) / 2**0.5))
        g = (torch.sign(mos[first] - mos[second]) + 1) / 2
        scenes = torch.eye(9)[torch.arange(images) % 9]
        distortions = torch.eye(11)[torch.arange(images) % 11]
        loss = (
            fidelity(p, g).mean()
            + fidelity(joint.sum((1, 3)), scenes).mean()
            + (1 - torch.sqrt(joint.sum((1, 2)) * distortions + 1e-8).sum(-1)).mean()
        )
        loss.backward()
        optimizer.step()
        return loss.item()

    return take


def arithmetic(images: int, text_tokens: int, vision_tokens: int = 50) -> float:
    """Operations of products with weights in a step of a ViT-B/32: forward once, backward twice that."""
    vision = 12 * 12 * 768**2 * 2 * vision_tokens * images * CROPS
    embedding = 2 * 32 * 32 * 3 * 768 * (vision_tokens - 1) * images * CROPS
    text = 12 * 12 * 512**2 * 2 * text_tokens
    return 3 * (vision + text) + 2 * embedding


def peak_gigabytes() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGA


def matrix_speed() -> float:
    """Float32 GFLOP/s of XLA on a product of this model's shapes, here and now."""
    import jax
    import jax.numpy as jnp

    x, w = jnp.ones((2400, 768)), jnp.ones((768, 3072))
    product = jax.jit(jnp.matmul)
    product(x, w).block_until_ready()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        product(x, w).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * 2400 * 768 * 3072 / statistics.median(times) / GIGA


def work(arguments: argparse.Namespace) -> None:
    """A contender: builds its step, then takes one whenever a line arrives, and answers with its seconds."""
    name = arguments.contender
    if name == "torch":
        take = torch_step(arguments.images)
    else:
        take = liqe_step(
            arguments.images,
            name.split()[1],
            arguments.micro_batches,
            arguments.remat,
            arguments.count,
            arguments.small,
        )
    take()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        take()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "gigabytes": peak_gigabytes(), "speed": 0}), flush=True)


class Contender:
    """A process that takes a step when it is told to."""

    def __init__(self, name: str, images: int, *options: str, devices: int = 1):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, __file__, "--contender", name, "--images", str(images), "--count", str(devices)]
        self.name, self.times, self.gigabytes = name, [], 0.0
        self._process = subprocess.Popen(
            [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        while self._process.stdout.readline().strip() != "ready":
            if self._process.poll() is not None:
                raise RuntimeError(f"{name} ended with {self._process.returncode}")

    def turn(self) -> None:
        """One step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        self.times.append(answer["seconds"])
        self.gigabytes = answer["gigabytes"]

    def median(self) -> float:
        """Seconds per step."""
        return statistics.median(self.times)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def measure(name: str, rounds: int) -> Contender:
    """A contender's times; alone on the machine, since PyTorch's step takes 22 GB."""
    contender = Contender(name, 4)
    for _ in range(rounds):
        contender.turn()
    contender.close()
    return contender


def compare(rounds: int, torch_rounds: int) -> None:
    """4 x 3: ours in both precisions against PyTorch, ours before and after it."""
    names = ("liqe float32", "liqe bfloat16")
    ours = {name: measure(name, rounds) for name in names}
    peer = measure("torch", torch_rounds) if torch_rounds else None
    for name in names if peer else ():
        ours[name].times += measure(name, rounds).times
    if peer:
        print(f"{peer.name:16s} {peer.median():8.2f} s  {peer.gigabytes:5.2f} GB")
    for contender in ours.values():
        ratio = f"{peer.median() / contender.median():6.2f} x PyTorch" if peer else ""
        print(f"{contender.name:16s} {contender.median():8.2f} s  {contender.gigabytes:5.2f} GB  {ratio}")
    single = ours["liqe float32"].median()
    print(f"bfloat16 is {single / ours['liqe bfloat16'].median():.2f} x our float32")
    operations, speed = arithmetic(4, packed_tokens()), matrix_speed()
    least = operations / GIGA / speed
    print(
        f"arithmetic: reference {arithmetic(4, PROMPTS * PROMPT_LENGTH) / 1e12:.2f} TFLOP, "
        f"ours {operations / 1e12:.2f}; at {speed:.0f} GFLOP/s that is {least:.2f} s, {least / single:.0%} of our time"
    )


def packed_tokens(devices: int = 1) -> int:
    """Text tokens of a step, padding included."""
    from liqe_jax.encoders.clip_prompts import pack_for_devices
    from liqe_jax.taxonomy import JOINT
    from liqe_jax.text.tokenizer import Tokenizer

    return pack_for_devices(Tokenizer.default()(JOINT.prompts), 49407, devices, 512).rows.token_ids.size


def full(rounds: int, micro_batches: int) -> None:
    """The paper's step."""
    ours = Contender("liqe float32", 48, "--micro-batches", str(micro_batches))
    for _ in range(rounds):
        ours.turn()
    ours.close()
    # Micro-batches encode the images once more.
    extra = 12 * 12 * 768**2 * 2 * 50 * 48 * CROPS if micro_batches > 1 else 0
    operations, speed = arithmetic(48, packed_tokens()) + extra, matrix_speed()
    print(
        f"48 x {CROPS}, {micro_batches} micro-batches: {ours.median():.1f} s, {ours.gigabytes:.2f} GB; "
        f"{operations / 1e12:.2f} TFLOP at {speed:.0f} GFLOP/s are {operations / GIGA / speed:.1f} s: "
        f"{ours.median() * speed * GIGA / operations:.2f} of it"
    )


def scaling(rounds: int) -> None:
    """What several devices cost beside the work itself, with a model so small that it is nearly all cost."""
    base = None
    for devices in (1, 2, 4, 8):
        contender = Contender("liqe float32", 8, "--small", devices=devices)
        for _ in range(rounds):
            contender.turn()
        contender.close()
        base = base or contender.median()
        print(f"{devices} devices: {contender.median() * 1e3:7.1f} ms a step, {contender.median() / base:.2f} of one")


def sharing(rounds: int) -> None:
    """Forward and backward of the text tower alone, in each form."""
    import jax
    import numpy as np

    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.clip_prompts import PackedRows, pack_prompts
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.taxonomy import JOINT
    from liqe_jax.text.tokenizer import Tokenizer

    encoder = CLIP(TowerConfig(64, 1, 1, 64), TowerConfig(512, 12, 8, 2048))
    rest = jax.jit(encoder.init_params)(jax.random.key(0))
    params = rest["text_model"]
    ids = Tokenizer.default()(JOINT.prompts)
    ids = ids[:, :24]
    alone = PackedRows(
        ids,
        np.broadcast_to(np.arange(24, dtype=np.int32), ids.shape),
        np.tril(np.ones((1, 24, 24), bool)),
        np.argmax(ids == encoder.eos_token_id, axis=1)[:, None],
    )
    forms: dict[str, Callable] = {
        "one row per prompt, 24 positions": lambda p: encoder.text_features(p, alone)[:, 0],
    }
    for length in (24, 64, 128, 256, 512, 1024):
        packed = pack_prompts(ids, 49407, length)
        rows, columns = packed.rows.token_ids.shape
        forms[f"tree mask, {rows} rows of {columns}"] = functools.partial(encoder.encode_prompts, prompts=packed)
    probe = jax.random.normal(jax.random.key(1), (len(ids), encoder.projection_dim))
    steps = {}
    for name, form in forms.items():
        steps[name] = jax.jit(jax.grad(lambda p, form=form: (form({**rest, "text_model": p}) * probe).sum()))
        jax.block_until_ready(steps[name](params))
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(params))
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{statistics.median(seconds):6.2f} s  {name}")


def main() -> None:
    """Chooses what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch-rounds", type=int, default=2, help="a PyTorch step takes minutes; 0 leaves it out")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--devices", action="store_true")
    parser.add_argument("--sharing", action="store_true")
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument("--micro-batches", type=int, default=0, help="of --full; default 12")
    parser.add_argument("--remat", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        arguments.micro_batches = arguments.micro_batches or 1
        work(arguments)
    elif arguments.full:
        full(arguments.rounds, arguments.micro_batches or 12)
    elif arguments.devices:
        scaling(max(arguments.rounds, 5))
    elif arguments.loop:
        subprocess.run([sys.executable, Path(__file__).with_name("loop.py")], check=True)
    elif arguments.sharing:
        sharing(arguments.rounds)
    else:
        compare(arguments.rounds, arguments.torch_rounds)


if __name__ == "__main__":
    main()
