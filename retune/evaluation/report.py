"""The evaluation on one page: report.html, with report_labels.html or report_answers.html for what the task scores."""

import base64
from pathlib import Path
from typing import Any

from retune.evaluation import task_metrics
from retune.pages.page import render

CHAMPION = "champion of that time"
MODELS = (("", "candidate"), ("champion_", CHAMPION), ("probe_", "probe"), ("base_", "base, untouched"))


def write(
    path: Path, scores: dict[str, float], details: dict[str, Any], manifest: dict[str, Any], pictures: list[Path]
) -> None:
    """scores: evaluate.json; details: details.json; manifest: model.json; pictures: PNG files, in this order."""
    titles = task_metrics.titles_in(scores)
    page = render(
        Path(__file__).with_name("report_answers.html" if "answers" in details else "report_labels.html"),
        scores=scores,
        details=details,
        manifest=manifest,
        titles=titles,
        models=[(prefix, model) for prefix, model in MODELS if {f"{prefix}{name}" for name in titles} <= scores.keys()],
        bars={name: task_metrics.scale_of(name).full for name in titles if name not in task_metrics.LESS_IS_BETTER},
        pictures=[(file.stem, base64.b64encode(file.read_bytes()).decode()) for file in pictures],
    )
    path.write_text(page, "utf-8")
