"""Writes HTML pages that need nothing but themselves: no script, no font, no picture from elsewhere."""

import base64
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.82rem; width: 100%; }
th, td { text-align: right; padding: 0.2rem 0.4rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 13rem; } th { font-weight: 600; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.facts td { text-align: left; white-space: normal; } .facts td:first-child { color: #666; width: 9rem; min-width: 9rem; }
pre { white-space: pre-wrap; font-size: 0.8rem; }
.yes { color: #00663f; font-weight: 600; } .no { color: #a8320a; font-weight: 600; } .small { color: #666; font-size: 0.85rem; }
code { font-size: 0.85rem; overflow-wrap: anywhere; }
"""


class Html(str):
    """Text that is HTML already."""


def shown(value):
    return value if isinstance(value, Html) else escape(str(value))


def table(head, rows, kind=""):
    lines = "".join("<tr>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    top = "<tr>" + "".join(f"<th>{shown(cell)}</th>" for cell in head) + "</tr>\n" if head else ""
    return Html(f'<div class="scroll"><table class="{kind}">\n{top}{lines}</table></div>\n')


def picture(svg, text):
    return Html(f'<img alt="{escape(text, quote=True)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">\n')


def verdict(ok):
    return Html('<span class="yes">reached</span>' if ok else '<span class="no">missed</span>')


def page(title, body):
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n<body>\n'
            f"<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n")
