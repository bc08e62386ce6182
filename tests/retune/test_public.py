"""`import retune`: what data scientists type."""

import json
import subprocess
import sys

import pytest

import retune
from retune.errors import Refused, WrongUse
from retune.lineage import checksums
from retune.lineage import record as records
from retune.registry import runs, versions

TEXTS = ["hello broken screen", "the courier lost the box"]


@pytest.fixture
def registered_version(sqlite_registry, model_folder, record):
    """A registered version with a model, a record and a seal."""
    record["training"]["method"] = "full"  # its folder holds all that it needs
    with runs.run("public-door", "run", {}) as run_id, versions.packed(model_folder, ["pandas"]) as folder:
        records.write(record, folder / records.FILE)
        return versions.add_version(
            "public-door", run_id, folder, {"fingerprint": run_id, "seal": checksums.write(folder)}
        )


def test_a_version_is_loaded_by_its_reference_and_predicts(registered_version):
    model = retune.load(f"public-door/{registered_version.version}")
    answers = model.predict(TEXTS)
    assert list(answers.columns) == ["text", "label", "confidence", "route"]
    assert set(answers["route"]) == {"human"}, "it was registered without a promise"
    assert answers["text"].tolist() == TEXTS
    assert answers["confidence"].between(0, 1).all()
    assert repr(model) == f"Model('{registered_version}')"
    assert model.predict([]).empty


def test_one_text_instead_of_a_list_is_refused_with_what_to_write(registered_version):
    with pytest.raises(WrongUse, match=r"predict\(\['hello'\]\)"):
        retune.load(str(registered_version)).predict("hello")


def test_versions_and_their_lineage(registered_version):
    assert registered_version.version in [each.version for each in retune.versions("public-door")]
    written = json.loads((versions.version_folder(registered_version) / records.FILE).read_text("utf-8"))
    assert retune.lineage(str(registered_version)) == written


@pytest.mark.parametrize("call", [retune.load, lambda reference: retune.lineage(reference)])
def test_a_reference_to_nothing_says_so(registered_version, call):
    with pytest.raises(Refused):
        call("public-door/999")
    with pytest.raises(WrongUse):
        call("public-door")


def test_importing_it_is_light_and_its_lineage_can_be_called_at_once():
    program = (
        "import sys, retune\n"
        "assert callable(retune.lineage)\n"
        "heavy = {'torch', 'pandas', 'mlflow', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        retune.nothing  # noqa: B018
