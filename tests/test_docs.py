"""The documentation does what it says: tutorials run, links lead somewhere, the figure and the names are current.

Every block of code in a tutorial is run, in order, unless a comment above it says why not: `<!-- not run: ... -->`.
A block of JSON is written to the file that `<!-- file: NAME -->` names. What a page starts as a command is a command
of the one script that the page becomes, so Python keeps its variables.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from configs import liqe_nano
from liqe_jax.cli.main import parser
from liqe_jax.train.start import starting_checkpoint
from liqe_jax.weights.known import EMBEDDED, embedded_folder
from liqe_jax.weights.native import write_native
from liqe_jax.weights.open import with_text_features
from tools import architecture_figure
from tools.check_site import faults_of
from tools.prompt_figure import figure

from .quick_compiling import as_for_users

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TUTORIALS = [*sorted((DOCS / "tutorials").glob("*.md")), DOCS / "extending.md", DOCS / "export.md"]
NOT_RUN_AT_ALL = ["tpu-pod"]
EVERY_PAGE = [*sorted(DOCS.rglob("*.md")), *ROOT.glob("*.md")]

# Their Python is run without their commands, which need data sets or other models.
PAGES = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("index", "comparing", "evaluation", "liqe_nano", "prompt-sharing", "synthetic")),
]

BLOCK = re.compile(r"(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<language>.*)\n(?P<content>(?:.*\n)*?)^```$", re.MULTILINE)
STARTS = re.compile(r"liqe |python (train|eval)\.py ")
LINK = re.compile(r"\]\(([^()\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block and what the comment above it says."""

    language: str
    content: str
    mark: str

    def why_not(self) -> str | None:
        """Why it is not run; None if it is."""
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run") else None


def text_of(page: Path) -> str:
    """A page without directives around blocks, which have four backticks."""
    return re.sub(r"^````\{.*?^````$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def blocks_of(page: Path) -> list[Block]:
    found = BLOCK.finditer(text_of(page))
    blocks = [Block(match["language"], match["content"], match["mark"] or "") for match in found]
    return [block for block in blocks if not block.language.startswith("{")]  # a note to the reader


def script_of(page: Path) -> str:
    """Python that does everything on the page."""
    # JAX changes the environment of its process, which commands in a terminal do not see.
    lines = ["import os, subprocess, pathlib", "terminal = dict(os.environ)"]
    for block in blocks_of(page):
        if block.why_not() is not None:
            continue
        if block.language == "python":
            lines.append(block.content)
        elif block.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", block.content]
            lines.append(f"subprocess.run({command!r}, check=True, env=terminal)")
        elif block.language == "json":
            lines.append(f"pathlib.Path({block.mark.removeprefix('file: ')!r}).write_text({block.content!r})")
    return "\n".join(lines)


def python_of(page: Path) -> str:
    """The Python blocks of a page, as printed."""
    return "\n".join(block.content for block in blocks_of(page) if block.language == "python")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with what a checkout has and a tutorial uses."""
    for name in ("samples", "configs", "examples", "train.py", "eval.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    if not embedded_folder().exists():
        # A checkout without the embedded model: one of its shape stands for it, since a path comes first.
        write_native(tmp_path / EMBEDDED, with_text_features(starting_checkpoint(liqe_nano.get_config()), "joint"))
    return tmp_path


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page):
    blocks = blocks_of(page)
    assert text_of(page).count("\n```") == 2 * len(BLOCK.findall(text_of(page)))
    for block in blocks:
        assert block.language in ("python", "sh", "json", "text", "cpp", "js"), block
        assert block.why_not() is None or len(block.why_not()) > 8, f"no reason is given above: {block.content}"
        assert block.language != "json" or block.mark.startswith("file: "), block
    run = [block for block in blocks if block.language in ("python", "sh") and block.why_not() is None]
    assert bool(run) != (page.stem in NOT_RUN_AT_ALL)


def run_in(checkout: Path, script: str) -> str:
    """Runs a script as a user would, and returns what it prints."""
    environment = {
        **as_for_users(os.environ),  # one CPU device
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LIQE_HOME": str(checkout / "home"),
        "HF_HUB_OFFLINE": "1",
    }
    shutil.copy(ROOT / "samples" / "cat.jpg", checkout / "photo.jpg")
    (checkout / "tutorial.py").write_text(script, "utf-8")
    command = [sys.executable, "-u", "tutorial.py"]  # what Python prints stands where it was printed
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # JAX sets it in this process
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    if "train_and_evaluate" not in script:  # a function shows what TensorFlow logs, a command does not
        assert not re.search("oneDNN|cudart", done.stderr), done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_of_a_page_runs_as_printed(page, checkout):
    assert "import" in python_of(page)
    run_in(checkout, python_of(page))


def test_every_page_with_python_is_run():
    with_python = {page for page in EVERY_PAGE if python_of(page)}
    assert with_python <= {*PAGES, *TUTORIALS}


def commands_of(page: Path) -> list[list[str]]:
    """The commands of a page that start this project's programs, as lists of arguments."""
    lines = "\n".join(block.content for block in blocks_of(page)).replace("\\\n", " ").splitlines()
    chosen = [
        line.partition(" > ")[0].removesuffix("...").removeprefix("python ") for line in lines if STARTS.match(line)
    ]
    return [shlex.split(line, comments=True) for line in chosen]


@pytest.mark.parametrize("page", [page for page in EVERY_PAGE if commands_of(page)], ids=name_of)
def test_commands_of_a_page_have_options_that_exist(page):
    for program, *arguments in commands_of(page):
        if program == "liqe":
            parser().parse_args(arguments)  # exits where an option is unknown
            continue
        options = dict(argument.partition("=")[::2] for argument in arguments if argument.startswith("--"))
        path, _, argument = options["--config"].partition(":")
        config = runpy.run_path(str(ROOT / path))["get_config"](*([argument] if argument else []))
        for key in options:
            if key.startswith("--config."):
                section, _, last = f".{key.removeprefix('--config.')}".rpartition(".")
                assert last in (config[section[1:]] if section else config), (program, key)


@pytest.mark.parametrize(
    "page", [page for page in TUTORIALS if page.stem not in NOT_RUN_AT_ALL], ids=lambda page: page.stem
)
def test_a_tutorial_does_what_it_says(page, checkout):
    printed = run_in(checkout, script_of(page))
    if embedded_folder().exists():
        for block in blocks_of(page):
            if block.language == "text":
                assert_is_printed(block.content, printed)


NUMBER = re.compile(r"\d+(?:\.\d+)?")
CHANGE = re.compile(rf"({NUMBER.pattern}) -> ({NUMBER.pattern})")


def assert_is_printed(quoted: str, printed: str) -> None:
    """Every quoted line is among the printed ones, but for the last digits: processors round differently.

    Decimals may differ by 0.02, whole numbers by one, which is a percentage's last digit. What rises in the page
    (`A -> B`) rises when it is run, however small the change.
    """
    for line in quoted.splitlines():
        alike = [other for other in printed.splitlines() if NUMBER.sub("#", other) == NUMBER.sub("#", line)]
        assert any(_is_near(other, line) for other in alike), f"{line}\n{printed}"


def _is_near(found: str, quoted: str) -> bool:
    pairs = zip(NUMBER.findall(found), NUMBER.findall(quoted), strict=True)
    near = all(abs(float(got) - float(wanted)) <= (0.0201 if "." in wanted else 1) for got, wanted in pairs)
    changes = [[np.sign(float(b) - float(a)) for a, b in CHANGE.findall(text)] for text in (found, quoted)]
    return near and changes[0] == changes[1]


def test_a_tutorial_that_fails_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```sh\nexit 3\n```\n\n<!-- not run: too long -->\n```sh\nexit 4\n```\n")
    script = script_of(page)
    assert "exit 4" not in script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "exit status 3" in done.stderr


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_links_lead_to_files_of_the_repository(page):
    """As one follows them where the repository is browsed; Sphinx checks those of the site, with their anchors."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_figure_of_prompts_is_current():
    committed = (DOCS / "figures" / "prompt-sharing.svg").read_text("utf-8")
    assert committed == figure(), "run: python tools/prompt_figure.py docs/figures/prompt-sharing.svg"


def test_the_figure_of_the_architecture_is_current():
    committed = (DOCS / "figures" / "architecture.svg").read_text("utf-8")
    remedy = "run: python tools/architecture_figure.py docs/figures/architecture.svg"
    assert committed == architecture_figure.figure(), remedy


def test_every_part_is_on_the_page_of_the_architecture_in_an_order_of_imports():
    parts, _ = architecture_figure.imports()
    page = (DOCS / "architecture.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    on_page = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    assert set(parts) <= set(on_page)
    for part, needed in parts.items():
        assert all(on_page.index(other) < on_page.index(part) for other in needed), part


def test_every_known_bug_has_an_entry_and_names_code_that_exists():
    text = (DOCS / "reference-bugs.md").read_text("utf-8")
    numbers = [int(number) for number in re.findall(r"^### B(\d+): ", text, re.MULTILINE)]
    assert numbers == list(range(1, 31))
    ours = re.findall(r"`((?:tests/|configs/)?[a-z]+(?:/[a-z_0-9]+)?\.py)`(?: \(((?:`\w+`(?:, )?)+)\))?", text)
    for path, names in ours:
        candidates = [path for path in (ROOT / path, ROOT / "liqe_jax" / path) if path.exists()]
        if not candidates:
            continue  # the reference's
        for name in re.findall(r"`(\w+)`", names):
            assert name in candidates[0].read_text("utf-8"), (path, name)
    assert sum((ROOT / "liqe_jax" / path).exists() for path, _ in ours) > 25


def test_quoted_output_that_is_not_printed_is_noticed():
    assert_is_printed("score 1.45 -> 2.10", "first\nscore 1.449 -> 2.1\n")
    for other in ("score 1.45 -> 2.9", "scores 1.45 -> 2.10", "score 1.45 -> 2.13"):
        with pytest.raises(AssertionError):
            assert_is_printed("score 1.45 -> 2.10", other)
    # What the page says of it would be wrong, however near the figures are.
    assert_is_printed("error 1.45 -> 1.46", "error 1.44 -> 1.47")
    with pytest.raises(AssertionError):
        assert_is_printed("error 1.45 -> 1.46", "error 1.45 -> 1.44")
    assert_is_printed("animal 77%, 299x224", "animal 78%, 299x224")
    with pytest.raises(AssertionError):
        assert_is_printed("animal 77%", "animal 79%")


def test_faults_of_a_site_are_found(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    assert "no pages" in faults_of(site)[0]
    good = '<h1 id="top">A</h1><a href="b.html#end">B</a> <a href="https://example.org">elsewhere</a>'
    (site / "a.html").write_text(good)
    (site / "b.html").write_text('<p id="end">The end</p><a href="a.html">A</a>')
    assert faults_of(site) == []
    (site / "a.html").write_text(
        good + '<script src="https://cdn.example.org/x.js"></script><a href="b.html#mid">?</a>'
    )
    (site / "b.html").write_text('<p id="end">The end</p><a href="gone.html">?</a>')
    (site / "look.css").write_text("@import url(https://fonts.example.org/f.css);")
    assert [re.search(r"another host|does not have|does not exist", fault)[0] for fault in faults_of(site)] == [
        "does not have",
        "another host",
        "does not exist",
        "another host",
    ]
