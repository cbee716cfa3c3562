"""The documentation site: `make docs` builds it into site/, with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
sys.path.insert(0, str(Path(__file__).parent.parent))

import liqe_jax

project = "liqe_jax"
author = "the liqe_jax authors"
version = release = liqe_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
extensions += ["docstrings", "mathml"]  # ours
exclude_patterns = ["extensions"]

# Whether the Makefile puts the page of `make web` beside the documentation.
if (Path(__file__).parent.parent / "web" / "dist").is_dir():
    tags.add("web")  # type: ignore[name-defined]  # noqa: F821  # Sphinx gives it

# Pages: Markdown that also reads well where the repository is browsed.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
maximum_signature_line_length = 90
python_use_unqualified_type_names = True

# Reference: from docstrings; single backticks link where they name something that is documented.
default_role = "py:obj"
smartquotes_action = "D"  # dashes; quotes stay those of code
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_param = False  # "a, b: ..." describes two arguments together
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

# The theme comes with everything it shows: no fonts or scripts from elsewhere.
html_theme = "furo"
html_title = f"liqe_jax {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
