"""Checks the built site: `python tools/check_site.py site` fails if a page cannot be read offline or leads nowhere.

Nothing may be loaded from another host (links to other hosts are for the reader to follow, so they may stand), and
every link within the site must lead to a page that exists, and to a place in it.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED_BY_STYLE = re.compile(r"""(url\(|@import)\s*["']?(https?:)?//""")
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """What a page loads, where it leads, and the places in it."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: set[str] = set()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects one element."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.places.add(values["id"])
        if tag in LOADS and LOADS[tag] in values:
            self.loads.add(values[LOADS[tag]])
        if tag == "a" and "href" in values:
            self.links.add(values["href"])


def faults_of(site: Path) -> list[str]:
    """A sentence for everything that is wrong."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"There are no pages in {site}. Build them: make docs"]
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for target in sorted(page.loads | page.links):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loads and parts.scheme != "data":
                    faults.append(f"{name} loads {target}, which is on another host.")
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.exists():
                faults.append(f"{name} leads to {target}, which does not exist.")
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].places:
                faults.append(f"{name} leads to {target}, a place that its page does not have.")
    styles = [path for path in sorted(site.rglob("*.css")) if LOADED_BY_STYLE.search(path.read_text("utf-8"))]
    faults += [f"{path.relative_to(site)} loads something from another host." for path in styles]
    return faults


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Expected the folder of the site: python tools/check_site.py site")
    found = faults_of(Path(sys.argv[1]))
    print("\n".join(found) or f"{sys.argv[1]}: every page can be read offline, and every link leads somewhere.")
    sys.exit(bool(found))
