"""From a matplotlib figure to inline SVG that takes the page's font and its light or dark colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:  # matplotlib takes a second to import, and most commands draw nothing
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Figures are drawn in stand-in colours, which the SVG then replaces by the page's CSS variables: one file, two themes.
TEXT, MUTED, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"
TEACHER_COLOUR, STUDENT_COLOUR, BASELINE_COLOUR = "#010105", "#010106", "#010107"
SERIES = ("#010108", "#010109", "#01010a", "#01010b", "#01010c", "#01010d")
_VARIABLES = {
    TEXT: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    TEACHER_COLOUR: "var(--teacher)",
    STUDENT_COLOUR: "var(--student)",
    BASELINE_COLOUR: "var(--baseline)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "stillhouse",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "figure.dpi": 72,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "legend.labelcolor": TEXT,
    "text.color": TEXT,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 11,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


@contextmanager
def drawing() -> Iterator[None]:
    """The style in which every figure must be made, whatever the user's own matplotlib settings are."""
    import matplotlib as mpl

    defaults: dict[Any, Any] = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context({**defaults, **_STYLE}), warnings.catch_warnings():
        # The page's fonts draw the text, so it does not matter which characters matplotlib's own font has.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many CSS pixels; call it inside `drawing()`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def few_ticks(axis: Axis, most: int, *, integer: bool = False) -> None:
    """At most so many intervals between round numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=integer))


def inline_svg(drawn: Figure, name: str, description: str, *, tight: bool = False) -> Markup:
    """The figure as an `<svg>` element for an HTML page; call it inside `drawing()`.

    Args:
        drawn: A figure made in the stand-in colours of this module.
        name: Letters, digits and hyphens, unique in the page: prefix of every id.
        description: What the plot shows, for readers who do not see it.
        tight: Cut away empty margins (of axes that keep their aspect).
    """
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight" if tight else None, pad_inches=0.05)
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _restyle(root)
    _rename_ids(root, name)
    width = round(float(root.attrib.pop("width").removesuffix("pt")))
    del root.attrib["height"], root.attrib["version"]
    root.attrib |= {"role": "img", "aria-label": description, "style": f"--width: {width}px"}
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return Markup(text)


def printable(text: object, limit: int = 28) -> str:
    """Text from data as one line of at most `limit` characters, without characters that a document cannot hold."""
    line = " ".join(_UNPRINTABLE.sub(" ", str(text)).split()) or "(empty)"
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _strip(root: ElementTree.Element) -> None:
    """Drops metadata, the style sheet (it would reach the whole page) and namespaces, which HTML does without."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rsplit("}", 1)[-1] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
        element.attrib = {key.rsplit("}", 1)[-1]: value for key, value in element.attrib.items()}
        if element.tag != "text":
            element.text = (element.text or "").strip()
        element.tail = "\n"


def _restyle(root: ElementTree.Element) -> None:
    for element in root.iter():
        style = element.get("style")
        if style is None:
            continue
        for colour, variable in _VARIABLES.items():
            style = style.replace(colour, variable)
        # The page's own font is used, at the sizes laid out with matplotlib's wider one.
        declarations = [part.strip() for part in style.split(";") if part.strip()]
        kept = [part for part in declarations if not part.startswith("font-family")]
        element.set("style", "; ".join(kept))


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Makes ids unique in the page, and drops those that nothing refers to."""
    referred = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href" or "url(#" in value:
                referred |= set(re.findall(r"#([\w-]+)", value))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in referred:
            element.set("id", f"{prefix}-{identity}")
        for key, value in element.attrib.items():
            if key == "href":
                element.set(key, f"#{prefix}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}-"))
