# SPDX-License-Identifier: ISC
"""chart.py: the ratios as a picture: of each row a bar from 1 to how many times faster than TCG Vigia is, and a
dot where the host itself would be; one logarithmic scale; classes with their geometric means."""
import math
from html import escape

ROW, LEFT, WIDTH, RIGHT = 16, 190, 560, 70
FASTER, SLOWER, NATIVE, TEXT, GRID = "#2a7ab9", "#c0392b", "#e08e0b", "#222", "#ddd"


def text(x, y, s, anchor="start", bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT}"{weight}>{escape(s)}</text>'


def svg(title, groups):
    """groups: (heading, [(row, TCG/vigia, TCG/native or None)])."""
    values = [v for _, rows in groups for _, t, n in rows for v in (t, n) if v]
    low, high = min([0.5, *values]), max([10, *values])
    height = 60 + sum(ROW * (len(rows) + 1.5) for _, rows in groups)

    def x(v):
        return LEFT + WIDTH * math.log(v / low) / math.log(high / low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height:.0f}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="#fff"/>',
           text(10, 18, title, bold=True),
           text(10, 34, "bars: how many times faster than QEMU TCG; dots: the host itself, likewise")]
    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= tick <= high:
            out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="50" y2="{height - 4:.0f}" '
                       f'stroke="{"#888" if tick == 1 else GRID}"/>')
            out.append(text(x(tick), 47, f"{tick}", "middle"))
    y = 50
    for heading, rows in groups:
        y += ROW * 1.5
        out.append(text(10, y - 4, heading, bold=True))
        for row, t, n in rows:
            y += ROW
            a, b = sorted((x(1), x(t)))
            out.append(text(LEFT - 6, y - 4, row, "end"))
            out.append(f'<rect x="{a:.1f}" y="{y - ROW + 3:.1f}" width="{max(b - a, 1):.1f}" height="{ROW - 4}" '
                       f'fill="{FASTER if t >= 1 else SLOWER}"/>')
            if n:
                out.append(f'<circle cx="{x(n):.1f}" cy="{y - ROW / 2 + 1:.1f}" r="3.5" fill="{NATIVE}"/>')
            out.append(text(LEFT + WIDTH + 8, y - 4, f"{t:.2f}"))
    return "\n".join(out + ["</svg>", ""])
