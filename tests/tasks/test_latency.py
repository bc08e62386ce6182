from itertools import pairwise

import pytest

from retune.config.common import Latency
from retune.errors import Refused
from retune.promotion import latency
from tasks import latency as verb
from tasks.latency import measure_latency

SECTION = Latency(texts=4, batch_size=1, passes=5)


class Machine:
    """A clock that the models move: each takes its own time a text, times what the machine is busy with."""

    def __init__(self, busy=lambda call_count: 1.0):
        self.now, self.calls, self.busy = 0.0, [], busy

    def model(self, name, milliseconds, tokens=None):
        def predict(texts):
            self.now += milliseconds / 1000 * len(texts) * self.busy(len(self.calls))
            self.calls.append((name, len(texts)))
            return None if tokens is None else tokens * len(texts)

        return predict

    def clock(self):
        return self.now


def test_both_are_timed_on_the_same_few_texts_in_turn():
    machine = Machine()
    result = measure_latency(machine.model("new", 6), machine.model("old", 4), list("abcdefgh"), SECTION, machine.clock)
    assert latency.as_record(result) == {
        "candidate": pytest.approx(6),
        "champion": pytest.approx(4),
        "ratio": pytest.approx(1.5),
        "texts": 4,
        "passes": 5,
        "per": "text",
    }
    assert {count for _, count in machine.calls} == {4}
    names = [name for name, _ in machine.calls]
    assert names.count("new") == names.count("old") == 1 + SECTION.passes  # the first of each is no measurement
    assert {tuple(sorted(names[at : at + 2])) for at in range(2, 12, 2)} == {("new", "old")}
    assert any(one == other for one, other in pairwise(names[2:])), "who goes first takes turns"


def test_a_machine_that_slows_down_in_the_middle_slows_both():
    machine = Machine(busy=lambda call_count: 10.0 if call_count >= 6 else 1.0)
    latency = measure_latency(machine.model("new", 5), machine.model("old", 5), list("abcd"), SECTION, machine.clock)
    assert latency.ratio == pytest.approx(1.0)


def test_a_first_pass_that_loads_things_does_not_count():
    machine = Machine(busy=lambda call_count: 1000.0 if call_count < 2 else 1.0)
    latency = measure_latency(machine.model("new", 5), machine.model("old", 5), list("abcd"), SECTION, machine.clock)
    assert latency.candidate == pytest.approx(5)


def test_a_model_that_writes_longer_answers_is_not_slower_for_it():
    machine = Machine()
    longer, shorter = machine.model("new", 477, tokens=246), machine.model("old", 141, tokens=48)
    latency = measure_latency(longer, shorter, list("abcd"), SECTION, machine.clock)
    assert latency.per == "token" and (latency.candidate_tokens, latency.champion_tokens) == (4 * 246, 4 * 48)
    assert latency.candidate == pytest.approx(477 / 246) and latency.champion == pytest.approx(141 / 48)
    assert latency.ratio == pytest.approx(477 / 246 / (141 / 48))


def test_few_rows_are_enough_and_none_are_refused():
    machine = Machine()
    assert measure_latency(machine.model("new", 5), machine.model("old", 5), ["a"], SECTION, machine.clock).texts == 1
    with pytest.raises(Refused, match="no rows"):
        measure_latency(machine.model("new", 5), machine.model("old", 5), [], SECTION, machine.clock)


def test_two_folders_are_timed_for_real(model_folder, make_tickets, settings, tmp_path, monkeypatch):
    import json

    import yaml

    from retune.data import row_table

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    row_table.write(make_tickets(10), tmp_path / "rows.parquet")
    verb.main(model_folder, model_folder, tmp_path / "rows.parquet", tmp_path / "out/latency.json")
    latency = json.loads((tmp_path / "out/latency.json").read_text("utf-8"))
    assert latency["texts"] == 10
    assert 0.1 < latency["ratio"] < 10
    assert latency["candidate"] > 0 and latency["champion"] > 0
