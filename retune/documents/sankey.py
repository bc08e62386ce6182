"""The stages from sources to champion as a Sankey diagram: the positions of its ribbons and labels, without HTML.

The width of a ribbon is its number of rows. The diagram shows that rejected rows leave before validation, and that test
rows go around training.
"""

from dataclasses import dataclass

from retune.lineage.record import Data, Source

WIDTH, HEIGHT = 1120, 336
MIDDLE, THICK, THIN, MODEL, MOUTH = (
    176.0,
    104.0,
    2.5,
    12.0,
    26.0,
)  # of the flow; of all rows, of any, of the model, of a sign
TOP = 80.0  # of the sources, below the names of the stages
SHOWN = 5  # sources with a ribbon of their own
X = {
    "sources": 20.0,
    "raw": 236.0,
    "curated": 352.0,
    "validation": 456.0,
    "splits": 560.0,
    "training": 700.0,
    "evaluation": 812.0,
    "gate": 902.0,
    "registered": 984.0,
    "champion": 1070.0,
}


@dataclass(frozen=True)
class Ribbon:
    kind: str
    path: str


@dataclass(frozen=True)
class Label:
    """A text in the diagram."""

    x: float
    y: float
    text: str
    detail: str
    anchor: str = "start"


@dataclass(frozen=True)
class Picture:
    ribbons: tuple[Ribbon, ...]
    sources: tuple[Label, ...]
    sides: tuple[Label, ...]
    rejected: Label
    base: Label


def picture(data: Data) -> Picture:
    """The diagram of the section `data` of a record."""
    whole = max(data["raw"]["rows"], data["curated"]["rows"] + data["rejected"]["rows"], 1)
    sources, marks = _sources(data["sources"], data["raw"]["rows"], whole)
    to_sides, sides = _sides({side: split_facts["rows"] for side, split_facts in data["sides"].items()}, whole)
    raw, curated_ribbon, rejected_ribbon = (
        thickness(rows, whole) for rows in (data["raw"]["rows"], data["curated"]["rows"], data["rejected"]["rows"])
    )
    top, end = MIDDLE - raw / 2, 306.0
    leaving = Ribbon(
        "left",
        _ribbon(
            X["raw"] + 8,
            top + raw - rejected_ribbon,
            X["curated"] - 6,
            end - rejected_ribbon / 2,
            rejected_ribbon,
            rejected_ribbon,
        ),
    )
    return Picture(
        ribbons=(
            *sources,
            *([leaving] if rejected_ribbon else []),
            Ribbon(
                "rows",
                _ribbon(
                    X["raw"],
                    top,
                    X["curated"],
                    MIDDLE - curated_ribbon / 2,
                    max(raw - rejected_ribbon, curated_ribbon),
                    curated_ribbon,
                ),
            ),
            Ribbon(
                "rows",
                _ribbon(
                    X["curated"],
                    MIDDLE - curated_ribbon / 2,
                    X["splits"],
                    MIDDLE - curated_ribbon / 2,
                    curated_ribbon,
                    curated_ribbon,
                ),
            ),
            *to_sides,
            Ribbon("base", _pipe(X["training"], 100, X["training"], MIDDLE, MODEL)),
            Ribbon("model", _pipe(X["training"], MIDDLE, X["registered"], MIDDLE, MODEL)),
            Ribbon("last", _pipe(X["registered"], MIDDLE, X["champion"], MIDDLE, MODEL)),
        ),
        sources=marks,
        sides=sides,
        rejected=Label(X["curated"], end, "Rejected", f"{data['rejected']['rows']:,} rows"),
        base=Label(X["training"], 88, "Base", "", "middle"),
    )


def thickness(rows: int, of: int) -> float:
    return max(THIN, min(THICK, THICK * rows / max(of, 1))) if rows else 0.0


def _sources(sources: dict[str, Source], raw: int, whole: int) -> tuple[list[Ribbon], tuple[Label, ...]]:
    """The largest sources one by one, the rest as one. Thin ones are spaced, so that their names fit."""
    ranked = sorted(
        ((source_facts["received"], name) for name, source_facts in sources.items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    largest = ranked if len(ranked) <= SHOWN else ranked[: SHOWN - 1]
    rest = ranked[len(largest) :]
    rows = [*largest, *([(sum(count for count, _ in rest), f"{len(rest)} more sources")] if rest else [])]
    if not rows:
        return [], (Label(X["sources"], MIDDLE, "No source named", ""),)
    total = sum(count for count, _ in rows)
    thick = thickness(raw, whole)
    room, ribbons, marks = 200.0 / len(rows), [], []
    into = MIDDLE - thick / 2
    for place, (count, name) in enumerate(rows):
        width = thick * count / max(total, 1)
        middle = TOP + room * (place + 0.5)
        if width:
            start = max(width, THIN)
            ribbons.append(Ribbon("source", _ribbon(X["sources"], middle - start / 2, X["raw"], into, start, width)))
        marks.append(Label(X["sources"] + 6, middle, _cut(name), f"{count:,}"))
        into += width
    return ribbons, tuple(marks)


def _sides(rows: dict[str, int], whole: int) -> tuple[list[Ribbon], tuple[Label, ...]]:
    """Train and val end in training; test goes around it and ends in evaluation."""
    thick = {side: thickness(count, whole) for side, count in rows.items()}
    leaves, learned = MIDDLE - sum(thick.values()) / 2, thick["train"] + thick["val"]
    narrowed = min(1.0, MOUTH / max(learned, THIN))  # to the size of training's symbol
    arrives, ribbons, marks, x = MIDDLE - learned * narrowed / 2, [], [], X["splits"]
    for side in ("train", "val"):
        width, narrowed_width = thick[side], thick[side] * narrowed
        if width:
            ribbons.append(Ribbon(side, _ribbon(x, leaves, X["training"], arrives, width, narrowed_width)))
        leaves, arrives = leaves + width, arrives + narrowed_width
    if thick["test"]:
        ribbons.append(Ribbon("test", _around(x, leaves + thick["test"] / 2, X["evaluation"], MIDDLE, thick["test"])))
    below = _low(thick["test"])
    marks.append(Label(x + 66, MIDDLE, "train, val", f"{rows['train'] + rows['val']:,}", "middle"))
    marks.append(Label(X["training"], below + thick["test"] / 2 + 16, "test", f"{rows['test']:,}", "middle"))
    return ribbons, tuple(marks)


def _low(thick: float) -> float:
    """The height at which the test rows pass under training."""
    return MIDDLE + THICK / 2 + 26 + thick / 2


def _around(x0: float, y0: float, x1: float, y1: float, thick: float) -> str:
    """From a split, down under training and up into evaluation, narrowed to the size of its symbol."""
    low, half, mid, end = _low(thick), thick / 2, X["training"], min(thick, MOUTH) / 2
    return (
        f"M{x0:.1f} {y0 - half:.1f}C{x0 + 60:.1f} {y0 - half:.1f} {mid - 70:.1f} {low - half:.1f} {mid:.1f} "
        f"{low - half:.1f}C{x1 - 40:.1f} {low - half:.1f} {x1 - end:.1f} {low - half - 20:.1f} {x1 - end:.1f} {y1:.1f}"
        f"L{x1 + end:.1f} {y1:.1f}C{x1 + end:.1f} {low + half - 20:.1f} {x1 - 20:.1f} {low + half:.1f} {mid:.1f} "
        f"{low + half:.1f}C{mid - 70:.1f} {low + half:.1f} {x0 + 60:.1f} {y0 + half:.1f} {x0:.1f} {y0 + half:.1f}Z"
    )


def _ribbon(x0: float, top0: float, x1: float, top1: float, thick0: float, thick1: float) -> str:
    mid = (x0 + x1) / 2
    return (
        f"M{x0:.1f} {top0:.1f}C{mid:.1f} {top0:.1f} {mid:.1f} {top1:.1f} {x1:.1f} {top1:.1f}L{x1:.1f} "
        f"{top1 + thick1:.1f}C{mid:.1f} {top1 + thick1:.1f} {mid:.1f} {top0 + thick0:.1f} {x0:.1f} {top0 + thick0:.1f}Z"
    )


def _pipe(x0: float, y0: float, x1: float, y1: float, thick: float) -> str:
    half = thick / 2
    if x0 == x1:
        return f"M{x0 - half:.1f} {y0:.1f}H{x0 + half:.1f}V{y1:.1f}H{x0 - half:.1f}Z"
    return f"M{x0:.1f} {y0 - half:.1f}H{x1:.1f}V{y0 + half:.1f}H{x0:.1f}Z"


def _cut(name: str, length: int = 20) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
