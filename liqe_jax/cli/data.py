"""`liqe data`: prepare, list, verify and preview data sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from liqe_jax.cli.flags import quiet_libraries
from liqe_jax.cli.settings import number_from_1
from liqe_jax.data.sets import find_spec, specs
from liqe_jax.data.sets.spec import Option
from liqe_jax.messages import LONGEST_TABLE, printable

HELP = "prepare data sets"
DESCRIPTION = "Prepare data sets for training and evaluation."
EPILOG = """\
examples:
  liqe data list
  liqe data prepare kadid10k --manual-dir ~/downloads/kadid10k --data-dir ~/iqa --labels ~/LIQE
  liqe data prepare folder_csv --manual-dir photos --data-dir ~/iqa --name my_photos
  liqe data prepare synthetic --manual-dir pristine --data-dir ~/iqa --name my_distorted
  liqe data verify kadid10k --data-dir ~/iqa
  liqe data preview kadid10k --data-dir ~/iqa --output sheet.png

Most data sets must be requested or downloaded by hand; `liqe data list NAME` shows where. --labels is
a checkout of github.com/zwx8981/LIQE, whose label files have scenes, distortions and ten sessions.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="list the data sets, or describe one")
    listing.add_argument("name", metavar="NAME", nargs="?", help="a data set, to show its source, licence and files")
    listing.set_defaults(run=run_list)

    prepare = actions.add_parser("prepare", help="read, check and store the files of a data set")
    prepare.add_argument("name", metavar="NAME", help="a name of `liqe data list`")
    prepare.add_argument(
        "--manual-dir", type=Path, required=True, metavar="D", help="folder with the unpacked files of the set"
    )
    _add_data_dir(prepare)
    prepare.add_argument("--allow-missing", action="store_true", help="exclude missing and unreadable images")
    prepare.add_argument("--workers", type=number_from_1(), metavar="N", help="threads (default: one per core)")
    prepare.add_argument("--name", dest="own_name", metavar="NAME", help="name of a set of your own")
    for option, slugs in _set_options().items():
        kind: dict[str, Any] = {"type": option.parse, "metavar": option.metavar}
        kind |= {} if option.words == 1 else {"nargs": option.words}
        if not option.words:
            kind = {"action": "store_true", "default": None}
        prepare.add_argument(option.flag, help=f"{', '.join(slugs)}: {option.help}", **kind)
    prepare.add_argument("--quiet", action="store_true", help="no progress bar")
    prepare.set_defaults(run=run_prepare)

    verify = actions.add_parser("verify", help="read all stored images and compare hashes")
    verify.add_argument("name", metavar="NAME", help="a prepared data set")
    _add_data_dir(verify)
    verify.add_argument("--quiet", action="store_true", help="no progress bar")
    verify.set_defaults(run=run_verify)

    preview = actions.add_parser("preview", help="write a sheet of images with their labels")
    preview.add_argument("name", metavar="NAME", help="a prepared data set")
    _add_data_dir(preview)
    preview.add_argument("--output", type=Path, required=True, metavar="FILE", help="PNG or JPEG to write")
    preview.add_argument("--count", type=number_from_1(), default=20, metavar="N", help="images (default: 20)")
    preview.set_defaults(run=run_preview)


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, required=True, metavar="O", help="folder of prepared data sets")


def _set_options() -> dict[Option, list[str]]:
    """All options that data sets declare, with the short names of those sets."""
    users: dict[Option, list[str]] = {}
    for spec in specs().values():
        for option in spec.all_options:
            users.setdefault(option, []).append(spec.slug)
    return users


def run_list(arguments: argparse.Namespace) -> int:
    """Prints the list or a page."""
    if arguments.name:
        print(find_spec(arguments.name).summary())
        return 0
    for spec in specs().values():
        count = "" if spec.count is None else f"{spec.count:,} images"
        labels = "LIQE's labels, ten sessions" if spec.liqe else ""
        print(f"{spec.slug:<12} {count:>15}  {labels:<28} {spec.url}".rstrip())
    return 0


def run_prepare(arguments: argparse.Namespace) -> int:
    """Prepares a data set."""
    quiet_libraries()
    from liqe_jax.data.prepare.run import prepare

    given = {option.name: value for option in _set_options() if (value := vars(arguments)[option.name]) is not None}
    folder, report = prepare(
        arguments.name,
        arguments.manual_dir,
        arguments.data_dir,
        {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()},
        own_name=arguments.own_name,
        allow_missing=arguments.allow_missing,
        workers=arguments.workers,
        quiet=arguments.quiet,
    )
    print(printable(report.text(), LONGEST_TABLE, keep="\n"))
    print(f"Written to {folder}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Prints corrupt images; returns 1 if there are any."""
    from liqe_jax.data.prepare.verify import verify

    verified = verify(arguments.name, arguments.data_dir, arguments.quiet)
    for name, fault in verified.faults.items():
        print(f"{printable(name)}: {printable(fault, 1000)}")
    print(f"{verified.count - len(verified.faults)} of {verified.count} images are unchanged.")
    return 1 if verified.faults else 0


def run_preview(arguments: argparse.Namespace) -> int:
    """Writes the sheet."""
    from liqe_jax.data.prepare.preview import write_sheet
    from liqe_jax.data.reading.prepared import load_set

    prepared = load_set(arguments.name, arguments.data_dir)
    shown = write_sheet(prepared, arguments.output, arguments.count)
    print(f"{arguments.output}: {shown} of {len(prepared)} images of {prepared.name}, worst first")
    return 0
