"""The monitor as a page: one file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.pages.page import render
from tasks.monitor.report import MonitorReport, WindowReport

TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Line:
    """A test over the windows: how sure each is of a shift, from 0 to 1; 1 is an adjusted p of a millionth or less."""

    name: str
    heights: tuple[float | None, ...]  # None: insufficient data
    shifted: tuple[bool, ...]


def page(report: MonitorReport, currency: str) -> str:
    return render(TEMPLATE, r=report, currency=currency, lines=_lines(report.windows))


def _lines(windows: Sequence[WindowReport]) -> list[Line]:
    names = [finding.test.name for finding in windows[-1].findings] if windows else []
    return [_line(number, name, windows) for number, name in enumerate(names)]


def _line(number: int, name: str, windows: Sequence[WindowReport]) -> Line:
    findings = [window.findings[number] for window in windows]
    heights = tuple(None if each.q is None else _height(each.q) for each in findings)
    return Line(name, heights, tuple(each.verdict == "shift" for each in findings))


def _height(q: float) -> float:
    from math import log10

    return min(-log10(max(q, 1e-6)) / 6, 1.0)
