import json

import pytest

from retune.errors import WrongUse
from retune.evaluation import json_validity

SCHEMA = {"type": "object", "required": ["queue"], "properties": {"queue": {"type": "string"}}}


def test_only_json_of_the_schema_is_valid(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA), "utf-8")
    schema = json_validity.read_schema(str(path))
    texts = ['{"queue": "billing"}', '{"queue": 3}', "{queue}", "", '{"queue": "a", "x": NaN}', "[" * 100_000]
    assert json_validity.matches_schema(texts, schema) == [True, False, False, False, False, False]


@pytest.mark.parametrize("content", ["{", '{"type": 3}', "7"])
def test_what_is_not_a_schema_is_refused_by_name(tmp_path, content):
    path = tmp_path / "schema.json"
    path.write_text(content, "utf-8")
    with pytest.raises(WrongUse, match=r"schema\.json"):
        json_validity.read_schema(str(path))
    with pytest.raises(WrongUse, match="cannot be read"):
        json_validity.read_schema(str(tmp_path / "gone.json"))
    assert json_validity.read_schema("") is None


def test_a_schema_that_points_elsewhere_is_not_fetched():
    with pytest.raises(WrongUse, match=r"example\.org"):
        json_validity.matches_schema(['{"a": 1}'], {"$ref": "https://example.org/schema.json"})
