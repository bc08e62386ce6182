"""Named points at which a process kills itself, to show that a crash there loses nothing. Off unless asked for.

    RETUNE_FAIL_AT=register:before-alias retune run      # dies by SIGKILL the first time that it passes there

In every build, since what was tested must be what runs. The tests kill at every name in `POINTS`.
"""

import os
import signal

VARIABLE = "RETUNE_FAIL_AT"
POINTS: tuple[str, ...] = (
    "history:before-anchor",
    "promote:before-history",
    "promote:before-alias",
    "promote:before-challenger",
    "promote:before-tags",
    "approve:before-history",
    "approve:before-champion",
    "reject:before-history",
    "reject:before-challenger",
    "reject:before-tags",
)


def point(name: str) -> None:
    """Die here, as by `kill -9`, if the environment names this point."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
