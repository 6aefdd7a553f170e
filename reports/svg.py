"""A few drawing words for inline SVG: axes, lines, areas. Colours are classes, set by the style of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plot:
    """A box with two linear axes, in user units of the picture.

    Attributes:
        x_range: Values at the left and right end.
        y_range: Values at the bottom and top.
        width: Of the picture.
        height: Of the picture.
        left: Room for the labels of the y axis; ``bottom``, ``right`` and ``top`` likewise.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float] = (0.0, 1.0)
    width: float = 520.0
    height: float = 270.0
    left: float = 46.0
    right: float = 14.0
    top: float = 10.0
    bottom: float = 40.0

    def place(self, point: Point) -> Point:
        """From values to the picture."""
        x_share = (point[0] - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        y_share = (point[1] - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        inner_width, inner_height = self.width - self.left - self.right, self.height - self.top - self.bottom
        return self.left + x_share * inner_width, self.height - self.bottom - y_share * inner_height

    def line(self, points: Sequence[Point], css: str) -> str:
        """An open line through values."""
        return f'<polyline class="{css}" points="{self._joined(points)}"/>'

    def area(self, lower: Sequence[Point], upper: Sequence[Point], css: str) -> str:
        """The area between two lines."""
        return f'<polygon class="{css}" points="{self._joined([*upper, *reversed(lower)])}"/>'

    def dot(self, point: Point, css: str, title: str) -> str:
        """A marker that says its value when pointed at."""
        x, y = self.place(point)
        return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="3.6"><title>{escape(title)}</title></circle>'

    def bar(self, point: Point, other: Point, css: str) -> str:
        """A straight line between two values."""
        (x1, y1), (x2, y2) = self.place(point), self.place(other)
        return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x_label: str) -> str:
        """Grid lines, tick labels and the name of the x axis."""
        parts = []
        for value, text in y_ticks:
            x, y = self.place((self.x_range[0], value))
            parts.append(self.bar((self.x_range[0], value), (self.x_range[1], value), "grid"))
            parts.append(_text(x - 7, y + 4, text, "end"))
        for value, text in x_ticks:
            x, y = self.place((value, self.y_range[0]))
            parts.append(f'<line class="tick" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + 4:.1f}"/>')
            parts.append(_text(x, y + 17, text, "middle"))
        parts.append(_text((self.left + self.width - self.right) / 2, self.height - 4, x_label, "middle"))
        return "".join(parts)

    def picture(self, content: Sequence[str], title: str) -> str:
        """The whole element; ``title`` is read out by screen readers."""
        box = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return f'<svg class="plot" {box} role="img" aria-label="{escape(title)}">{"".join(content)}</svg>'

    def _joined(self, points: Sequence[Point]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.place(point) for point in points))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
