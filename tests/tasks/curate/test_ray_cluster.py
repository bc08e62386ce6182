"""Curation on a real Ray cluster of two workers on this machine."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from retune.data import row_table
from retune.errors import Broken, WrongUse
from tasks.curate import __main__ as curate
from tasks.curate import ray_cluster
from tests.support.environment import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray reads its own deprecated options
RAW = Path("raw")
FILES = ("rows.parquet", "rejects.parquet", "clusters.parquet", "general.parquet")


@pytest.fixture(scope="module")
def cluster_address():
    os.environ |= ray_cluster.QUIET  # Ray reads them when it is imported
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def raw_rows(stage_folder, make_tickets):
    """Two parts with copies, near-copies, personal data and rows that cannot be used."""
    RAW.mkdir()
    for number in (1, 2):
        rows = make_tickets(300, seed=number)
        planted = rows.iloc[:6].assign(
            id=[f"p{number}{letter}" for letter in "abcdef"],
            text=[
                "",
                "write to ann@example.org",
                "same again",
                "same again",
                "order 12 is late",
                "order 7 is late",
            ],
        )
        row_table.write(pd.concat([rows, planted], ignore_index=True), RAW / f"{number:05d}-desk.parquet")


def curated(name):
    curate.main(RAW, Path("suppressed.json"), Path("label_verdicts.json"), Path(name), Path(f"{name}.json"))
    return {file: (Path(name) / file).read_bytes() for file in FILES} | {"report": Path(f"{name}.json").read_bytes()}


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one_machine(raw_rows, cluster_address, monkeypatch):
    alone = curated("alone")
    monkeypatch.setenv(ray_cluster.ADDRESS, cluster_address)
    monkeypatch.setattr(ray_cluster, "SLICE_ROWS", 100)
    assert curated("cluster") == alone


@pytest.mark.slow
def test_an_error_of_a_worker_is_the_error_of_the_stage(raw_rows, cluster_address, monkeypatch):
    monkeypatch.setenv(ray_cluster.ADDRESS, cluster_address)
    shutil.copy(ROOT / "retune/config/defaults/instruct.yaml", "params.yaml")
    with pytest.raises(WrongUse, match="came in under another task"):
        curated("cluster")


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named(raw_rows, monkeypatch):
    monkeypatch.setenv(ray_cluster.ADDRESS, "127.0.0.1:9")
    with pytest.raises(Broken, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        curated("cluster")


def test_without_an_address_no_cluster_is_asked(monkeypatch):
    monkeypatch.setenv(ray_cluster.ADDRESS, "")
    assert ray_cluster.address() is None
