"""The few pieces of HTML that a report is made of. All text is escaped here, and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files


def page(title: str, lead: str, parts: Sequence[str]) -> str:
    """Return a complete HTML document; `parts` are HTML already."""
    style = (files("hpcdistill.io.report") / "style.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{"".join(parts)}</main>
</body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """Return a section with a heading, or nothing where all its parts are empty."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n" if any(parts) else ""


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>\n"


def facts_table(rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of two columns: what, and its value."""
    lines = [f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n' for name, value in rows]
    return f'<table class="facts">\n<tbody>\n{"".join(lines)}</tbody>\n</table>\n'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a row for each of `rows`, whose first cell names it; nothing where there are none."""
    if not rows:
        return ""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in rows
    ]
    return (
        f'<div class="wide"><table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody>\n</table></div>\n"
    )


def chart(svg: bytes, title: str, caption: str) -> str:
    """Return an SVG with its caption. Dark pages show it inverted."""
    return _figure("chart", "image/svg+xml", svg, title, caption)


def photograph(png: bytes, title: str, caption: str) -> str:
    """Return a PNG with its caption, its colours left alone."""
    return _figure("photograph", "image/png", png, title, caption)


def chart_with_photographs(svg: bytes, title: str, caption: str) -> str:
    """Return an SVG that has photographs in it, whose colours are left alone."""
    return _figure("photograph", "image/svg+xml", svg, title, caption)


def _figure(kind: str, mime: str, content: bytes, title: str, caption: str) -> str:
    source = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure class="{kind}">\n<div class="wide"><img src="{source}" alt="{escape(title)}"></div>\n'
        f"<figcaption><b>{escape(title)}.</b> {escape(caption)}</figcaption>\n</figure>\n"
    )


def preformatted(text: str) -> str:
    """Return text as it is, such as a configuration."""
    return f"<pre>{escape(text)}</pre>\n"
