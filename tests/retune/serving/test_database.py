import pytest
from sqlalchemy import Column, Integer, MetaData, Table, text

from retune.errors import Broken, WrongUse
from retune.serving import database

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def test_it_lies_beside_the_registry_unless_the_environment_names_another(sqlite_registry, monkeypatch):
    assert database.address() == f"sqlite:///{sqlite_registry}/.retune/serving.db"
    monkeypatch.setenv("RETUNE_SERVING_DATABASE", "postgresql+psycopg://retune@127.0.0.1/serving")
    assert database.address() == "postgresql+psycopg://retune@127.0.0.1/serving"


def test_a_commit_waits_for_the_disk_and_a_reader_does_not_wait_for_a_writer(tmp_path, monkeypatch):
    tables = MetaData()
    Table("served", tables, Column("id", Integer, primary_key=True))
    monkeypatch.setattr(database, "METADATA", tables)
    engine = database.connect(f"sqlite:///{tmp_path / 'serving.db'}")
    with engine.begin() as writer, engine.connect() as reader:
        assert writer.execute(text("PRAGMA synchronous")).scalar_one() == 2, "FULL"
        writer.execute(text("INSERT INTO served VALUES (1)"))
        assert reader.execute(text("SELECT count(*) FROM served")).scalar_one() == 0
    with engine.connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM served")).scalar_one() == 1


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    (tmp_path / "serving.db").write_bytes(b"nonsense" * 4096)
    with pytest.raises(Broken, match=r"serving.db, is damaged: file is not a database: restore a backup"):
        database.connect(f"sqlite:///{tmp_path}/serving.db")


@pytest.mark.parametrize("address", ["nonsense", "nosuchdatabase://host/x", "mysql+nodriver://host/x"])
def test_an_address_that_is_none_is_refused_with_its_variable(address):
    with pytest.raises(WrongUse, match="RETUNE_SERVING_DATABASE"):
        database.connect(address)
