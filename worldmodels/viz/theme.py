"""The colours and letters that panels and figures share."""

from functools import cache

from matplotlib.font_manager import findfont
from PIL import ImageFont

Colour = tuple[int, int, int]

# Okabe and Ito's colours: told apart by colour-blind eyes too.
BLUE: Colour = (86, 180, 233)
ORANGE: Colour = (240, 160, 30)

INK: Colour = (238, 240, 244)
FAINT: Colour = (150, 157, 170)
LINE: Colour = (72, 78, 90)
PAPER: Colour = (22, 24, 29)

SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""Colours of the curves of figures on white, in order of use."""


def css(colour: Colour) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, at a height in pixels."""
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(findfont(f"DejaVu Sans:weight={weight}"), size)


def fitted_font(text: str, size: int, width: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The largest letters up to ``size`` (and not below 8) at which ``text`` fits ``width``."""
    while size > 8 and font(size, bold).getlength(text) > width:
        size -= 1
    return font(size, bold)
