import json
import logging

import pytest

from retune.errors import Broken, Refused, WrongUse


@pytest.fixture
def http_source(ticket_server, define_source):
    cursor = {"param": "since", "field": "at", "start": None}
    return define_source("http", url=ticket_server.url, cursor=cursor, authorization_env=None)


def day(number, time="08:00:00Z"):
    return f"2026-01-{number:02d}T{time}"


def test_what_is_new_comes_once(ticket_server, http_source, fetch_run, batch_ids):
    ticket_server.add(("1", "a", "x", day(1)), ("2", "b", "x", day(2)), ("3", "c", "x", day(2)))
    first = fetch_run.one(http_source)
    assert batch_ids(first) == ["1", "2", "3"]
    assert [path.name for path in fetch_run.into.rglob("*") if path.is_file()] == ["00001.jsonl"]
    again = fetch_run.one(http_source)
    assert (again.files, again.rows, again.error) == ((), 0, None)
    assert again.cursor == first.cursor
    ticket_server.add(("4", "d", "x", day(3)), ("5", "a tie that came late", "x", day(2)))
    assert batch_ids(fetch_run.one(http_source)) == ["5", "4"]
    assert fetch_run.one(http_source).files == ()


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("page", [4, 5, 7, 100])
@pytest.mark.parametrize("links", [True, False])
def test_pages_of_any_kind_of_endpoint_lose_no_tie(
    ticket_server, http_source, fetch_run, batch_ids, inclusive, page, links
):
    ticket_server.inclusive, ticket_server.page, ticket_server.links = inclusive, page, links
    ticket_server.add(*((str(number), "a", "x", day(1 + number // 2)) for number in range(20)))
    assert batch_ids(fetch_run.one(http_source)) == [str(number) for number in range(20)]
    ticket_server.add(("late", "a", "x", day(10)), ("new", "a", "x", day(11)))
    assert batch_ids(fetch_run.one(http_source)) == ["late", "new"]
    assert fetch_run.one(http_source).files == ()


def test_a_page_full_of_one_value_is_refused_since_nobody_sees_behind_it(
    ticket_server, http_source, fetch_run, batch_ids
):
    ticket_server.page = 3
    ticket_server.add(*((str(number), "a", "x", day(1 + number // 2)) for number in range(6)))
    assert len(batch_ids(fetch_run.one(http_source))) == 6
    ticket_server.add(("late", "a", "x", day(3)), ("behind", "a", "x", day(4)))
    batch = fetch_run.one(http_source)
    assert isinstance(batch.error, Refused) and "as many as a page holds" in str(batch.error)
    ticket_server.links = True
    assert batch_ids(fetch_run.one(http_source)) == ["late", "behind"]


def test_an_endpoint_that_knows_no_cursor_is_read_whole_and_told_apart(
    ticket_server, http_source, fetch_run, batch_ids
):
    ticket_server.ignores = True
    ticket_server.add(("1", "a", "x", day(1)), ("2", "b", "x", day(2)), ("3", "b", "x", day(3)))
    assert batch_ids(fetch_run.one(http_source)) == ["1", "2", "3"]
    ticket_server.add(("4", "b", "x", day(4)))
    batch = fetch_run.one(http_source)
    assert batch_ids(batch) == ["1", "4"]  # the first is below the mark: ingest knows it
    assert len(ticket_server.requests) < 8


def test_a_record_that_changed_between_two_pages_comes_in_two_files(ticket_server, http_source, fetch_run):
    ticket_server.add(
        ("1", "old", "x", day(1)), ("2", "b", "x", day(1)), ("1", "new", "x", day(3)), ("1", "new", "x", day(4))
    )
    batch = fetch_run.one(http_source)
    bodies = [[json.loads(line)["body"] for line in file.read_text().splitlines()] for file in batch.files]
    assert bodies == [["old", "b"], ["new"]]
    assert batch.rows == 3


def test_only_what_params_name_is_kept_and_numbers_stay_as_written(ticket_server, http_source, fetch_run, server_reply):
    line = b'{"id": 12345678901234567890, "body": "a", "at": 10, "secret": "no"}\n'
    ticket_server.moods = [server_reply(body=line.replace(b'"at"', b'"queue": 1.10, "at"'))]
    (file,) = fetch_run.one(http_source).files
    assert json.loads(file.read_text()) == {"body": "a", "queue": "1.10", "id": "12345678901234567890"}


def test_numbers_are_ordered_as_numbers_and_times_as_times(ticket_server, http_source, fetch_run, batch_ids):
    ticket_server.ignores = True
    ticket_server.add(("1", "a", "x", 9), ("2", "b", "x", 10), ("3", "b", "x", 100))
    assert [step["value"] for step in fetch_run.one(http_source).cursor["at"]] == ["10", "100"]
    ticket_server.records.clear()
    fetch_run.cursors.clear()
    ticket_server.add(("1", "a", "x", "2026-01-01T10:00:00+02:00"), ("2", "b", "x", "2026-01-01T09:00:00.5Z"))
    ticket_server.add(("3", "a", "x", "2026-01-01T09:00:00Z"))
    assert [step["value"][11:] for step in fetch_run.one(http_source).cursor["at"]] == ["09:00:00Z", "09:00:00.5Z"]


def test_a_server_in_trouble_is_asked_again(ticket_server, http_source, fetch_run, batch_ids, server_reply):
    ticket_server.add(("1", "a", "x", day(1)))
    ticket_server.moods = [server_reply(503), "cut"]
    assert batch_ids(fetch_run.one(http_source)) == ["1"]
    assert "503" in fetch_run.progress[0] and "attempt 2 of 3" in fetch_run.progress[0]


def test_nothing_of_a_fetch_is_taken_if_its_last_page_is_cut(ticket_server, http_source, fetch_run):
    ticket_server.page = 2
    ticket_server.add(*((str(number), "a", "x", day(number)) for number in range(1, 6)))
    ticket_server.moods = [None, "cut", "cut", "cut"]
    batch = fetch_run.one(http_source)
    assert isinstance(batch.error, Broken)
    assert (batch.files, batch.rows, batch.cursor) == ((), 0, {})
    assert not (fetch_run.into / "desk").exists()
    assert 2 <= len(ticket_server.requests) <= 4, (
        "an attempt on a connection that the cut has closed does not reach the desk"
    )


def test_an_endpoint_that_is_away_or_slow_is_broken_and_keeps_its_cursor(
    ticket_server, http_source, fetch_run, server_reply
):
    ticket_server.add(("1", "a", "x", day(1)))
    before = fetch_run.one(http_source).cursor
    fetch_run.settings |= {"timeout_seconds": 0.2, "attempts": 2}
    ticket_server.moods = [server_reply(wait=1.0)] * 2
    slow = fetch_run.one(http_source)
    assert isinstance(slow.error, Broken) and "2 attempts" in str(slow.error)
    assert slow.cursor == before
    away = fetch_run.one({**http_source, "url": "http://127.0.0.1:9/x"})
    assert isinstance(away.error, Broken) and "127.0.0.1:9/x" in str(away.error)


LINE = b'{"id": "1", "body": "a", "queue": "x", "at": "2026-01-01"}'


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (200, b"<!doctype html><title>Log in</title>", Refused, "a web page"),
        (200, b"[" + LINE + b"]", Refused, "a JSON array"),
        (200, b'{"data": []}', Refused, "has no 'id'; it has data"),
        (200, LINE + b"\n3\n", Refused, "line 2 is '3': one object a line"),
        (200, LINE + b'\n{"id": "2"\n' + LINE, Refused, "line 2 is no JSON"),
        (200, LINE + b'\n{"id": "2"', Broken, "line 2 is cut"),
        (200, LINE.replace(b'"a"', b'"\xe4"') + b"\n", Refused, "line 1 is not UTF-8"),
        (200, LINE.replace(b'"2026-01-01"', b"null"), Refused, "line 1: at has no value"),
        (200, LINE.replace(b'"2026-01-01"', b"[1]"), Refused, "line 1: at is ['1']"),
        (200, LINE.replace(b"2026", b"2999"), Refused, "in the future"),
        (200, LINE.replace(b'"1"', b"null"), Refused, ": id is empty"),
        (200, LINE.replace(b'"at"', b'"changed"'), Refused, "has no 'at'; it has id, body, queue, changed"),
        (200, LINE + b"\n" + LINE.replace(b'"2026-01-01"', b"7"), Refused, "a number, where others are a time"),
        (200, LINE.replace(b'"queue"', b'"Queue"'), WrongUse, "no column 'queue'"),
        (200, LINE.replace(b'"a"', b'"' + b"a" * 1_100_000 + b'"'), Refused, "more than 1 MB at once"),
        (401, b"", Refused, "401 Unauthorized: the token"),
        (404, b"", Refused, "404 Not Found"),
        (500, b"", Broken, "500 Internal Server Error, in 3 attempts"),
        (429, b"", Broken, "429"),
    ],
)
def test_what_is_no_page_of_jsonl_is_turned_down_in_words(
    ticket_server, http_source, fetch_run, server_reply, status, body, error, message
):
    ticket_server.moods = [server_reply(status, body)] * 3
    batch = fetch_run.one(http_source)
    assert type(batch.error) is error, batch.error
    assert message in str(batch.error)
    assert (batch.files, batch.cursor) == ((), {})
    assert any("FAILED" in line for line in fetch_run.progress)


def test_an_answer_without_a_length_is_refused_since_it_could_be_cut(
    ticket_server, http_source, fetch_run, server_reply
):
    ticket_server.moods = [server_reply(200, LINE + b"\n", {"Connection": "close"})]
    assert "without a length" in str(fetch_run.one(http_source).error)


def test_an_empty_answer_is_a_quiet_week(ticket_server, http_source, fetch_run):
    batch = fetch_run.one(http_source)
    assert (batch.files, batch.error) == ((), None)


def test_a_token_comes_from_the_environment_and_stays_on_its_host(
    ticket_server, http_source, fetch_run, server_reply, monkeypatch, open_ticket_server
):
    http_source["authorization_env"] = "DESK_TOKEN"
    monkeypatch.delenv("DESK_TOKEN", raising=False)
    assert "no DESK_TOKEN" in str(fetch_run.one(http_source).error)
    monkeypatch.setenv("DESK_TOKEN", "Bearer s3cr\ret")
    assert "s3cr" not in str(fetch_run.one(http_source).error)
    monkeypatch.setenv("DESK_TOKEN", "Bearer s3cret")
    assert fetch_run.one(http_source).error is None
    assert ticket_server.requests[-1][1]["Authorization"] == "Bearer s3cret"
    with open_ticket_server() as other:
        ticket_server.moods = [server_reply(302, headers={"Location": f"{other.url}?x=1", "Content-Length": "0"})]
        assert "another host" in str(fetch_run.one(http_source).error)
        ticket_server.moods = [
            server_reply(200, LINE, {"Link": f'<{other.url}>; rel="next"', "Content-Length": str(len(LINE))})
        ]
        assert "another host" in str(fetch_run.one(http_source).error)
        assert other.requests == []
    assert "s3cret" not in "".join(fetch_run.progress)


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever(
    ticket_server, http_source, fetch_run, batch_ids, server_reply
):
    ticket_server.add(("1", "a", "x", day(1)))
    ticket_server.moods = [server_reply(301, headers={"Location": "/export?since=", "Content-Length": "0"})]
    assert batch_ids(fetch_run.one(http_source)) == ["1"]
    ticket_server.moods = [server_reply(301, headers={"Location": "/x", "Content-Length": "0"})] * 9
    assert "from one address to the next" in str(fetch_run.one(http_source).error)


def test_pages_that_go_round_in_circles_are_refused(ticket_server, http_source, fetch_run, server_reply):
    ticket_server.moods = [server_reply(200, LINE, {"Link": '</a>; rel="next"', "Content-Length": str(len(LINE))})] * 3
    assert "in circles" in str(fetch_run.one(http_source).error)


def test_an_empty_page_is_the_last_whatever_it_names_next(ticket_server, http_source, fetch_run, server_reply):
    ticket_server.moods = [server_reply(200, b"", {"Link": '</a>; rel="next"', "Content-Length": "0"})]
    assert fetch_run.one(http_source).error is None
    assert len(ticket_server.requests) == 1


def test_a_clock_of_the_source_that_went_back_takes_no_row_away(ticket_server, http_source, fetch_run, batch_ids):
    ticket_server.add(("1", "a", "x", day(5)), ("2", "a", "x", day(6)))
    fetch_run.one(http_source)
    ticket_server.ignores = True
    ticket_server.add(("3", "from before the mark", "x", day(2)))
    batch = fetch_run.one(http_source)
    assert "3" in batch_ids(batch)
    assert [step["value"] for step in batch.cursor["at"]] == [day(5), day(6)]


def test_a_secret_in_the_query_is_never_told(ticket_server, http_source, fetch_run, server_reply, caplog):
    """An address with a key in it has come as far as params.yaml: it should come no further."""
    caplog.set_level(logging.INFO)
    http_source["url"] = f"{ticket_server.url}?key=s3cret"
    elsewhere = {"Location": "http://localhost:9/x?key=s3cret", "Content-Length": "0"}
    bad = [LINE.replace(b'"queue"', b'"Queue"'), LINE.replace(b'"1"', b"null"), b"[]", LINE + b"\n{", b""]
    moods = [server_reply(200, body) for body in bad] + [
        server_reply(302, b"", elsewhere),
        server_reply(404),
        server_reply(500),
    ]
    for mood in moods:
        ticket_server.moods = [mood] * 3
        batch = fetch_run.one(http_source, keep=False)
        assert "s3cret" not in "\n".join([str(batch.error), str(batch.cursor), *fetch_run.progress, caplog.text])
        assert "key=s3cret" in ticket_server.requests[-1][0], "else it would show nothing"
    fetch_run.one({**http_source, "url": "http://127.0.0.1:9/x?key=s3cret"})
    assert "127.0.0.1:9/x" in fetch_run.progress[-1] and "s3cret" not in "\n".join(fetch_run.progress)


def test_a_service_may_leave_out_what_is_null_but_a_typing_error_is_noticed(
    ticket_server, http_source, fetch_run, batch_ids
):
    http_source["columns"] = {**http_source["columns"], "group": "customer"}
    ticket_server.add(("1", "a", "x", day(1)))
    assert "no column 'customer'" in str(fetch_run.one(http_source).error)
    ticket_server.records[0]["customer"] = "c1"
    assert batch_ids(fetch_run.one(http_source)) == ["1"]
    ticket_server.add(("2", "a", "x", day(2)))
    (file,) = fetch_run.one(http_source).files
    assert json.loads(file.read_text())["customer"] is None
