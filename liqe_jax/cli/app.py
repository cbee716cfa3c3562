"""`liqe app`: a local web page to try a model."""

from __future__ import annotations

import argparse
import signal

from liqe_jax.cli.settings import add_model_options, add_preprocess_option, load_model
from liqe_jax.errors import UsageError
from liqe_jax.messages import printable

HELP = "open a web page to try a model"
DESCRIPTION = (
    "Open a local web page: drop photographs to see scores, distributions and quality maps, or compare "
    "two. Uploads are never written to the disk."
)
EPILOG = """\
examples:
  liqe app --model liqe_mix
  liqe app --model my_model --port 8000 --no-open
  liqe app --model my_model --host 0.0.0.0     # accept other computers and phones of the network

Stop it with Ctrl+C.
"""

LARGEST_PORT = 65535


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_model_options(parser)
    add_preprocess_option(parser, "whole for models with that preset, such as liqe_nano, and even for others")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="0 takes any free port (default: first free from 7860)")
    parser.add_argument(
        "--max-megabytes", type=float, default=20, metavar="N", help="size limit of a photograph (default: 20)"
    )
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=True, help="open the page in the browser"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until interrupted."""
    if arguments.port is not None and not 0 <= arguments.port <= LARGEST_PORT:
        raise UsageError(f"--port must lie between 0 and {LARGEST_PORT}; got {arguments.port}.")
    if not 0 < arguments.max_megabytes < float("inf"):
        raise UsageError(f"--max-megabytes must be a positive number; got {arguments.max_megabytes:g}.")
    model = load_model(arguments)

    from liqe_jax.app.serve import serve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server like Ctrl+C
    try:
        serve(
            model,
            # Both rotate photographs of phones as EXIF says.
            preprocess=arguments.preprocess or ("whole" if model.preprocess == "whole" else "even"),
            host=arguments.host,
            port=arguments.port,
            max_megabytes=arguments.max_megabytes,
            open_browser=arguments.open,
            started=lambda url: print(f"{printable(model.name)} is at {url} - stop it with Ctrl+C.", flush=True),
        )
    except KeyboardInterrupt:
        print()
    return 0
