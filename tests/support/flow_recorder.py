"""What stands where the bridge to DVC and the registry are, and writes down what a flow asks of them."""

from contextlib import contextmanager

import pandas as pd

from flows import pipeline
from flows.execution.plan import Planned
from retune.data import row_table
from retune.errors import Refused
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.system import stage_io
from tasks.register import record_builder

FINGERPRINT = "f" * 64


class Recorder:
    """Stands where the bridge and the registry are, and writes down what the flow asks of them."""

    def __init__(self):
        self.did, self.versions, self.metrics, self.ended = [], [], [], []
        self.described, self.artifacts_logged, self.readers, self.logged = [], [], [], []
        self.fails, self.predictions, self.remote, self.edits = {}, {}, False, {}
        self.gate = record_builder.Gate(Decision(True, ("it beats the base",)), None)
        self.stages_changed, self.ratio, self.forced = True, 1.0, []

    # the bridge
    def run(self, name, say, on_progress, force):
        self.did.append(name)
        self.forced += [name] if force else []
        if name in self.fails:
            raise self.fails[name]
        if name == "train":
            on_progress(1, 2, {"train_loss": 0.5})
            on_progress(2, 2, {"train_loss": 0.25})
        return self.stages_changed

    def save_record(self, name):
        self.did.append(f"record {name}")
        return "c0ffee"

    def push(self, *targets):
        self.did.append(" ".join(["push", *targets]))
        if "push" in self.fails:
            raise self.fails["push"]

    def score(self, model_folder, rows, out, say):
        self.did.append(f"score {model_folder} on {rows}")
        row_table.write(self.predictions[str(model_folder)], out / "predictions.parquet")

    def measure(self, candidate, champion, rows, out, say):
        self.did.append(f"measure {candidate} beside {champion} on {rows}")
        stage_io.write_json({"candidate": 2.0, "champion": 2.0, "ratio": self.ratio, "texts": 32, "passes": 5}, out)

    def plan(self):
        return [Planned(name, self.stages_changed, []) for name in pipeline.STAGES]

    # the registry
    @contextmanager
    def mlflow_run(self, experiment, name, tags):
        self.opened = (experiment, tags)
        try:
            yield "run-1"
            self.ended.append("FINISHED")
        except BaseException:
            self.ended.append("FAILED")
            raise

    @contextmanager
    def clean_process(self):
        self.readers.append(f"began after {self.did[-1]}")
        try:
            yield "reader"
        finally:
            self.readers.append(f"ended after {self.did[-1]}")

    def register(self, settings, origin, gate):
        self.did.append("register")
        self.origin, self.gate = origin, gate
        return self.add(FINGERPRINT)

    def admit(self, version, record_facts, section, reader):
        assert reader == "reader"
        assert record_facts == f"record of {version}"
        self.did.append("admit")
        return version

    def promote(self, version, record_facts, section):
        assert record_facts == f"record of {version}"
        self.did.append(f"promote {self.gate.decision.promote}")
        return self.gate.decision

    def add(self, fingerprint, aliases=(), **tags):
        number = len(self.versions) + 1
        self.versions.append(
            versions.Version(
                "classifier", number, f"run-{number}", "now", aliases, {"fingerprint": fingerprint, **tags}
            )
        )
        return self.versions[-1]

    def find(self, name, *, version=None, alias=None):
        for each in self.versions:
            if each.version == version or alias in each.aliases:
                return each
        raise Refused("there is none")

    def known(self, name, fingerprint):
        return next((version for version in self.versions if version.tags["fingerprint"] == fingerprint), None)

    def champion(self, name):
        return next((version for version in self.versions if "champion" in version.aliases), None)


def predictions(path, ours, base="wrong", rows=40, first=0):
    """predictions.parquet where `ours` and `base` say what is right, or wrong."""
    label = ["a", "b"] * (rows // 2)
    other = ["b", "a"] * (rows // 2)
    answers = {"right": label, "wrong": other}
    frame = pd.DataFrame(
        {
            "id": [f"r{first + n}" for n in range(rows)],
            "label": label,
            "predicted": answers[ours],
            "base_predicted": answers[base],
            "confidence": 0.9,
        }
    )
    if path:
        row_table.write(frame, path)
    return frame
