"""The look that all charts share.

The colours of ink, small print and rules are names rather than colours: the page's style sheet gives each another
value in the dark and on paper, where a drawing that has its own could not follow.
"""

from typing import Any

INK, FAINT, RULE, NEUTRAL = "#16191d", "#5c6570", "#dfe3e8", "#c9ced4"
BETTER, EVEN, WORSE = "#0072b2", "#f4f4f2", "#d55e00"
DARK_TEXT, LIGHT_TEXT = "#1b1b1b", "#fdfdfd"  # on coloured ground, where the page's own ink may not stand out
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif'

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": FAINT,
        "labelFontSize": 12,
        "labelLimit": 150,
        "titleColor": FAINT,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleLimit": 400,
        "gridColor": RULE,
        "domainColor": NEUTRAL,
        "tickColor": NEUTRAL,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 180,
        "title": None,
        "orient": "top",
        "columns": 5,
        "symbolOpacity": 1,
        "symbolStrokeWidth": 2.5,
    },
    "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": "bold", "labelLimit": 260, "title": None},
    "facet": {"spacing": 26},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": NEUTRAL},
    "scale": {"clamp": False},
}
