import hashlib
import json
import time

import pandas as pd
import pytest

from retune.data import suppression
from retune.data.suppression import NOTHING, Row, Suppression, add, contains, count, read, write
from retune.errors import Refused

WHO = ("asked to be forgotten", "A. Tester <tester@example.com>", "2026-11-24T10:00:00+00:00")


def listing(*ids):
    return add(NOTHING, ids, *WHO)


def on_list(listed, *ids):
    return [bool(is_listed) for is_listed in contains(listed, pd.Series(ids, dtype="str"))]


def test_an_id_on_the_list_is_found_and_no_other():
    listed = listing("T-1", "T-2")
    assert on_list(listed, "T-1", "T-2", "T-11", "t-1", "") == [True, True, False, False, False]
    assert on_list(NOTHING, "T-1", "") == [False, False]


def test_the_mask_stands_on_the_index_of_the_ids():
    mask = contains(listing("b"), pd.Series(["a", "b"], index=[7, 3]))
    assert mask.to_dict() == {7: False, 3: True}


def test_ids_stand_in_the_file_salted_and_hashed_only(tmp_path):
    write(listing("T-00042"), tmp_path / "list.json")
    text = (tmp_path / "list.json").read_text("utf-8")
    contents = json.loads(text)
    assert "T-00042" not in text
    assert contents["rows"][0]["id_sha256"] == hashlib.sha256(f"{contents['salt']}:T-00042".encode()).hexdigest()
    assert {name: contents["rows"][0][name] for name in ("reason", "by", "at")} == dict(
        zip(("reason", "by", "at"), WHO, strict=True)
    )


def test_two_lists_have_two_salts_and_a_list_keeps_its_own():
    one, other = listing("T-1"), listing("T-1")
    assert one.salt != other.salt and len(one.salt) == 32
    assert add(one, ["T-2"], *WHO).salt == one.salt


def test_the_same_id_twice_adds_nothing():
    listed = listing("T-1", "T-1")
    assert count(listed) == 1
    assert add(listed, ["T-1"], "another reason", "B", "2027-01-01") == listed


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / "deep/list.json"
    for listed in (NOTHING, listing("T-1", "Zoë 😀", "\ud800")):
        write(listed, path)
        assert read(path) == listed
    assert [file.name for file in path.parent.iterdir()] == ["list.json"]


@pytest.mark.slow
def test_a_million_ids_are_looked_up_in_seconds():
    listed = add(NOTHING, (f"T-{n}" for n in range(0, 1_000_000, 100)), *WHO)
    ids = pd.Series([f"T-{n}" for n in range(1_000_000)], dtype="str")
    began = time.process_time()
    assert contains(listed, ids).sum() == 10_000
    assert time.process_time() - began < 8  # some 2 s on a quiet core


GOOD = {"id_sha256": "0" * 64, "reason": "r", "by": "b", "at": "2026-11-24T10:00:00Z"}
SALT = "0123456789abcdef" * 2


def test_the_list_that_is_shipped_is_empty_and_kept_by_git():
    import subprocess
    from pathlib import Path

    root = Path(suppression.__file__).parents[2]
    check = subprocess.run(["git", "check-ignore", "-q", str(suppression.LIST)], cwd=root)
    assert check.returncode == 1, "git ignores it"
    read(root / suppression.LIST)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a list"),
        ('{"salt": "' + SALT + '", "ro', "not a list"),
        ("\x00" * 40, "not a list"),
        ("[]", "must be an object"),
        ('{"rows": []}', "must be an object"),
        ('{"salt": "", "rows": {}}', "must be an object"),
        ('{"salt": "", "rows": [], "more": 1}', "must be an object"),
        ('{"salt": "", "rows": [], "rows": []}', "has a key twice"),
        ('{"salt": null, "rows": []}', "the salt is None"),
        (json.dumps({"salt": "", "rows": [GOOD]}), "the salt is ''"),
        (json.dumps({"salt": SALT.upper(), "rows": [GOOD]}), "the salt is"),
        (json.dumps({"salt": SALT, "rows": ["T-1"]}), "row 1 must be an object of the texts id_sha256, reason"),
        (json.dumps({"salt": SALT, "rows": [{**GOOD, "by": None}]}), "row 1 must be"),
        (json.dumps({"salt": SALT, "rows": [GOOD, {**GOOD, "id_sha256": "T-1"}]}), "id_sha256 of row 2 is 'T-1'"),
        (json.dumps({"salt": SALT, "rows": [{**GOOD, "at": "yesterday"}]}), "time of row 1 is 'yesterday'"),
        (json.dumps({"salt": SALT, "rows": [GOOD, GOOD]}), "rows 1 and 2 have the same id"),
    ],
)
def test_a_torn_or_damaged_list_is_refused_and_never_taken_for_empty(tmp_path, text, message):
    (tmp_path / "list.json").write_text(text, "utf-8")
    with pytest.raises(Refused, match=message) as caught:
        read(tmp_path / "list.json")
    assert "list.json" in str(caught.value) and "git checkout" in str(caught.value)


def test_a_list_that_is_no_utf8_or_not_there_is_refused(tmp_path):
    (tmp_path / "list.json").write_bytes(b'{"salt": "\xff"}')
    for name, message in (("list.json", "not a list"), ("gone.json", "is missing"), (".", "not a list")):
        with pytest.raises(Refused, match=message):
            read(tmp_path / name)


def test_every_prefix_of_a_list_is_refused(tmp_path):
    path = tmp_path / "list.json"
    write(Suppression(SALT, (Row(**GOOD),)), path)
    whole = path.read_text("utf-8")
    for length in range(len(whole.rstrip())):
        path.write_text(whole[:length], "utf-8")
        with pytest.raises(Refused):
            read(path)
