"""What every test file shares: a strict process, a tiny model, and the reference's figures."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from . import quick_compiling

# Eight virtual CPU devices, before anything imports JAX and fixes their number.
os.environ["XLA_FLAGS"] = (
    f"{quick_compiling.flags()} {os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# What one test has compiled the next need not: in this process, pytest-xdist's, a command's that a test runs, or the
# next run of the tests. JAX names a program after all that it is compiled from, so that old ones are never used.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = Path(__file__).parent.parent / "build" / "compiled"
    for program in COMPILED.glob("*-cache"):
        # JAX cannot write to a folder with a program that has no time of use: of a process that was killed in between,
        # or that ran without the bound below.
        if not program.with_name(f"{program.name.removesuffix('-cache')}-atime").exists():
            program.unlink(missing_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)  # bounded ones are locked: nobody reads half a file

# PyTorch's builds for CUDA bring Triton, which torch.optim imports even on a CPU; after jaxlib it crashes the process.
sys.modules.setdefault("triton", None)

from jaxtyping import install_import_hook

# Shapes and types in the network's annotations are enforced while the tests run.
install_import_hook(["liqe_jax.encoders", "liqe_jax.model"], "beartype.beartype")

import jax
import numpy as np
import pytest
from PIL import Image

from liqe_jax.memory import collect_garbage_rarely, keep_freed_memory, trim
from liqe_jax.scoring.load import load
from liqe_jax.scoring.model import Model
from liqe_jax.weights.checkpoint import Checkpoint
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_text_features
from liqe_jax.weights.provenance import Provenance, TrainingSet

from .tiny import TINY, random_checkpoint

SAMPLES = Path(__file__).parent.parent / "samples"

MOST_BYTES = 4 << 30  # of a process, between two test files

# They come first, in this order. The processes of `make test` take one file after another, and should end together.
LONGEST_FILES = (
    "test_docs",
    "test_train_resume",
    "test_notebook",
    "test_examples",
    "test_train_run",
    "test_scale_ray",
    "test_cli",
    "test_train_step",
    "test_evaluate_run",
    "test_web",
    "test_train_goldens",
    "test_goldens",
)

# As in the commands. Looking for garbage takes a sixth of the time, and fetching freed memory again a twentieth.
collect_garbage_rarely()
keep_freed_memory()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts long files first. Skips parity tests where the reference's figures are absent, which CI does not allow."""
    places = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    if os.environ.get("LIQE_GOLDENS"):
        return
    if os.environ.get("LIQE_REQUIRE_GOLDENS"):
        raise pytest.UsageError("LIQE_REQUIRE_GOLDENS is set but LIQE_GOLDENS names no folder.")
    skip = pytest.mark.skip(reason="set LIQE_GOLDENS to a folder with the reference's figures to run parity tests")
    for item in items:
        if "goldens" in item.keywords:
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before fixtures are made, which compile too."""
    quick_compiling.choose(item)


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Compiled programs, and what they leave to glibc, would be gigabytes at the end of a whole run."""
    yield
    if resident_bytes() > MOST_BYTES:
        jax.clear_caches()
        gc.collect()
        trim()


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say it."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder with the reference's figures."""
    folder = Path(os.environ["LIQE_GOLDENS"])
    assert folder.is_dir(), f"LIQE_GOLDENS names {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def golden_images(goldens: Path) -> Path:
    """The photographs that the figures belong to."""
    return goldens.parent / "images"


@pytest.fixture(scope="session")
def golden(goldens: Path):
    """Reads one of the golden JSON files by name."""
    return lambda name: json.loads((goldens / name).read_text("utf-8"))


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """A tiny random model with LIQE's joint task set and its text features."""
    provenance = Provenance(
        "tiny", "made by the tests", licence="Apache-2.0", trained_on=(TrainingSet("KADID-10k", "session 1"),)
    )
    return with_text_features(random_checkpoint(TINY, provenance))


@pytest.fixture(scope="session")
def model_folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in our own format. Read-only: copy it to damage it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_native(folder, checkpoint)
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> Model:
    """The tiny model on one device."""
    return load(model_folder, devices=jax.devices()[:1])


@pytest.fixture
def photo() -> np.ndarray:
    """A colourful 300x400 picture with structure at all scales, uint8 [H, W, 3]."""
    return photograph(300, 400)


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A random picture with a natural-looking spectrum, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size in (3, 9, 27, 81):
        coarse = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / size**0.5
    total -= total.min()
    return np.rint(total / total.max() * 255).astype(np.uint8)
