# SPDX-License-Identifier: Apache-2.0
"""Two small plots as SVG: bars of rates, and windows over time."""
from html import escape

FONT = 'font-family="sans-serif" font-size="12"'
COLOURS = ("#1f6feb", "#d4872b")


def frame(width, height, title, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}">\n'
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
            f'<text x="10" y="20" {FONT} font-weight="bold">{escape(title)}'
            '</text>\n' + "\n".join(parts) + "\n</svg>\n")


def label(x, y, text, anchor="start", colour="#222222"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" {FONT} text-anchor="{anchor}" '
            f'fill="{colour}">{escape(text)}</text>')


def legend(names, x, y):
    parts = []
    for name, colour in zip(names, COLOURS):
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" '
                     f'fill="{colour}"/>')
        parts.append(label(x + 18, y, name))
        x += 40 + 7 * len(name)
    return parts


def bars(title, names, groups, form):
    """'groups' is a list of (text, values as in 'names'); one axis from 0."""
    width, left, top, thick = 760, 290, 60, 16
    most = max((v for _, values in groups for v in values), default=1) or 1
    parts, y = legend(names, 290, 42), top
    for text, values in groups:
        parts.append(label(left - 10, y + thick, text, "end"))
        for value, colour in zip(values, COLOURS):
            long = value / most * (width - left - 80)
            parts.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" '
                         f'height="{thick - 2}" fill="{colour}"/>')
            parts.append(label(left + long + 6, y + 11, form(value)))
            y += thick
        y += 12
    return frame(width, y + 10, title, parts)


def windows(title, names, series, target, form):
    """Each of 'series' is a list of rates, one for each 10 ms."""
    width, height, left, right, top, bottom = 760, 300, 70, 20, 60, 40
    most = max([target * 1.5] + [v for s in series for v in s])
    most = min(most, target * 2)
    longest = max((len(s) for s in series), default=1)

    def x(i):
        return left + i / max(longest - 1, 1) * (width - left - right)

    def y(value):
        return height - bottom - (min(value, most) / most *
                                  (height - top - bottom))
    parts = legend(names, left, 42)
    for value in (0, target / 2, target, target * 1.5):
        if value > most:
            continue
        parts.append(f'<line x1="{left}" x2="{width - right}" '
                     f'y1="{y(value):.1f}" y2="{y(value):.1f}" '
                     f'stroke="#dddddd"/>')
        parts.append(label(left - 8, y(value) + 4, form(value), "end"))
    # Ours last, on top.
    for values, colour in list(zip(series, COLOURS))[::-1]:
        points = " ".join(f"{x(i):.1f},{y(v):.1f}"
                          for i, v in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" '
                     f'stroke="{colour}" stroke-width="1.2"/>')
    parts.append(label(left, height - 14, "0 s"))
    parts.append(label(width - right, height - 14, f"{longest / 100:g} s",
                       "end"))
    return frame(width, height, title, parts)
