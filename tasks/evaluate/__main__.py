"""Score a model folder on rows that it has not seen, beside the untouched base.

    python -m tasks.evaluate MODEL_FOLDER ROWS.parquet REPORT_FOLDER

Any model folder, any rows: the champion is scored for the gate with the same command. It writes into REPORT_FOLDER

    evaluate.json          the headline scores with their intervals, for DVC and MLflow
    predictions.parquet    the predictions of each model for each row
    details.json           what is worth looking at: mistakes, or answers side by side
    plots/scores/*.png     plots of the scores
    report.html            all of it on one page that needs no network, with the learning curve if there is one
"""

from pathlib import Path

from retune.config import params
from retune.config.classification import Evaluate
from retune.data import row_table
from retune.system import stage_io
from tasks.evaluate import classification, generation


def main(model_folder: Path, rows_path: Path, out: Path) -> None:
    config, rows = params.load(), row_table.read(rows_path)
    if isinstance(config.evaluate, Evaluate):
        classification.report_on(model_folder, rows, config.evaluate, out)
    else:
        generation.report_on(model_folder, rows, config.evaluate, out)


if __name__ == "__main__":
    stage_io.run(main)
