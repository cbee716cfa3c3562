"""`liqe synthetic`: shows the distortions that training and rank tests use."""

from __future__ import annotations

import argparse
from pathlib import Path

from liqe_jax.errors import UsageError

HELP = "show synthetic distortions"
DESCRIPTION = "KADID-10k's 25 distortions at five levels."
EPILOG = """\
examples:
  liqe synthetic sheet photo.jpg --output sheet.png
  liqe synthetic list

For a data set of distorted photographs: liqe data prepare synthetic --manual-dir PHOTOS --data-dir O
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    sheet = actions.add_parser("sheet", help="write all 125 distortions of one photograph into one image")
    sheet.add_argument("photo", metavar="PHOTO", help="an image")
    sheet.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help="PNG or JPEG to write")
    sheet.add_argument(
        "--cell", type=int, default=256, metavar="N", help="longest side of each picture on the sheet (256)"
    )
    sheet.add_argument("--seed", type=int, default=0, help="seed of the distortions (default 0)")
    sheet.set_defaults(run=run_sheet)
    listing = actions.add_parser("list", help="print kinds, labels, parameters and mean MOS")
    listing.set_defaults(run=run_list)


def run_sheet(arguments: argparse.Namespace) -> int:
    """Writes the sheet."""
    from PIL import Image

    from liqe_jax.images.decode import DecodeOptions, decode
    from liqe_jax.synthetic.sheet import sheet

    if arguments.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"Expected a name ending in .png, .jpg or .jpeg for --output; got {arguments.output}.")
    pixels = decode(arguments.photo, DecodeOptions(apply_exif=True, white_background=True)).pixels
    page = Image.fromarray(sheet(pixels, cell=arguments.cell, seed=arguments.seed))
    try:
        page.save(arguments.output)
    except OSError as error:
        raise UsageError(f"Cannot write {arguments.output}: {error.strerror}. Choose another --output.") from error
    print(f"{arguments.output}: {page.width}x{page.height}")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Prints the kinds of distortion."""
    from liqe_jax.synthetic import KINDS, LEVELS
    from liqe_jax.synthetic.mos import mean_mos

    for kind in KINDS.values():
        values = "  ".join(
            f"{value:g} ({mean_mos(kind.number, level)[0]:.2f})"
            for level, value in zip(LEVELS, kind.parameters, strict=True)
        )
        print(f"{kind.number:>2} {kind.name:<22} {kind.raw_label:<24} {kind.category:<20} {kind.parameter}: {values}")
    return 0
