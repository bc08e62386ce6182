"""Score a model folder on rows that it has not seen, beside the untouched base.

    python -m tasks.evaluate MODEL_FOLDER ROWS.parquet REPORT_FOLDER \\
        [VALIDATION.parquet TRAIN.parquet VAL.parquet OUT_OF_SCOPE.parquet]

Any model folder, any rows: the champion is scored for the gate with the same command. On VALIDATION.parquet, from
training, it chooses what the model may do alone; without it the folder's own choice holds. In the rows of train and val
it looks for the texts of golden cases. Those of OUT_OF_SCOPE.parquet belong to no label. It writes into REPORT_FOLDER

    evaluate.json          the headline scores with their intervals, for DVC and MLflow
    predictions.parquet    the predictions of each model for each row
    automation.json        the confidence from which on nobody reads an answer, and what that promise rests on
    details.json           what is worth looking at: mistakes, or answers side by side
    plots/scores/*.png     plots of the scores
    report.html            all of it on one page that needs no network, with the learning curve if there is one
"""

from pathlib import Path

from retune.config import params
from retune.config.classification import Evaluate
from retune.data import row_table
from retune.system import stage_io


def main(
    model_folder: Path,
    rows_path: Path,
    out: Path,
    validation_path: Path | None = None,
    train_path: Path | None = None,
    val_path: Path | None = None,
    out_of_scope_path: Path | None = None,
) -> None:
    config, rows = params.load(), row_table.read(rows_path)
    learned = tuple(path for path in (train_path, val_path) if path)
    validation = row_table.read(validation_path) if validation_path else None
    if isinstance(config.evaluate, Evaluate):  # each imports what the other does not need, and that takes seconds
        from tasks.evaluate import classification

        others = row_table.read(out_of_scope_path)["text"].tolist() if out_of_scope_path else []
        classification.report_on(model_folder, rows, validation, learned, others, config.evaluate, out)
    else:
        from tasks.evaluate import generation

        generation.report_on(model_folder, rows, validation, learned, config.evaluate, out)


if __name__ == "__main__":
    stage_io.run(main)
