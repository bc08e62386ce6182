"""Doubtful labels go out to people, and their verdicts come back, into `data/label_verdicts.json`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from retune.config import params
from retune.data import label_verdicts
from retune.errors import Refused, WrongUse
from retune.evaluation import label_review
from retune.evaluation.label_review import Import, Sheet
from tasks.data_quality import curated_rows
from tasks.data_quality.labels import examine_clone


def export(count: int, out: Path, say: Callable[[str], None]) -> tuple[Sheet, dict[str, Path]]:
    """Write a sheet of the most doubtful rows, as a CSV and as a page; returns the sheet and its files."""
    examination = examine_clone(say)
    if not examination.doubtful:
        raise Refused(f"none of {examination.rows} rows has a doubtful label: there is nothing to review")
    labels = sorted(set(curated_rows.read()["label"]))
    sheet = label_review.sheet_of([asdict(each) for each in examination.doubtful[:count]], labels)
    files = {"csv": out / f"labels-{sheet.name}.csv", "page": out / f"labels-{sheet.name}.html"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        files["csv"].write_bytes(label_review.as_csv(sheet))
        files["page"].write_text(label_review.as_page(sheet), "utf-8")
    except OSError as error:
        raise WrongUse(f"--out {out} cannot be written: {error.strerror}") from None
    return sheet, files


def import_(files: Sequence[Path], allow_new: bool, day: str, path: Path = label_verdicts.FILE) -> Import:
    """Add the verdicts in `files` to those at `path`, all of them or, where a line is invalid, none."""
    curated_rows.of_labels(params.load())
    rows, verdicts = curated_rows.read(even_older=True), label_verdicts.read(path)
    labels = {*rows["label"], *(verdict.after for verdict in verdicts.values() if verdict.after)}
    answers = label_review.read_answers(files, labels, allow_new, "retune review labels export")
    if not answers:
        raise Refused(
            "these files hold no verdict", remedy="fill in the column verdict: keep, suggested, other or drop"
        )
    texts_and_labels = dict(zip(rows["id"], zip(rows["text"], rows["label"], strict=True), strict=True))
    result = label_review.merge(verdicts, answers, texts_and_labels, day)
    if result.verdicts != verdicts:
        label_verdicts.write(result.verdicts.values(), path)
    return result
