"""How the documentation is built: `make docs`."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `examples`
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from whisperkit._version import __version__

# Documents are many small objects that stay: to look for garbage among them every 700 takes half of the time.
gc.set_threshold(200_000, 20, 100)

project = "whisperkit"
author = "The whisperkit authors"
project_copyright = "The whisperkit authors, Apache-2.0"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "examples_tables",
    "offline_check",
    "ratchet_figures",
    "reference",
    "server_figures",
    "state_table",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A name in single backticks in a docstring is a link where it leads somewhere.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Spec"]

html_theme = "furo"
html_title = f"whisperkit {release}"
html_static_path = ["_static"]
html_css_files = ["states.css"]
