"""How Sphinx makes the documentation: ``make html``."""

from importlib import metadata

project = "pushy"
author = "The pushy authors"
copyright = "The pushy authors, Apache License 2.0"  # noqa: A001 - Sphinx's name
version = release = metadata.version("pushy")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["man"]
nitpicky = True  # with -W a link within the documentation that leads nowhere is an error

# A heading is a link's target by the name that GitHub gives it, so that the pages read well there too.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# Blocks without a language are output, not Python.
highlight_language = "none"
html_theme = "furo"
html_title = f"pushy {release}"
html_copy_source = False
html_show_sphinx = False
