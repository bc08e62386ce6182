import json
import logging

import pytest

from retune.errors import Broken, Refused, WrongUse


@pytest.fixture
def http(desk, define):
    cursor = {"param": "since", "field": "at", "start": None}
    return define("http", url=desk.url, cursor=cursor, authorization_env=None)


def day(number, time="08:00:00Z"):
    return f"2026-01-{number:02d}T{time}"


def test_what_is_new_comes_once(desk, http, work, ids):
    desk.add(("1", "a", "x", day(1)), ("2", "b", "x", day(2)), ("3", "c", "x", day(2)))
    first = work.one(http)
    assert ids(first) == ["1", "2", "3"]
    assert [path.name for path in work.into.rglob("*") if path.is_file()] == ["00001.jsonl"]
    again = work.one(http)
    assert (again.files, again.rows, again.error) == ((), 0, None)
    assert again.cursor == first.cursor
    desk.add(("4", "d", "x", day(3)), ("5", "a tie that came late", "x", day(2)))
    assert ids(work.one(http)) == ["5", "4"]
    assert work.one(http).files == ()


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("page", [4, 5, 7, 100])
@pytest.mark.parametrize("links", [True, False])
def test_pages_of_any_kind_of_endpoint_lose_no_tie(desk, http, work, ids, inclusive, page, links):
    desk.inclusive, desk.page, desk.links = inclusive, page, links
    desk.add(*((str(number), "a", "x", day(1 + number // 2)) for number in range(20)))
    assert ids(work.one(http)) == [str(number) for number in range(20)]
    desk.add(("late", "a", "x", day(10)), ("new", "a", "x", day(11)))
    assert ids(work.one(http)) == ["late", "new"]
    assert work.one(http).files == ()


def test_a_page_full_of_one_value_is_refused_since_nobody_sees_behind_it(desk, http, work, ids):
    desk.page = 3
    desk.add(*((str(number), "a", "x", day(1 + number // 2)) for number in range(6)))
    assert len(ids(work.one(http))) == 6
    desk.add(("late", "a", "x", day(3)), ("behind", "a", "x", day(4)))
    batch = work.one(http)
    assert isinstance(batch.error, Refused) and "as many as a page holds" in str(batch.error)
    desk.links = True
    assert ids(work.one(http)) == ["late", "behind"]


def test_an_endpoint_that_knows_no_cursor_is_read_whole_and_told_apart(desk, http, work, ids):
    desk.ignores = True
    desk.add(("1", "a", "x", day(1)), ("2", "b", "x", day(2)), ("3", "b", "x", day(3)))
    assert ids(work.one(http)) == ["1", "2", "3"]
    desk.add(("4", "b", "x", day(4)))
    batch = work.one(http)
    assert ids(batch) == ["1", "4"]  # the first is below the mark: ingest knows it
    assert len(desk.asked) < 8


def test_a_record_that_changed_between_two_pages_comes_in_two_files(desk, http, work):
    desk.add(("1", "old", "x", day(1)), ("2", "b", "x", day(1)), ("1", "new", "x", day(3)), ("1", "new", "x", day(4)))
    batch = work.one(http)
    told = [[json.loads(line)["body"] for line in file.read_text().splitlines()] for file in batch.files]
    assert told == [["old", "b"], ["new"]]
    assert batch.rows == 3


def test_only_what_params_name_is_kept_and_numbers_stay_as_written(desk, http, work, reply):
    line = b'{"id": 12345678901234567890, "body": "a", "at": 10, "secret": "no"}\n'
    desk.moods = [reply(body=line.replace(b'"at"', b'"queue": 1.10, "at"'))]
    (file,) = work.one(http).files
    assert json.loads(file.read_text()) == {"body": "a", "queue": "1.10", "id": "12345678901234567890"}


def test_numbers_are_ordered_as_numbers_and_times_as_times(desk, http, work, ids):
    desk.ignores = True
    desk.add(("1", "a", "x", 9), ("2", "b", "x", 10), ("3", "b", "x", 100))
    assert [step["value"] for step in work.one(http).cursor["at"]] == ["10", "100"]
    desk.records.clear()
    work.cursors.clear()
    desk.add(("1", "a", "x", "2026-01-01T10:00:00+02:00"), ("2", "b", "x", "2026-01-01T09:00:00.5Z"))
    desk.add(("3", "a", "x", "2026-01-01T09:00:00Z"))
    assert [step["value"][11:] for step in work.one(http).cursor["at"]] == ["09:00:00Z", "09:00:00.5Z"]


def test_a_server_in_trouble_is_asked_again(desk, http, work, ids, reply):
    desk.add(("1", "a", "x", day(1)))
    desk.moods = [reply(503), "cut"]
    assert ids(work.one(http)) == ["1"]
    assert "503" in work.said[0] and "attempt 2 of 3" in work.said[0]


def test_nothing_of_a_fetch_is_taken_if_its_last_page_is_cut(desk, http, work):
    desk.page = 2
    desk.add(*((str(number), "a", "x", day(number)) for number in range(1, 6)))
    desk.moods = [None, "cut", "cut", "cut"]
    batch = work.one(http)
    assert isinstance(batch.error, Broken)
    assert (batch.files, batch.rows, batch.cursor) == ((), 0, {})
    assert not (work.into / "desk").exists()
    assert 2 <= len(desk.asked) <= 4, "an attempt on a connection that the cut has closed does not reach the desk"


def test_an_endpoint_that_is_away_or_slow_is_broken_and_keeps_its_cursor(desk, http, work, reply):
    desk.add(("1", "a", "x", day(1)))
    before = work.one(http).cursor
    work.knobs |= {"timeout_seconds": 0.2, "attempts": 2}
    desk.moods = [reply(wait=1.0)] * 2
    slow = work.one(http)
    assert isinstance(slow.error, Broken) and "2 attempts" in str(slow.error)
    assert slow.cursor == before
    away = work.one({**http, "url": "http://127.0.0.1:9/x"})
    assert isinstance(away.error, Broken) and "127.0.0.1:9/x" in str(away.error)


LINE = b'{"id": "1", "body": "a", "queue": "x", "at": "2026-01-01"}'


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
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
def test_what_is_no_page_of_jsonl_is_turned_down_in_words(desk, http, work, reply, status, body, error, said):
    desk.moods = [reply(status, body)] * 3
    batch = work.one(http)
    assert type(batch.error) is error, batch.error
    assert said in str(batch.error)
    assert (batch.files, batch.cursor) == ((), {})
    assert any("FAILED" in line for line in work.said)


def test_an_answer_without_a_length_is_refused_since_it_could_be_cut(desk, http, work, reply):
    desk.moods = [reply(200, LINE + b"\n", {"Connection": "close"})]
    assert "without a length" in str(work.one(http).error)


def test_an_empty_answer_is_a_quiet_week(desk, http, work):
    batch = work.one(http)
    assert (batch.files, batch.error) == ((), None)


def test_a_token_comes_from_the_environment_and_stays_on_its_host(desk, http, work, reply, monkeypatch, open_desk):
    http["authorization_env"] = "DESK_TOKEN"
    monkeypatch.delenv("DESK_TOKEN", raising=False)
    assert "no DESK_TOKEN" in str(work.one(http).error)
    monkeypatch.setenv("DESK_TOKEN", "Bearer s3cr\ret")
    assert "s3cr" not in str(work.one(http).error)
    monkeypatch.setenv("DESK_TOKEN", "Bearer s3cret")
    assert work.one(http).error is None
    assert desk.asked[-1][1]["Authorization"] == "Bearer s3cret"
    with open_desk() as other:
        desk.moods = [reply(302, headers={"Location": f"{other.url}?x=1", "Content-Length": "0"})]
        assert "another host" in str(work.one(http).error)
        desk.moods = [reply(200, LINE, {"Link": f'<{other.url}>; rel="next"', "Content-Length": str(len(LINE))})]
        assert "another host" in str(work.one(http).error)
        assert other.asked == []
    assert "s3cret" not in "".join(work.said)


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever(desk, http, work, ids, reply):
    desk.add(("1", "a", "x", day(1)))
    desk.moods = [reply(301, headers={"Location": "/export?since=", "Content-Length": "0"})]
    assert ids(work.one(http)) == ["1"]
    desk.moods = [reply(301, headers={"Location": "/x", "Content-Length": "0"})] * 9
    assert "from one address to the next" in str(work.one(http).error)


def test_pages_that_go_round_in_circles_are_refused(desk, http, work, reply):
    desk.moods = [reply(200, LINE, {"Link": '</a>; rel="next"', "Content-Length": str(len(LINE))})] * 3
    assert "in circles" in str(work.one(http).error)


def test_an_empty_page_is_the_last_whatever_it_names_next(desk, http, work, reply):
    desk.moods = [reply(200, b"", {"Link": '</a>; rel="next"', "Content-Length": "0"})]
    assert work.one(http).error is None
    assert len(desk.asked) == 1


def test_a_clock_of_the_source_that_went_back_takes_no_row_away(desk, http, work, ids):
    desk.add(("1", "a", "x", day(5)), ("2", "a", "x", day(6)))
    work.one(http)
    desk.ignores = True
    desk.add(("3", "from before the mark", "x", day(2)))
    batch = work.one(http)
    assert "3" in ids(batch)
    assert [step["value"] for step in batch.cursor["at"]] == [day(5), day(6)]


def test_a_secret_in_the_query_is_never_told(desk, http, work, reply, caplog):
    """An address with a key in it has come as far as params.yaml: it should come no further."""
    caplog.set_level(logging.INFO)
    http["url"] = f"{desk.url}?key=s3cret"
    elsewhere = {"Location": "http://localhost:9/x?key=s3cret", "Content-Length": "0"}
    bad = [LINE.replace(b'"queue"', b'"Queue"'), LINE.replace(b'"1"', b"null"), b"[]", LINE + b"\n{", b""]
    moods = [reply(200, body) for body in bad] + [reply(302, b"", elsewhere), reply(404), reply(500)]
    for mood in moods:
        desk.moods = [mood] * 3
        batch = work.one(http, keep=False)
        assert "s3cret" not in "\n".join([str(batch.error), str(batch.cursor), *work.said, caplog.text])
        assert "key=s3cret" in desk.asked[-1][0], "else it would show nothing"
    work.one({**http, "url": "http://127.0.0.1:9/x?key=s3cret"})
    assert "127.0.0.1:9/x" in work.said[-1] and "s3cret" not in "\n".join(work.said)


def test_a_service_may_leave_out_what_is_null_but_a_typing_error_is_noticed(desk, http, work, ids):
    http["columns"] = {**http["columns"], "group": "customer"}
    desk.add(("1", "a", "x", day(1)))
    assert "no column 'customer'" in str(work.one(http).error)
    desk.records[0]["customer"] = "c1"
    assert ids(work.one(http)) == ["1"]
    desk.add(("2", "a", "x", day(2)))
    (file,) = work.one(http).files
    assert json.loads(file.read_text())["customer"] is None
