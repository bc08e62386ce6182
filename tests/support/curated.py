"""Curated rows in the working folder, as if DVC had run curate on the records, lists and parameters that are there."""

from pathlib import Path

import pandas as pd
import yaml

from retune.data import label_verdicts, row_table, suppression
from retune.data.row_table import COLUMNS
from retune.system.files import file_md5
from tasks.data_quality.curated_rows import CURATED

RAW = "0" * 32 + ".dir"


def write_curated_rows(row_tuples):
    """row_tuples: (id, text, label)."""
    rows = pd.DataFrame([(*row, "", "desk", "") for row in row_tuples], columns=list(COLUMNS)).astype("str")
    row_table.write(rows, CURATED)
    Path("data/raw.dvc").write_text(f"outs:\n- md5: {RAW}\n  path: raw\n")
    for path, write in ((suppression.LIST, suppression.write), (label_verdicts.FILE, label_verdicts.write)):
        if not path.exists():
            write(suppression.NOTHING if path == suppression.LIST else [])
    values = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    deps = {"data/raw": RAW, **{str(path): file_md5(path) for path in (suppression.LIST, label_verdicts.FILE)}}
    entry = {
        "cmd": "python -m tasks.curate",
        "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()],
        "params": {"params.yaml": {"task": values["task"], "curate": values["curate"]}},
        "outs": [{"path": str(CURATED), "md5": file_md5(CURATED)}],
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"curate": entry}}))
