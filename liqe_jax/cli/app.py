"""`liqe app`: a web page to try a model, on this computer."""

from __future__ import annotations

import argparse

from liqe_jax.cli.settings import add_model_options, add_preprocess_option, read_tasks, use_compilation_cache
from liqe_jax.errors import UsageError
from liqe_jax.messages import printable

EXAMPLES = """\
examples:
  liqe app --model liqe_mix
  liqe app --model my_model --port 8000 --no-open
  liqe app --model my_model --host 0.0.0.0     # other computers and phones of the network may use it

needs Gradio: pip install 'liqe_jax[app]'. Ctrl+C ends it.
"""

LARGEST_PORT = 65535


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declares the command and its options."""
    parser = commands.add_parser(
        "app",
        help="open a web page to try a model",
        description="Open a web page on this computer: drop photographs, see score, distributions and the map of "
        "quality, compare two. Uploads are deleted as they are read.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    add_preprocess_option(parser, "even")  # whatever the model: visitors come with phones
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="0 takes any free one (default: first free from 7860)")
    parser.add_argument(
        "--max-megabytes", type=float, default=20, metavar="N", help="largest photograph that is taken (default: 20)"
    )
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=True, help="open the page in the browser"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until interrupted; returns the exit status.

    Raises:
      LiqeError: wrong use, no such model, or Gradio is missing.
    """
    if arguments.port is not None and not 0 <= arguments.port <= LARGEST_PORT:
        raise UsageError(f"--port must lie between 0 and {LARGEST_PORT}; got {arguments.port}.")
    if not 0 < arguments.max_megabytes < float("inf"):
        raise UsageError(f"--max-megabytes must be a positive number; got {arguments.max_megabytes:g}.")
    tasks = read_tasks(arguments.tasks)

    # Imported after everything that can be said without it: JAX takes a second, Gradio two.
    from liqe_jax.extras import require

    require("gradio", extra="app")
    from liqe_jax.app.serve import serve
    from liqe_jax.scoring.load import load

    use_compilation_cache()
    model = load(arguments.model, tasks=tasks, encoder=arguments.encoder)
    try:
        serve(
            model,
            preprocess=arguments.preprocess,
            host=arguments.host,
            port=arguments.port,
            max_megabytes=arguments.max_megabytes,
            open_browser=arguments.open,
            started=lambda url: print(f"{printable(model.name)} is at {url} - Ctrl+C ends it.", flush=True),
        )
    except KeyboardInterrupt:
        print()
    return 0
