"""From a template and values to a page: everything that comes from data is escaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stillhouse.report import words

# What text from data may hold but no HTML file can: control characters and halves of surrogate pairs.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def render_page(template: str, **values: Any) -> str:
    """A page as text.

    Args:
        template: File name of a template beside this module.
        values: What it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = words.typeset
    environment.filters["percent"] = words.percent
    environment.filters["score"] = words.score
    return _FORBIDDEN.sub("\ufffd", environment.get_template(template).render(**values))
