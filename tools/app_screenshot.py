"""Writes a picture of the web page as it scores the sample photographs.

    python tools/app_screenshot.py docs/images/app.webp [--model M] [--width 1100]
    python tools/app_screenshot.py phone.png --width 390 --compare

It starts `liqe app` and visits it with the browser that is installed (tools/browser.sh).
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import drop, headless, installed, served, settled, visiting  # noqa: E402

SAMPLES = ("cat.jpg", "cat_blur.jpg", "coffee.jpg", "coffee_jpeg8.jpg", "phone_portrait.jpg")


def main() -> int:
    """Takes the picture; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="FILE", type=Path, help="PNG or WebP")
    parser.add_argument("--model", default="liqe_nano", metavar="M")
    parser.add_argument("--width", type=int, default=1100, metavar="PIXELS")
    parser.add_argument("--pick", type=int, default=2, metavar="N", help="the photograph that is shown, from 1")
    parser.add_argument("--compare", action="store_true", help="the page that compares the first two")
    arguments = parser.parse_args()
    path = installed()
    if path is None:
        print("No Chromium is installed; tools/browser.sh installs one.", file=sys.stderr)
        return 2
    samples = [ROOT / "samples" / name for name in SAMPLES]
    with (
        served("--model", arguments.model) as server,
        headless(path) as browser,
        visiting(browser, server.url, arguments.width, 800) as page,
    ):
        if arguments.compare:
            page.get_by_role("tab", name="Compare").click()
            for side, sample in zip("AB", samples, strict=False):
                drop(page, f"drop-{side}", sample)
                page.locator(f"#card-{side} img.map").wait_for()
            page.locator("#difference .charts").wait_for()
        else:
            drop(page, "drop", *samples)
            settled(page, f"{len(samples)} scored")
            page.locator(".photo summary").nth(arguments.pick - 1).click()
            page.locator(".photo img.map").wait_for()
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)  # pictures are painted
        picture = page.screenshot(full_page=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").save(arguments.output, quality=85)
    return 0


if __name__ == "__main__":
    sys.exit(main())
