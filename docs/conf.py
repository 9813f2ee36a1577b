"""Sphinx's settings for the documentation site: `make site`."""

import prov

project = "prov"
author = "The prov authors"
release = version = prov.__version__
html_title = f"prov {version}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
extensions = ["myst_parser", "sphinx.ext.autodoc"]
smartquotes = False  # options begin with "--"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
default_role = "code"  # docstrings put code into single backticks
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries = False
# samples of output are cut with "…", and not every configuration file has a lexer
suppress_warnings = ["misc.highlighting_failure"]
