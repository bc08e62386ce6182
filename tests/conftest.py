"""Options and markers of all tests; their shared fixtures stand in `tests/support`."""

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = (
    "tests.support.clones",
    "tests.support.git_repo",
    "tests.support.recorded_pipeline",
    "tests.support.records",
    "tests.support.registry",
    "tests.support.retraining_clone",
    "tests.support.servers",
    "tests.support.serving",
    "tests.support.folders",
    "tests.support.tiny_models",
    "tests.support.tiny_pipeline",
)

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():  # as the CLI does, before torch reads it
    os.environ["GOMP_SPINCOUNT"] = "1000"

PIPELINE = Path(__file__).parent / "pipeline"
CLONES = {"new_clone", "clone", "own_clone", "tiny_pipeline_template"}


def pytest_addoption(parser):
    parser.addoption("--moments", type=int, default=5, help="how many random moments to kill at (tests/faults)")
    parser.addoption("--seed", type=int, default=None, help="of those moments; printed when it is chosen")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is long is slow too: `pytest -m slow` is all that `pytest` leaves out.

    The modules that work in clones come first: with several workers, none of them is then the last, alone.
    """
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")
    in_clones = {item.path for item in items if CLONES & set(item.fixturenames)}
    items.sort(key=lambda item: (PIPELINE not in item.path.parents, item.path not in in_clones))


class SharedClones(LoadScopeScheduling):
    """One worker for a module, and for a folder below tests/pipeline: its modules share a clone."""

    def _split_scope(self, nodeid):
        module = Path(nodeid.split("::", 1)[0])
        return str(module.parent if module.parts[:2] == ("tests", "pipeline") and len(module.parts) > 3 else module)


def pytest_xdist_make_scheduler(config, log):
    return SharedClones(config, log) if config.getvalue("dist") == "loadscope" else None
