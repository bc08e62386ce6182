"""Score a model folder on rows that it has not seen, beside the untouched base.

    python -m tasks.evaluate MODEL_FOLDER ROWS.parquet REPORT_FOLDER

Any model folder, any rows: the gate scores the champion with the same command. Into REPORT_FOLDER go

    evaluate.json          the headline scores with their intervals, for DVC and MLflow
    predictions.parquet    what each model said of each row
    details.json           what is worth looking at: mistakes, or answers side by side
    plots/scores/*.png     two pictures of it
    report.html            all of it on one page, with no network; also the learning curve where it lies there
"""

from pathlib import Path

from retune.config import params
from retune.data import row_table
from retune.system import stage_io
from tasks.evaluate import classification, generation


def main(model_folder: Path, rows_path: Path, out: Path) -> None:
    chosen, rows = params.load(), row_table.read(rows_path)
    if chosen.task == "classify":
        classification.report_on(model_folder, rows, chosen.evaluate, out)
    else:
        generation.report_on(model_folder, rows, chosen.evaluate, out)


if __name__ == "__main__":
    stage_io.run(main)
