"""The commands for sources and channels, as people call them, and Prefect's blocks on a real server."""

import json
from contextlib import chdir

import pytest
import yaml

from flows.retraining import notifications
from retune.config.common import Notify
from retune.data import intake_branch
from tests.support.clones import stop_services
from tests.support.environment import READING


def configure(clone, *sources):
    path = clone.folder / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    values["fetch"] |= {"settle_seconds": 0.0, "sources": list(sources)}
    path.write_text(yaml.safe_dump(values), "utf-8")


def test_sources_are_checked_and_nothing_is_taken(own_clone, tmp_path):
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text("id,body,queue\n1,a,x\n2,b,y\n")
    columns = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}
    files = {"kind": "files", "columns": columns, "reading": READING, "licence": None, "collected": None}
    assert "no source is configured" in own_clone.call("sources", "check").stderr
    configure(own_clone, {**files, "name": "drop", "path": str(drop)}, {**files, "name": "gone", "path": "/no/such"})
    before = own_clone.git("status", "--porcelain")
    done = own_clone.call("sources", "check", "--json")
    assert done.returncode == 1
    assert "gone: FAILED" in done.stderr and "Traceback" not in done.stderr
    findings = json.loads(done.stdout)
    good, bad = findings["sources"]
    assert (findings["ok"], good["ok"], good["rows"], good["cursor"]) == (False, True, 2, None)
    assert (bad["ok"], bad["rows"]) == (False, 0)
    assert own_clone.git("status", "--porcelain") == before
    configure(own_clone, {**files, "name": "drop", "path": str(drop)})
    with chdir(own_clone.folder):
        (folder := tmp_path / "made").joinpath("data").mkdir(parents=True)
        (folder / intake_branch.RAW).write_text("outs: [{md5: ab.dir, path: raw}]")
        intake_branch.move(intake_branch.read(), folder, {"drop": good["cursor_after"]}, {}, "Bring in")
    done = own_clone.call("sources", "check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["drop", "files", "ok", "0", "1", "files"]


def test_a_source_of_which_a_file_is_refused_is_not_called_ok(own_clone, tmp_path):
    (tmp_path / "a.csv").write_text("id,body,queue\n1,a,x\n2,b,y\n")
    (tmp_path / "b.csv").write_bytes(b"id,body,queue\n3,caf\xe9,x\n")
    (tmp_path / "c.csv").write_text("id,body,queue\n4,these words,x\n4,other words,x\n")  # which only ingest refuses
    columns = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}
    source = {"kind": "files", "name": "drop", "path": str(tmp_path / "*.csv"), "columns": columns, "reading": READING}
    configure(own_clone, {**source, "licence": None, "collected": None})
    done = own_clone.call("sources", "check", "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    (drop,) = findings["sources"]
    assert (findings["ok"], drop["ok"], drop["error"], drop["rows"], drop["files"]) == (False, False, None, 2, 1)
    assert list(drop["cursor_after"]["files"]) == [str(tmp_path / "a.csv")]
    assert "b.csv is not UTF-8" in drop["refused"][0]
    assert f"{tmp_path}/c.csv: 2 of 2 rows cannot be read" in drop["refused"][1]
    assert "line 2: id '4' stands at lines 2 and 3" in drop["refused"][1]
    assert drop["refused"][1] in done.stderr
    done = own_clone.call("sources", "check")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split()[2:6] == ["FAILED,", "2", "files", "refused"]


def test_a_pattern_that_matches_nothing_is_said_and_is_no_failure(own_clone, tmp_path):
    columns = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}
    source = {"kind": "files", "name": "drop", "path": str(tmp_path / "*.cvs"), "columns": columns, "reading": READING}
    configure(own_clone, {**source, "licence": None, "collected": None})
    stop_services(own_clone)  # no registry is asked
    done = own_clone.call("sources", "check")
    assert done.returncode == 0 and f"drop: no file matches {tmp_path}/*.cvs" in done.stderr


def test_a_test_message_says_who_got_it(own_clone, webhook):
    port, notifications = webhook
    assert "no one would be notified" in own_clone.call("notify", "test").stderr
    own_clone.env["RETUNE_NOTIFY_URLS"] = f"json://127.0.0.1:{port} json://127.0.0.1:9/s3cret"
    done = own_clone.call("notify", "test", "is this on?")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "sent through 1 of 2 channels"
    assert "s3cret" not in done.stdout + done.stderr
    assert [notification["message"] for notification in notifications] == ["is this on?"]


@pytest.mark.slow
def test_blocks_that_are_saved_on_a_prefect_server_are_told_too(prefect_url, webhook, monkeypatch, caplog):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL, temporary_settings

    port, messages_taken = webhook
    section = Notify(events=["held"], timeout_seconds=30.0)
    monkeypatch.setenv("RETUNE_NOTIFY_URLS", f"json://127.0.0.1:{port}")
    monkeypatch.setenv(notifications.VARIABLE, "custom-webhook/team secret/word custom-webhook/nobody")
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        body_template = {"said": "{{subject}}: {{body}}"}
        CustomWebhookNotificationBlock(
            name="team", url=f"http://127.0.0.1:{port}/s3cret", json_data=body_template
        ).save("team")
        Secret(value="x").save("word")
        assert notifications.notify_people("held", "classifier", "no gain", section) is True, "two of the four took it"
        assert notifications.notify_people("failed", "classifier", "not told", section) is True
        monkeypatch.setenv(notifications.VARIABLE, "custom-webhook/team")
        assert notifications.notify_people("held", "classifier", "again", section) is True
        monkeypatch.delenv("RETUNE_NOTIFY_URLS")
        monkeypatch.setenv(notifications.VARIABLE, "custom-webhook/nobody")
        assert notifications.notify_people("held", "classifier", "to nobody", section) is False
    assert [each.get("said") or each["message"] for each in messages_taken] == [
        "no gain",
        "classifier: no gain",
        "again",
        "classifier: again",
    ]
    lines = [record.getMessage() for record in caplog.records if record.name == "retune.notify"]
    assert "block secret/word did not take the message: a Secret sends no notifications" in lines[0]
    assert "no such block" in lines[1]
    assert "s3cret" not in caplog.text
