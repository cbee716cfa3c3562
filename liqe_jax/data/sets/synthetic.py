"""Your own pristine photographs with KADID-10k's 125 distortions; MOS are KADID-10k's means."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from liqe_jax.data.labelled import SPLITS
from liqe_jax.data.sets.files import IMAGE_SUFFIXES, FileIndex
from liqe_jax.data.sets.spec import SESSIONS, DataSetSpec, Option, Options, Row, SetLabels
from liqe_jax.errors import DataError
from liqe_jax.images.decode import DecodeOptions, decode

# Shares of the photographs for training, validation and test, as LIQE divides KADID-10k.
SHARES = (0.7, 0.1, 0.2)

# Decoded photographs in the cache while their copies are created; there are about as many threads as cores.
CACHED = 8

OPTIONS = (
    Option("kinds", "kinds of distortion, 1 to 25 (default: all)", parse=int, words="+", metavar="K"),
    Option("levels", "levels, 1 to 5 (default: all)", parse=int, words="+", metavar="L"),
    Option(
        "varied",
        "N varied copies of each photograph instead of all kinds and levels: implementations, levels between, "
        "sizes, re-encoding; and the photograph itself",
        default=0,
        parse=int,
        metavar="N",
    ),
    Option("seed", "of distortions and sessions (default: 0)", default=0, parse=int, metavar="S"),
)


def read(spec: DataSetSpec, index: FileIndex, options: Options) -> SetLabels:
    """Lists a row for each photograph, kind and level."""
    from liqe_jax.synthetic import KINDS, LEVELS
    from liqe_jax.synthetic.mos import mean_mos
    from liqe_jax.synthetic.varied import PRISTINE_MOS, copies_of

    kinds, levels = options["kinds"] or tuple(KINDS), options["levels"] or LEVELS
    if not set(kinds) <= set(KINDS) or not set(levels) <= set(LEVELS) or min(options["seed"], options["varied"]) < 0:
        raise DataError(
            f"Expected kinds from 1 to {len(KINDS)}, levels from 1 to {len(LEVELS)} and a seed and a number of "
            f"varied copies of at least 0; got kinds {kinds}, levels {levels}, seed {options['seed']}, varied "
            f"{options['varied']}."
        )
    photographs = [path.relative_to(index.root).as_posix() for path in index.with_suffix(*IMAGE_SUFFIXES)]
    if not photographs:
        raise index.missing("photograph (" + ", ".join(IMAGE_SUFFIXES) + ")")
    splits = divide(sorted(photographs), options["seed"])
    rows = []
    for photograph in sorted(photographs):
        if options["varied"]:
            cells = [(c.kind, c.level) for c in copies_of(options["varied"], seed_of(photograph, options))]
            names = [f"{photograph}/{number:03d}" for number in range(len(cells))]
        else:
            cells = [(kind, float(level)) for kind in sorted(set(kinds)) for level in sorted(set(levels))]
            names = [name_of(photograph, kind, int(level)) for kind, level in cells]
        for name, (kind, level) in zip(names, cells, strict=True):
            mos = mean_mos(kind, level)[0] if kind else PRISTINE_MOS
            label = KINDS[kind].raw_label if kind else ""
            rows.append(Row(name, mos, label, reference=photograph, splits=splits[photograph]))
    note = f"{len(photographs)} photographs; MOS are means by kind and level, these images were not rated."
    return SetLabels(rows, (note,))


def seed_of(photograph: str, options: Options) -> np.random.SeedSequence:
    """The seed of a photograph, which does not depend on the other photographs in the folder."""
    return np.random.SeedSequence([options["seed"], zlib.crc32(photograph.encode("utf-8", "surrogateescape"))])


def divide(photographs: list[str], seed: int) -> dict[str, dict[str, str]]:
    """The split of each photograph, with all its copies, in each of ten sessions."""
    splits: dict[str, dict[str, str]] = {photograph: {} for photograph in photographs}
    ends = [round(len(photographs) * share) for share in np.cumsum(SHARES)]
    for session in SESSIONS:
        order = np.random.default_rng(np.random.SeedSequence([seed, int(session)])).permutation(len(photographs))
        for place, position in enumerate(order.tolist()):
            split = SPLITS[sum(place >= end for end in ends[:-1])]
            splits[photographs[position]][session] = split
    return splits


def name_of(photograph: str, kind: int, level: int) -> str:
    """The name of a distorted copy: <path of the photograph>/<kind>_<level>."""
    return f"{photograph}/{kind:02d}_{level:02d}"


def maker(options: Options) -> Callable[[Path, str], UInt8[np.ndarray, "H W 3"]]:
    """Returns a function of a photograph's file and a copy's name that creates the copy."""
    from liqe_jax.synthetic import distort
    from liqe_jax.synthetic.varied import LARGEST_SIDE, LONGEST_SIDE, copies_of, make_copy

    @functools.lru_cache(CACHED)
    def photograph(path: Path) -> Image.Image:
        picture = Image.fromarray(decode(path, DecodeOptions(apply_exif=True)).pixels)
        side = LARGEST_SIDE if options["varied"] else LONGEST_SIDE
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return picture

    def make(path: Path, name: str) -> UInt8[np.ndarray, "H W 3"]:
        reference, _, copy = name.rpartition("/")
        seed = seed_of(reference, options)
        if options["varied"]:
            chosen = copies_of(options["varied"], seed)[int(copy)]
            return make_copy(photograph(path), chosen, np.random.default_rng([seed.generate_state(1)[0], int(copy)]))
        kind, level = (int(number) for number in copy.split("_"))
        pixels = np.asarray(photograph(path)).astype(np.float32) / 255
        return np.rint(distort(pixels, kind, level, int(seed.generate_state(1)[0])) * 255).astype(np.uint8)

    return make
