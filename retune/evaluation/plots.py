"""Plots of scores, as PNG: MLflow, `dvc plots show` and the report show the same files. Adapter of matplotlib.

Colours are the Okabe-Ito palette, which colour-blind readers can tell apart. Labels are drawn as they are written,
never as TeX, in any font of this machine that has their letters. A code stands for a label that is long, or that no
font here can draw.
"""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
MOST_CONFUSED = 25  # most labels of a readable confusion matrix
LONGEST_LABEL = 28  # letters
FONT = "DejaVu Sans"  # comes with matplotlib, so that most pictures are the same everywhere


def learning_curve(points: pd.DataFrame, path: Path) -> None:
    """Loss on the left, validation scores on the right, over steps. points: the columns of learning_curve.csv."""
    figure, (losses, scores) = _axes(2, (10, 4))
    for axis, column, label, colour in [
        (losses, "train_loss", "train", GREY),
        (losses, "val_loss", "validation", BLUE),
        (scores, "val_macro_f1", "macro-F1", BLUE),
        (scores, "val_accuracy", "accuracy", ORANGE),
    ]:
        if column in points and points[column].notna().any():
            values = points[points[column].notna()]
            marker = "o" if column.startswith("val") else ""
            axis.plot(values["step"], values[column], label=label, color=colour, marker=marker)
    losses.set(xlabel="step", ylabel="cross-entropy", title="Loss")
    scores.set(xlabel="step", ylabel="score", title="Validation")
    if not losses.lines:  # a probe has a single step
        losses.text(0.5, 0.5, "no steps of training", ha="center", va="center", color=GREY)
        scores.text(0.5, 0.5, "no steps of training", ha="center", va="center", color=GREY)
    _finish(figure, [losses, scores], path)


def sufficiency(points: Sequence[tuple[int, float]], doubled: tuple[int, float, float, float], path: Path) -> None:
    """Accuracy over rows learned from. points: (rows, accuracy); doubled: rows, the forecast, its low and its high."""
    figure, (axis,) = _axes(1, (6, 4))
    rows, accuracy = zip(*points, strict=True)
    axis.plot(rows, accuracy, marker="o", color=BLUE, label="measured")
    size, forecast, low, high = doubled
    errors = [[max(forecast - low, 0)], [max(high - forecast, 0)]]
    axis.plot([rows[-1], size], [accuracy[-1], forecast], color=ORANGE, linestyle=":")
    axis.errorbar([size], [forecast], yerr=errors, fmt="o", color=ORANGE, capsize=4, label="forecast, 90% interval")
    axis.set(xlabel="rows learned from", ylabel="accuracy", title="Would more data help?", xscale="log")
    _finish(figure, [axis], path)


def reliability(models: dict[str, tuple[np.ndarray, np.ndarray]], bins: int, path: Path) -> None:
    """Accuracy over confidence, one line per model. models: name -> (right [rows] of bool, confidence [rows])."""
    figure, (axis,) = _axes(1, (5, 5))
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfect")
    for number, (name, (right, confidence)) in enumerate(models.items()):
        bin_of_row = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        count = np.bincount(bin_of_row, minlength=bins)
        full = count > 0
        mean = np.bincount(bin_of_row, weights=confidence, minlength=bins)[full] / count[full]
        share = np.bincount(bin_of_row, weights=right, minlength=bins)[full] / count[full]
        look = {"color": (BLUE, GREY, ORANGE)[number], "zorder": 9 - number}  # the candidate on top
        axis.plot(mean, share, marker="o", markersize=4, label=name, **look)
    axis.set(xlabel="confidence", ylabel="accuracy", title="Reliability", xlim=(0, 1.02), ylim=(0, 1.02))
    _finish(figure, [axis], path)


def risk_coverage(
    coverage: np.ndarray, risk: np.ndarray, point: tuple[float, float] | None, precision: float | None, path: Path
) -> None:
    """The share wrong of those that are answered alone, over their share of all rows. point: of the chosen rule."""
    figure, (axis,) = _axes(1, (6, 4))
    axis.plot(coverage, risk, color=BLUE, label="candidate")
    if precision is not None:
        axis.axhline(1 - precision, color="black", linewidth=0.8, linestyle=":", label=f"promised, {1 - precision:.3g}")
    if point:
        axis.plot(*point, marker="o", markersize=8, linestyle="", color=ORANGE, label="chosen on validation")
    axis.set(xlabel="coverage: share of the rows", ylabel="risk: share wrong of these", xlim=(0, 1.02))
    axis.set_title("Risk over coverage, test rows")
    axis.set_ylim(bottom=0)
    _finish(figure, [axis], path)


def confusion(table: pd.DataFrame, path: Path) -> dict[str, str]:
    """True labels down, predicted across; colour is the share of the true label. Of many labels the most confused.

    Returns code -> label of those labels that are not drawn in full.
    """
    title = "Confusion, in rows"
    if len(table) > MOST_CONFUSED:
        wrong = table.to_numpy() - np.diag(np.diag(table))
        worst = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:MOST_CONFUSED]
        table = table.iloc[np.sort(worst), np.sort(worst)]
        title = f"Confusion, in rows, of the {MOST_CONFUSED} most confused labels"
    size = 3 + 0.32 * len(table)
    figure, (axis,) = _axes(1, (size, size))
    share = table.to_numpy() / np.maximum(table.to_numpy().sum(1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    labels = [str(name) for name in table.index]
    fonts, missing = _fonts_for({character for label in labels for character in label})
    names, codes = drawn_names(labels, missing)
    if codes:
        title += "\nreport.html spells the labels with # out"
    look = {"fontsize": 8, "fontfamily": fonts, "parse_math": False}
    axis.set_xticks(range(len(names)), names, rotation=90, **look)
    axis.set_yticks(range(len(names)), names, **look)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if value:
            colour = "white" if share[row, column] > 0.5 else "black"
            axis.text(column, row, str(value), ha="center", va="center", fontsize=7, color=colour)
    axis.set(xlabel="predicted", ylabel="true", title=title)
    _finish(figure, [], path)
    return codes


def drawn_names(labels: Sequence[str], missing: set[str]) -> tuple[list[str], dict[str, str]]:
    """What is drawn of each label, and code -> label of those that are not drawn in full.

    missing: characters that no font has.
    """
    names, codes = [], {}
    for number, label in enumerate(labels, 1):
        name, code = " ".join(label.split()), f"#{number}"
        if not name or missing & set(name):
            name = code
        elif len(name) > LONGEST_LABEL:
            name = f"{code} {name[: LONGEST_LABEL - len(code) - 2]}…"
        if name.startswith(code):
            codes[code] = label
        names.append(name)
    return names, codes


def _fonts_for(characters: set[str]) -> tuple[list[str], set[str]]:
    """Font families that draw these characters, the usual one first, and the characters that none here draws."""
    _own_folder()
    import matplotlib
    from matplotlib import font_manager, ft2font

    def glyphs(path: str, face: int) -> set[str]:
        font = ft2font.FT2Font(path, face_index=face)
        scalable = font.face_flags & ft2font.FaceFlags.SCALABLE  # bitmaps, as of coloured emoji, cannot be drawn
        return {chr(code) for code in font.get_charmap()} if scalable else set()

    families = [FONT]
    missing = {character for character in characters if not _invisible(character)}
    missing -= glyphs(font_manager.findfont(FONT), 0)
    others = (
        font for font in font_manager.fontManager.ttflist if not font.fname.startswith(matplotlib.get_data_path())
    )
    for font in sorted(others, key=lambda font: (font.style != "normal", font.weight != 400, font.name, font.fname)):
        if not missing:
            break
        if font.name not in families and (more := missing & glyphs(font.fname, font.index)):
            families.append(font.name)
            missing -= more
    return families, missing


def _invisible(character: str) -> bool:
    """White space, and what only shapes its neighbours: joiners, marks of direction, variation selectors."""
    return character.isspace() or unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def spread(models: dict[str, pd.Series], label: str, path: Path) -> None:
    """The distribution of a number over rows, one outline per model. models: name -> [rows], the candidate first."""
    figure, (axis,) = _axes(1, (6, 4))
    whole = pd.concat(models.values())
    edges = np.linspace(float(whole.min()), float(whole.max()) + 1e-9, 31) if len(whole) else np.linspace(0, 1, 31)
    for number, (name, values) in enumerate(models.items()):
        look = {"color": (BLUE, ORANGE)[number], "zorder": 9 - number}
        axis.hist(
            values,
            bins=edges,
            histtype="stepfilled" if number else "step",
            alpha=0.4 if number else 1.0,
            label=name,
            **look,
        )
        if len(values):
            axis.axvline(float(values.mean()), linestyle=":", **look)
    axis.set(xlabel=f"{label} (dotted: mean)", ylabel="rows")
    _finish(figure, [axis], path)


def lengths(tokens: dict[str, np.ndarray], limit: int, path: Path) -> None:
    """The distribution of row lengths, one colour per part; the line is the limit. tokens: part -> tokens [rows]."""
    figure, (axis,) = _axes(1, (8, 4))
    longest = max((int(values.max()) for values in tokens.values() if len(values)), default=1)
    edges = np.linspace(0, max(longest, limit) + 1, 60)
    for number, (name, values) in enumerate(tokens.items()):
        axis.hist(values, bins=edges, histtype="step", linewidth=1.5, label=name, color=(BLUE, GREY, ORANGE)[number])
    axis.axvline(limit, color="black", linewidth=0.8, linestyle=":", label=f"train.max_tokens, {limit}")
    axis.set(xlabel="tokens", ylabel="rows", title="Lengths", xlim=(0, edges[-1]))
    _finish(figure, [axis], path)


def _own_folder() -> None:
    os.environ.setdefault("MPLCONFIGDIR", str(Path(".retune/cache/matplotlib").resolve()))  # else the home folder


def _axes(count: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    _own_folder()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=size, squeeze=False, layout="compressed")
    return figure, axes[0]


def _finish(figure: Any, axes: Sequence[Any], path: Path) -> None:
    from matplotlib import pyplot

    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
