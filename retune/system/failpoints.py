"""Named points at which a process kills itself, to show that a crash there loses nothing. Off unless asked for.

    RETUNE_FAIL_AT=register:version retune run      # dies by SIGKILL the first time that it passes there

In every build, since what was tested must be what runs. The tests kill at every name in `POINTS`, which stand here in
the order of a run. No stage declares this module: a point either ends the process or does nothing, so no result
depends on it, and a new point must not make every model stale.
"""

import os
import signal

VARIABLE = "RETUNE_FAIL_AT"
POINTS = (
    "retrain:fetched",  # what the sources gave lies in a scratch folder
    "ingest:parsed",  # nothing is written yet
    "ingest:stated",  # licence and window stand in data/raw, the rows do not
    "rows:unfinished",  # any table of rows, under its other name
    "ingest:written",  # the part is whole, and DVC knows nothing of it
    "ingest:tracked",
    "retrain:before-intake",
    "retrain:after-intake",  # rows and cursors moved
    "retrain:decided",
    "workspace:laid",
    "retrain:in-worktree",
    "run:opened",  # the MLflow run
    "before:curate",
    "json:unfinished",  # any report, under its other name
    "shell:made",  # a stage has made its outputs, and DVC knows nothing of them
    "after:curate",
    "before:validate",
    "after:validate",
    "before:split",
    "after:split",
    "before:train",
    "checkpoint:unfinished",
    "checkpoint:whole",
    "train:saved",  # the model, but neither curve nor report
    "after:train",
    "before:evaluate",
    "after:evaluate",
    "record:checked",
    "record:saved",
    "record:pushed",
    "gate:decided",
    "register:packed",
    "register:sealed",
    "register:logged",  # the files are in the store, no version names them
    "register:named",
    "register:version",
    "admit:logged",
    "history:tagged",  # an entry stands, the registry does not know of it
    "admit:history",
    "admit:reloaded",
    "admit:challenger",
    "promote:before-history",
    "promote:before-alias",
    "promote:before-challenger",
    "promote:before-tags",
    "approve:before-history",
    "approve:before-champion",
    "reject:before-history",
    "reject:before-challenger",
    "reject:before-tags",
    "run:decided",  # all is done, the MLflow run is still open
    "workspace:before-removal",
    "retrain:before-settle",
    "retrain:refused",  # people know that rows were refused, which are not set aside yet
    "retrain:told",  # people know of the outcome, the history does not yet
)


def point(name: str) -> None:
    """Die here, as by `kill -9`, if the environment names this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
