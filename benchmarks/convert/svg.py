"""The picture of docs/benchmarks.md: bars on a log scale, to the left of 1 is faster."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import ceil, floor, log10
from typing import Any, Final

from common.tables import number
from convert.inputs import LARGE
from convert.rows import Work

_PANELS: Final = (
    ("From JSON: time, orjson.loads = 1", (Work.READ, Work.TO_BINARY)),
    ("To JSON: time, orjson.dumps = 1", (Work.WRITE, Work.FROM_BINARY)),
)
_TIMES: Final = "\u00d7"
_WIDTH, _LEFT, _RIGHT, _STEP, _BAR = 790, 256, 20, 22, 14
_STYLE: Final = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.head { font-weight: 600; font-size: 15px } .tick, .foot { fill: #59636e; font-size: 11px }
.own { font-weight: 600 } .grid { stroke: #d1d9e0 } .one { stroke: #59636e }
.peer { fill: #afb8c1 } .native { fill: #0969da } .python { fill: #80b3f0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .tick, .foot { fill: #9198a1 } .grid { stroke: #3d444d }
  .one { stroke: #9198a1 } .peer { fill: #59636e } .native { fill: #4493f8 }
  .python { fill: #1f5fae }
}
"""


def draw(results: dict[str, Any]) -> str:
    """The picture of the times on 500 tokens with 20 alternatives each."""
    panels = [(title, _bars(results, works)) for title, works in _PANELS]
    ratios = [ratio for _, bars in panels for _, ratio in bars]
    low = floor(log10(min(ratios, default=1) * 0.8))
    high = ceil(log10(max(ratios, default=1) * 1.6))
    parts: list[str] = []
    top = 0
    for title, bars in panels:
        parts += _panel(title, bars, top, low, high)
        top += 62 + _STEP * len(bars)
    versions = results["environment"]["packages"]
    foot = f"500 tokens, 20 alternatives each; log scale; least of {results['rounds']} rounds"
    foot += f"; orjson {versions.get('orjson')}, protobuf {versions.get('protobuf')}"
    parts.append(f'<text class="foot" x="8" y="{top + 14}">{escape(foot)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 24}"'
        f' width="{_WIDTH}" height="{top + 24}" role="img">'
        "<title>Conversion times of chatpb and other libraries in relation to orjson</title>"
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(results: dict[str, Any], works: tuple[Work, ...]) -> list[tuple[str, float]]:
    ratios: dict[str, float] = {}
    for cell in results["cells"]:
        if cell["work"] in works and cell["input"] == LARGE[0] and "ratio" in cell:
            ratios.setdefault(cell["row"], cell["ratio"])
    return sorted(ratios.items(), key=lambda item: item[1])


def _panel(
    title: str, bars: list[tuple[str, float]], top: int, low: int, high: int
) -> Iterator[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    first, last = top + 34, top + 34 + _STEP * len(bars)
    yield f'<text class="head" x="8" y="{top + 22}">{escape(title)}</text>'
    for decade in range(low, high + 1):
        x = _LEFT + (decade - low) * scale
        kind = "one" if decade == 0 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{first}" y2="{last}"/>'
        text = f'x="{x:.1f}" y="{last + 14}" text-anchor="middle"'
        yield f'<text class="tick" {text}>{10.0**decade:g}{_TIMES}</text>'
    one = _LEFT - low * scale
    for index, (name, ratio) in enumerate(bars):
        end = _LEFT + (log10(ratio) - low) * scale
        y = first + _STEP * index + 4
        colour = _colour(name)
        own = "" if colour == "peer" else ' class="own"'
        yield f'<text{own} x="{_LEFT - 10}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        bar = f'x="{min(one, end):.1f}" y="{y}" width="{abs(end - one):.1f}" height="{_BAR}"'
        yield f'<rect class="{colour}" rx="2" {bar}/>'
        faster = ratio < 1
        label = f'x="{end - 5 if faster else end + 5:.1f}" y="{y + 11}"'
        anchor = "end" if faster else "start"
        yield f'<text{own} {label} text-anchor="{anchor}">{number(ratio)}{_TIMES}</text>'


def _colour(name: str) -> str:
    if not name.startswith("chatpb "):
        return "peer"
    return "native" if name.startswith("chatpb native") else "python"
