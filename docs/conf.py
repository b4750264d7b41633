"""Sphinx configuration. Build with `sphinx-build -W -b html docs docs/_build/html`."""

import inspect
import re
from typing import Any

import mjx_sac

project = "mjx-sac"
author = "The mjx-sac authors"
version = release = mjx_sac.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # a test runs the notebook; its outputs are kept in it
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"mjx-sac {release}"
myst_heading_anchors = 3

default_role = "code"  # docstrings write `name`, as Markdown does
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature shows them


def _skip(_app: Any, _what: str, name: str, member: Any, *_: Any) -> bool | None:
    """Leave out fields, which `Attributes:` describes, and what Flax adds to its dataclasses."""
    field = inspect.isdatadescriptor(member) and not isinstance(member, property)
    return True if field or name == "replace" else None


def _escape(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Escape what reStructuredText would read as markup, outside of `code`: `a * b`, `p(a|s)`."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def _shorten(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, signature: str, returns: str
) -> tuple[str | None, str | None]:
    """Name types without their modules, and leave out what Flax adds to each of its modules."""
    short = [text and re.sub(r"~?(\w+\.)+(?=[A-Z_])|~", "", text) for text in (signature, returns)]
    return short[0] and re.sub(r", parent: .*", ")", short[0]), short[1]


def setup(app: Any) -> None:
    """Connect the hooks; `_escape` after napoleon's, which writes no such markup."""
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _escape, priority=900)
