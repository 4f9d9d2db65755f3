"""How `make docs` builds the documentation."""

import importlib.metadata

project = "Status tracker"
release = importlib.metadata.version("status-tracker")
html_title = f"Status tracker {release}"
html_theme = "furo"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# What is in a signature need not be found: redis-py and msgspec have no index here.
nitpicky = False
