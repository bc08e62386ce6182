import json

import numpy as np
import pytest

from retune.errors import Refused
from retune.models import routing
from retune.models.routing import Routing


def test_an_answer_goes_out_alone_from_the_threshold_of_its_label_on():
    rule = Routing(0.9, {"refund": 0.99, "complaint": None}, "proved on test")
    labels = ["bill", "bill", "refund", "refund", "complaint"]
    routes = rule.routes(labels, np.array([0.9, 0.89, 0.98, 0.99, 1.0]))
    assert routes == ["auto", "human", "human", "auto", "human"]
    assert rule.routes([], np.array([])) == []


def test_a_confidence_that_is_no_number_goes_to_a_person():
    assert Routing(0.5, {}, "").routes(["a"], np.array([np.nan])) == ["human"]


def test_a_version_without_the_file_promises_nothing_and_says_why(tmp_path):
    rule = routing.read(tmp_path)
    assert not rule.promises
    assert rule.routes(["a"], np.array([1.0])) == ["human"]
    assert "registered before" in rule.reason


def test_one_label_with_a_threshold_is_a_promise():
    assert Routing(None, {"a": 0.9}, "").promises
    assert not Routing(None, {"a": None}, "").promises


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"threshold": 0.5})])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    (tmp_path / routing.FILE).write_text(content, "utf-8")
    with pytest.raises(Refused, match=r"automation\.json is damaged"):
        routing.read(tmp_path)
