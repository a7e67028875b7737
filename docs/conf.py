"""How the site is built: ``python -m sphinx -W -b html docs site``, without any network."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "extensions"))

project = "multirate"
author = "The multirate authors"
copyright = "The multirate authors, Apache-2.0"  # Sphinx reads this name
version = release = installed("multirate")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "repository",
    "public_names",
]
exclude_patterns = ["extensions", "_static"]

html_theme = "furo"
html_title = "multirate"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
}
# Blocks that are indented, or fenced without a language, are commands or tables of numbers.
highlight_language = "text"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Every name of multirate that is referred to must be on the site; those of other projects cannot be looked up offline.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|nn|matplotlib|lightning|diffusers|pythae|scvi|compressai|onnx|anndata)(\..*)?"),
    ("py:.*", r"(collections|pathlib|typing|types|abc|datetime|http|contextlib|dataclasses)(\..*)?"),
    ("py:.*", r"(Tensor|Module|Path|Any|Callable|Sequence|Mapping|Iterator|Iterable|NDArray|Dataset|Distribution)"),
    ("py:.*", r"(Generator|Axes|Figure|Literal|ModuleType|optional|Device|dtype|device|KeyboardInterrupt)"),
]
