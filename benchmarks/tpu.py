"""Compiles the training step and the scoring function for TPUs, without one: memory, traffic, collectives, roofline.

    pip install '.[tpu-compile]'
    python benchmarks/tpu.py --topology v5e:2x4                       the paper's 48 x 3 on eight v5e chips
    python benchmarks/tpu.py --topology v5e:2x4 --what score          scoring, 16 images x 15 crops a chip
    python benchmarks/tpu.py --topology v5p:2x2x1 --encoder ViT-L/14 --images 96 --remat
    python benchmarks/tpu.py --shard-optimizer                        each chip updates a part of the parameters
    python benchmarks/tpu.py --small                                  a tiny encoder, under a minute

XLA compiles for a topology that it is told. Nothing runs: times are bounds that follow from counts and from the peaks
of the chips. The exit status is 1 if the program does not fit into the chips' memory.
"""

from __future__ import annotations

import argparse
import collections
import functools
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.hlo import Traffic, traffic

GIGA, CROPS, SCORED_CROPS = 1e9, 3, 15


class Chip(NamedTuple):
    """Peaks of a chip: bfloat16 operations per second, bytes of HBM, HBM and interconnect bytes per second.

    The interconnect's is the sum of all links of a chip, one direction: a bound that small slices do not reach.
    """

    flops: float
    memory: float
    hbm: float
    links: float


# https://cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, key chip specifications (links are given there in Gbit/s).
CHIPS = {
    "v4": Chip(275e12, 32 * 2**30, 1228e9, 2400e9 / 8),
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 1600e9 / 8),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 4800e9 / 8),
    "v6e": Chip(918e12, 32 * 2**30, 1640e9, 3584e9 / 8),
}


class Compiled(NamedTuple):
    """What the compiler says of one chip's program; bytes."""

    arguments: float
    temporaries: float
    code: float
    flops: float
    xla_bytes: float
    seconds: float
    traffic: Traffic

    @property
    def memory(self) -> float:
        """All that has to fit."""
        return self.arguments + self.temporaries + self.code


def encoder_and_prompts(name: str, devices: int) -> tuple[Any, Any]:
    """An encoder by name, and LIQE's prompts packed for it."""
    import numpy as np

    from liqe_jax.encoders.base import Prompts
    from liqe_jax.encoders.clip import CLIP
    from liqe_jax.encoders.siglip import BASE, SigLIP
    from liqe_jax.encoders.two_towers import TowerConfig
    from liqe_jax.taxonomy import JOINT

    if name == "SigLIP-2-B/16":
        count = len(JOINT.prompts)
        # Token ids do not change what is compiled, so the tokenizer, a download, is not needed.
        rows = np.zeros((count + -count % devices, 64), np.int32)
        return SigLIP(BASE, BASE, 224, 16, 256_000, 64, 768), Prompts(rows, np.arange(count, dtype=np.int32))
    encoder = {
        "ViT-B/32": CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048)),
        "ViT-B/16": CLIP(TowerConfig(768, 12, 12, 3072), TowerConfig(512, 12, 8, 2048), patch_size=16),
        "ViT-L/14": CLIP(
            TowerConfig(1024, 24, 16, 4096), TowerConfig(768, 12, 12, 3072), patch_size=14, projection_dim=768
        ),
        "tiny": CLIP(TowerConfig(64, 2, 2, 128), TowerConfig(64, 2, 2, 128), projection_dim=32),
    }[name]
    return encoder, encoder.prompts(JOINT.prompts, devices=devices)


def lowered_step(arguments: argparse.Namespace, devices: list[Any]) -> Any:
    """The training step as it is run, for these devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from liqe_jax.taxonomy import JOINT
    from liqe_jax.train.losses import Labels, losses_of
    from liqe_jax.train.mapped import Mapped, spread
    from liqe_jax.train.optimizers import find_optimizer
    from liqe_jax.train.plan import Plan
    from liqe_jax.train.settings import LIQE_SETS, default_config
    from liqe_jax.train.step import Batch, initial_state

    encoder, prompts = encoder_and_prompts(arguments.encoder, len(devices))
    plan = Plan(
        encoder,
        JOINT,
        losses_of(JOINT),
        prompts.order,
        len(LIQE_SETS),
        find_optimizer(default_config().optimizer),
        dtype=jnp.dtype(arguments.dtype),
        remat=arguments.remat,
        shard_optimizer=arguments.shard_optimizer,
    )
    images, size = arguments.images // len(devices), encoder.image_size
    shape = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
    labels = Labels(shape((images,)), shape((images,), dtype=np.int32), shape((images, 11)), shape((images, 9)))
    batch = Batch(shape((images, CROPS, size, size, 3), dtype=np.uint8), labels)
    params = jax.eval_shape(encoder.init_params, jax.random.key(0))
    state = jax.eval_shape(lambda tree: initial_state(tree, plan), params)
    state, batch = jax.tree.map(lambda a: shape((len(devices), *a.shape), dtype=a.dtype), (state, batch))
    rows = spread(prompts.rows, len(devices))
    mapped = Mapped(devices, arguments.mapping)
    state = jax.eval_shape(lambda whole: mapped.cut(whole, plan), state)
    return mapped.step(plan).lower(state, batch, rows, shape(()), shape((3,)))


def lowered_scoring(arguments: argparse.Namespace, devices: list[Any]) -> Any:
    """Scoring as `Model` does it, for these devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from liqe_jax.model.predict import predict
    from liqe_jax.scoring.forward import with_kernels_of
    from liqe_jax.taxonomy import JOINT

    encoder, _ = encoder_and_prompts(arguments.encoder, 1)
    mesh = Mesh(np.asarray(devices), ("images",))
    each, same = NamedSharding(mesh, PartitionSpec("images")), NamedSharding(mesh, PartitionSpec())
    params = jax.eval_shape(lambda: with_kernels_of(encoder.init_params(jax.random.key(0)), encoder, arguments.dtype))
    params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=same), params)
    crops = (arguments.images, SCORED_CROPS, encoder.image_size, encoder.image_size, 3)
    function = jax.jit(functools.partial(predict, encoder=encoder, tasks=JOINT, dtype=jnp.dtype(arguments.dtype)))
    return function.lower(
        params,
        jax.ShapeDtypeStruct(crops, np.uint8, sharding=each),
        jax.ShapeDtypeStruct((len(JOINT.prompts), encoder.projection_dim), np.float32, sharding=same),
        crop_mask=jax.ShapeDtypeStruct(crops[:2], np.float32, sharding=each),
    )


def compiled(lowered: Any, dump: str) -> Compiled:
    """Compiles, and asks the compiler."""
    start = time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - start
    memory, costs, text = program.memory_analysis(), program.cost_analysis(), program.as_text()
    if dump:
        Path(dump).write_text(text)
    costs = costs[0] if isinstance(costs, list) else costs
    return Compiled(
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes,
        memory.generated_code_size_in_bytes,
        costs["flops"],
        costs["bytes accessed"],
        seconds,
        traffic(text),
    )


def link_bytes(found: Traffic, devices: int) -> float:
    """Bytes that a chip sends in all collectives, by ring algorithms."""
    share = (devices - 1) / devices
    factor = {"all-reduce": 2 * share, "all-gather": share, "all-to-all": share}
    return sum(
        one.times * one.bytes * factor.get(one.kind, share * (devices if one.kind == "reduce-scatter" else 1))
        for one in found.collectives
    )


def report(result: Compiled, chip: Chip, devices: int, images: int) -> bool:
    """Prints one program; returns whether it fits."""
    found = result.traffic
    fits = result.memory <= chip.memory
    print(f"compiled in {result.seconds:.0f} s; per chip:")
    for name in ("arguments", "temporaries", "code"):
        print(f"  {name:24s} {getattr(result, name) / GIGA:9.3f} GB")
    print(f"  {'together':24s} {result.memory / GIGA:9.3f} GB of {chip.memory / GIGA:.1f}: {'fits' if fits else 'NO'}")
    print(f"  {'arithmetic':24s} {result.flops / GIGA:9.0f} GFLOP")
    print(f"  {'HBM traffic':24s} {found.hbm / GIGA:9.2f} GB")
    print(f"  {'on-chip traffic':24s} {found.chip / GIGA:9.2f} GB")
    print(f"  {'bytes as XLA counts':24s} {result.xla_bytes / GIGA:9.2f} GB, HBM and on-chip together")
    times: collections.Counter[tuple[float, str, str, bool]] = collections.Counter()
    for one in found.collectives:
        times[-one.bytes, one.kind, one.shape, one.asynchronous] += one.times
    for (size, name, shape, asynchronous), count in sorted(times.items()):
        how = "asynchronous" if asynchronous else "synchronous"
        print(f"  {name:24s} {-size / 1e6:9.3f} MB x {count}, {how}, {shape}")
    sent = link_bytes(found, devices)
    bounds = {
        "arithmetic": result.flops / chip.flops,
        "HBM": found.hbm / chip.hbm,
        "interconnect": sent / chip.links,
    }
    print("  least time: " + ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in bounds.items()))
    alone, together = max(bounds.values()), sum(bounds.values())
    print(
        f"  roofline: {alone * 1e3:.1f} ms if all three overlap, {together * 1e3:.1f} ms if nothing does; "
        f"{images / together:.0f} to {images / alone:.0f} images/s on {devices} chips"
    )
    return fits


def scaling(result: Compiled, chip: Chip, devices: int, images: int) -> None:
    """Estimates for more chips of the kind: the parts that depend on the number of images are scaled."""
    # Parameters and moments are read and written in every step whatever the number of images: what stays in HBM
    # between steps counts once as read and once as written, gradients twice (made, reduced).
    fixed = min(2 * result.arguments + 4 * result.arguments / 3, result.traffic.hbm)
    sent = link_bytes(result.traffic, devices) * devices / max(devices - 1, 1)
    print("scaling, estimated; ms a step if nothing overlaps")
    print("  chips  weak (images)    strong (images)")
    for chips in (4, 8, 16, 32, 64, 128, 256):
        if chips < devices:
            continue
        links = sent * (chips - 1) / chips / chip.links
        weak = result.flops / chip.flops + result.traffic.hbm / chip.hbm + links
        ratio = devices / chips
        hbm = fixed + (result.traffic.hbm - fixed) * ratio
        strong = ratio * result.flops / chip.flops + hbm / chip.hbm + links
        shown = f"{strong * 1e3:8.1f} ({images})" if chips <= images else "       - fewer images than chips"
        print(f"  {chips:5d}  {weak * 1e3:8.1f} ({images * chips // devices})  {shown}")


def main() -> None:
    """Reads the arguments, compiles and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x4", help="kind:shape, such as v4:2x2x1, v5p:2x2x1 or v6e:2x4")
    parser.add_argument("--images", type=int, help="of all chips; default 48, to score 16 a chip")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument(
        "--encoder", default="ViT-B/32", choices=("ViT-B/32", "ViT-B/16", "ViT-L/14", "SigLIP-2-B/16", "tiny")
    )
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--shard-optimizer", action="store_true", help="config.shard_optimizer, which is ZeRO-1")
    parser.add_argument("--mapping", default="pmap", choices=("pmap", "shard_map"))
    parser.add_argument("--what", default="train", choices=("train", "score"))
    parser.add_argument("--small", action="store_true", help="the tiny encoder, 8 images, training and scoring")
    parser.add_argument("--dump", default="", help="file for the optimized HLO")
    arguments = parser.parse_args()
    kind = arguments.topology.partition(":")[0]
    if kind not in CHIPS:
        parser.error(f"--topology must begin with one of {', '.join(CHIPS)}; got {arguments.topology!r}.")
    if importlib.util.find_spec("libtpu") is None:
        print("Skipped: libtpu is not installed. It has wheels for Linux on x86-64: pip install '.[tpu-compile]'")
        return

    # libtpu asks the metadata server of a TPU VM unless it is told; ALLOW_... lets several processes load it.
    os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    os.environ |= {"TPU_ACCELERATOR_TYPE": "v5litepod-8", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
    import jax
    from jax.experimental import topologies

    devices = list(topologies.get_topology_desc(platform="tpu", topology_name=arguments.topology).devices)
    if arguments.small:
        arguments.encoder, arguments.images = "tiny", arguments.images or len(devices)
    fits = True
    for what in ("train", "score") if arguments.small else (arguments.what,):
        chosen = argparse.Namespace(**vars(arguments))
        chosen.images = arguments.images or (48 if what == "train" else 16 * len(devices))
        if chosen.images % len(devices):
            parser.error(f"--images must be a multiple of the {len(devices)} devices; got {chosen.images}.")
        print(f"{what}: {chosen.encoder}, {chosen.images} images, {chosen.dtype}, {arguments.topology}, ", end="")
        print(f"{len(devices)} devices, jax {jax.__version__}, {chosen.mapping if what == 'train' else 'jit'}")
        lowered = (lowered_step if what == "train" else lowered_scoring)(chosen, devices)
        try:
            result = compiled(lowered, arguments.dump)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"  does not fit: {str(error).splitlines()[0][:300]}")
            fits = False
            continue
        fits &= report(result, CHIPS[kind], len(devices), chosen.images)
        if what == "train":
            scaling(result, CHIPS[kind], len(devices), chosen.images)
    sys.exit(0 if fits else 1)


if __name__ == "__main__":
    main()
