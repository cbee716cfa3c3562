"""How long the page of `liqe app` takes to compare two photographs: seconds from dropping them to both scores.

    python benchmarks/app.py [--photos samples/coffee.jpg samples/cat.jpg] [--visits 5]

The server and headless Chromium (tools/browser.sh) run on this machine, with `liqe_nano`. The first visit is warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Prints the median, the least and the most."""
    from tests.browser import drop, headless, installed, served, visiting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    samples = [ROOT / "samples" / name for name in ("coffee.jpg", "cat.jpg")]
    parser.add_argument("--photos", type=Path, nargs=2, default=samples)
    parser.add_argument("--visits", type=int, default=5)
    arguments = parser.parse_args()
    path = installed()
    if path is None:
        sys.exit("This needs Chromium: tools/browser.sh installs one.")
    seconds = []
    with served() as server, headless(path) as browser:
        for _ in range(arguments.visits + 1):
            with visiting(browser, server.url, 1280, 900) as page:
                page.get_by_role("tab", name="Compare").click()
                started = time.perf_counter()
                for side, photo in zip("AB", arguments.photos, strict=True):
                    drop(page, f"drop-{side}", photo)
                page.locator("#difference p").first.wait_for()
                seconds.append(time.perf_counter() - started)
                for side in "AB":  # the server is idle when the next visit begins
                    page.locator(f"#card-{side} img.map").wait_for()
    seconds = seconds[1:]
    print(
        f"Compare: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} visits)"
    )


if __name__ == "__main__":
    main()
