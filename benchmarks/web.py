"""The first score of the page that scores in the browser: seconds from opening it, on a first visit.

    make web
    python benchmarks/web.py [--photo samples/coffee.jpg] [--visits 5]

Each visit is a new headless Chromium with an empty cache; the server is on the same machine.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

PATIENCE = 120_000  # milliseconds


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def first_score(url: str, photo: Path, browser: str) -> float:
    """Seconds from opening the page to the scene of the photograph, which stands beside its score."""
    from tests.browser import headless

    with headless(browser) as chromium:
        page = chromium.new_page()
        started = time.perf_counter()
        page.goto(url)
        page.set_input_files("input[type=file]", photo)
        page.locator(".photo .scene").wait_for(timeout=PATIENCE)
        return time.perf_counter() - started


def main() -> None:
    """Prints the median, the least and the most."""
    from tests.browser import installed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=ROOT / "samples" / "coffee.jpg")
    parser.add_argument("--visits", type=int, default=5)
    arguments = parser.parse_args()
    folder, browser = ROOT / "web" / "dist", installed()
    if browser is None or not folder.is_dir():
        sys.exit("This needs Chromium (tools/browser.sh) and the built page (make web).")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        seconds = [first_score(url, arguments.photo, browser) for _ in range(arguments.visits)]
        server.shutdown()
    print(
        f"first score after {statistics.median(seconds):.2f} s (median; {min(seconds):.2f} to {max(seconds):.2f}) in "
        f"{arguments.visits} first visits"
    )


if __name__ == "__main__":
    main()
