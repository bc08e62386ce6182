import json

import pytest
from fastapi.testclient import TestClient

from retune.errors import Refused
from retune.serving import api_keys
from retune.serving.answers import BadAnswer, Overloaded, TooLate
from retune.serving.upstream import UpstreamCheck, UpstreamWriter
from tasks.serve.app import make_app

ONE = {"texts": ["Where is my parcel?"]}


@pytest.fixture
def make_client(make_service):
    def make(*names, **changes):
        service = make_service(*names, **changes)
        client = TestClient(make_app(service), raise_server_exceptions=False)
        client.service = service
        return client

    return make


@pytest.fixture
def client(make_client):
    return make_client()


def post(client, content, path="/v1/predict", **headers):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post(path, content=content, headers={"Content-Type": "application/json", **headers})


def error(response, status, kind):
    """The message of a typed error, after a look at the rest of it."""
    assert response.status_code == status, response.text
    (only,) = response.json()
    fields = response.json()[only]
    assert only == "error" and set(fields) == {"kind", "message", "request_id"}
    assert fields["kind"] == kind and fields["request_id"] == response.headers["x-request-id"]
    return fields["message"]


def test_an_answer_names_its_version_its_seal_and_its_request(client):
    response = post(client, {"texts": ["a", "b"], "subject": "customer-17"})
    assert response.status_code == 200
    assert response.json() == {
        "request_id": response.headers["x-request-id"],
        "results": [{"label": text, "confidence": 0.75, "route": "auto"} for text in "ab"],
        "version": "desk/1",
        "seal": "seal of desk/1",
    }
    assert len(response.json()["request_id"]) == 32


@pytest.mark.parametrize(
    ("sent", "is_plain"), [("order-17.b_2", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)]
)
def test_a_client_may_name_its_request_by_a_plain_word(client, sent, is_plain):
    response = post(client, ONE, **{"X-Request-Id": sent})
    assert (response.json()["request_id"] == sent) is is_plain
    assert response.headers["x-request-id"] == response.json()["request_id"]


BAD = {
    b"": (422, "invalid"),
    b"{": (400, "malformed"),
    b"\xff\xfe": (400, "malformed"),
    b'{"texts": ["\xe9"]}': (400, "malformed"),
    b"[" * 100_000: (400, "malformed"),
    b'{"texts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": (400, "malformed"),
    b'{"texts": [' + b"1" * 5000 + b"]}": (400, "malformed"),
    b"null": (422, "invalid"),
    b"3": (422, "invalid"),
    b"NaN": (422, "invalid"),
    b"[]": (422, "invalid"),
    b"{}": (422, "invalid"),
    b'{"texts": null}': (422, "invalid"),
    b'{"texts": "a"}': (422, "invalid"),
    b'{"texts": []}': (422, "invalid"),
    b'{"texts": [1]}': (422, "invalid"),
    b'{"texts": [NaN]}': (422, "invalid"),
    b'{"texts": [Infinity, null, {}, []]}': (422, "invalid"),
    b'{"texts": ["\\ud800"]}': (422, "invalid"),
    b'{"texts": ["a\\u0000b"]}': (422, "invalid"),
    b'{"texts": ["a"], "subject": 3}': (422, "invalid"),
    b'{"texts": ["a"], "subject": "\\ud800"}': (422, "invalid"),
    b'{"texts": ["a"], "subject": "\\u0000"}': (422, "invalid"),
    b'{"texts": ["a"], "subject": ""}': (422, "invalid"),
    b'{"texts": ["a"], "\\ud800": 1}': (422, "invalid"),
    b'{"texts": ["a"], "text": "b"}': (422, "invalid"),
    b'{"texts": ["a"], "model": "shop"}': (422, "invalid"),
}


@pytest.mark.parametrize("content", BAD, ids=lambda content: repr(content[:40]))
def test_a_bad_body_is_refused_with_a_reason_and_without_its_values(client, content):
    message = error(post(client, content), *BAD[content])
    assert "see /docs" in message.lower() or "remove it" in message or "one of desk" in message
    assert "Traceback" not in message and len(message) < 700


@pytest.mark.parametrize("text", ["", " ", "\n", "é" * 3, "𝕏🙂", "\u202e", "{{7*7}}", "<script>"])
def test_any_text_that_is_one_is_answered(client, text):
    assert post(client, {"texts": [text]}).json()["results"][0]["label"] == text


@pytest.mark.parametrize(
    ("changes", "content"),
    [
        ({"max_texts": 2}, {"texts": ["a"] * 3}),
        ({"max_chars": 3}, {"texts": ["abc", "abcd"]}),
        ({"max_megabytes": 0.0001}, {"texts": ["a" * 200]}),
    ],
)
def test_what_is_larger_than_the_parameters_allow_is_refused(make_client, changes, content):
    message = error(post(make_client(**changes), content), 413, "too_large")
    assert "allowed" in message or "larger than" in message


def test_a_body_without_a_length_is_refused_once_it_is_too_large(make_client):
    sent = []

    def parts():
        for _ in range(1000):
            sent.append(1)
            yield b"x" * 1000

    client = make_client(max_megabytes=0.01)
    response = client.post("/v1/predict", content=parts(), headers={"Content-Type": "application/json"})
    error(response, 413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_only_json_is_taken_so_no_form_of_another_site_can_post(client, kind):
    response = client.post("/v1/predict", content=json.dumps(ONE), headers={"Content-Type": kind} if kind else {})
    error(response, 415, "unsupported_media_type")


def test_a_server_of_this_machine_is_asked_by_its_names_alone(make_client):
    client = make_client(hosts=("127.0.0.1", "localhost"))
    assert client.get("/health", headers={"Host": "localhost:8000"}).status_code == 200
    error(client.get("/health", headers={"Host": "evil.example"}), 403, "forbidden")


@pytest.mark.parametrize(
    ("raised", "status", "kind", "retry"),
    [
        (Overloaded("9 texts wait", 2.5), 503, "overloaded", "3"),
        (TooLate("no answer in time"), 504, "deadline", None),
        (BadAnswer("no number"), 502, "bad_answer", None),
        (ZeroDivisionError("secret"), 500, "failed", None),
        (Refused("secret"), 500, "failed", None),
    ],
)
def test_a_request_without_an_answer_says_why(client, raised, status, kind, retry, caplog):
    client.service.models["desk"].engine.raises = raised
    response = post(client, ONE)
    message = error(response, status, kind)
    assert "secret" not in message
    assert response.headers.get("retry-after") == retry
    assert (response.headers["x-request-id"] in caplog.text) is (status == 500)


def test_every_text_of_a_request_is_logged_with_who_answered_it(client):
    request_id = post(client, {"texts": ["a", "b"], "subject": "customer-17"}).json()["request_id"]
    client.service.models["desk"].engine.raises = TooLate("no answer in time")
    post(client, ONE)
    first, second, failed = client.service.log.rows
    assert (first.request_id, first.position, first.text, first.label) == (request_id, 0, "a", "a")
    assert (second.position, second.version, second.arm, second.subject) == (1, "1", "champion", "customer-17")
    assert (failed.error, failed.label, failed.confidence, failed.text) == ("deadline", "", None, ONE["texts"][0])
    assert first.latency_ms > 0 and first.seal == "seal of desk/1" and first.reason


def test_what_is_not_there_is_a_typed_error_too(client):
    error(client.get("/nothing"), 404, "not_found")
    error(client.get("/v1/predict"), 405, "method_not_allowed")


def test_one_of_several_models_is_asked_by_its_name(make_client):
    client = make_client("desk", "shop")
    assert post(client, {**ONE, "model": "shop"}).json()["version"] == "shop/1"
    assert "one of desk, shop" in error(post(client, ONE), 422, "invalid")
    response = post(client, {"inputs": ["a"]}, "/invocations?model=shop")
    assert response.status_code == 200
    error(post(client, {"inputs": ["a"]}, "/invocations"), 422, "invalid")


RESULTS = [{"label": text, "confidence": 0.75, "route": "auto"} for text in "ab"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "a"], [2, "b"]]}},
        {"dataframe_split": {"index": [0, 1], "columns": ["text"], "data": [["a"], ["b"]]}},
        {"dataframe_records": [{"text": "a"}, {"text": "b", "id": 3}]},
        {"instances": ["a", "b"]},
        {"instances": [{"text": "a"}, {"text": "b"}]},
        {"inputs": ["a", "b"]},
        {"inputs": {"text": ["a", "b"]}, "params": {}},
    ],
)
def test_clients_of_mlflow_are_answered_as_by_mlflow(client, body):
    response = post(client, body, "/invocations")
    assert (response.status_code, response.json()) == (200, {"predictions": RESULTS})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": {"text": [1]}},
        {"inputs": {"text": None}},
        {"inputs": "a"},
        {"inputs": ["a"], "instances": ["a"]},
        {"instances": [None]},
        {"instances": [{"body": "a"}]},
        {"dataframe_records": ["a"]},
        {"dataframe_split": {"columns": ["body"], "data": [["a"]]}},
        {"dataframe_split": {"columns": ["text", "text"], "data": [["a", "b"]]}},
        {"dataframe_split": {"columns": ["text", "id"], "data": [["a"]]}},
        {"dataframe_split": {"columns": ["text"], "data": []}},
        {"dataframe_split": None},
        {"rows": ["a"]},
    ],
)
def test_what_mlflow_would_refuse_is_refused(client, body):
    error(post(client, body, "/invocations"), 422, "invalid")


def test_ready_names_what_answers_and_says_no_once_the_server_ends(client):
    model = {"model": "desk", "reference": "desk@champion", "version": "desk/1", "seal": "seal of desk/1"}
    assert client.get("/ready").json() == {"status": "ready", "models": [{**model, "failure": "", "rollout": None}]}
    client.service.draining = True
    response = client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "ending")
    assert client.get("/health").status_code == 200
    assert post(client, ONE).status_code == 200  # who asks meanwhile is answered


def test_ready_says_what_an_upstream_says_of_its_version(client):
    class Behind(UpstreamWriter):
        def __init__(self, served):
            self.served = served

        async def check(self, deadline):
            return UpstreamCheck("it serves no model 'support'", "")

    live = client.service.models["desk"]
    live.engine = Behind(live.served)
    (model,) = client.get("/ready").json()["models"]
    assert model["upstream"] == {"problem": "it serves no model 'support'", "evidence": ""}


def test_metrics_count_requests_answers_and_versions(client):
    post(client, {"texts": ["a", "b"]})
    post(client, b"{")
    client.get("/nothing")
    lines = client.get("/metrics").text.splitlines()
    assert 'retune_requests_total{route="/v1/predict",status="200"} 1.0' in lines
    assert 'retune_requests_total{route="/v1/predict",status="400"} 1.0' in lines
    assert 'retune_requests_total{route="none",status="404"} 1.0' in lines
    assert 'retune_answers_total{arm="champion",model="desk",route="auto",version="1"} 2.0' in lines
    assert 'retune_version_info{model="desk",seal="seal of desk/1",version="1"} 1.0' in lines
    assert 'retune_swaps_total{model="desk"} 0.0' in lines
    assert {"retune_log_written_rows_total 2.0", "retune_log_dropped_rows_total 0.0"} <= set(lines)


@pytest.fixture
def with_keys(make_client, tmp_path, monkeypatch):
    monkeypatch.setattr(api_keys.backend, "state", lambda: tmp_path)
    client = make_client(public=True, requests_per_minute=3)
    return client, {scope: {"Authorization": f"Bearer {api_keys.create(scope, [scope])}"} for scope in api_keys.SCOPES}


def test_a_public_server_answers_whom_a_key_allows(with_keys):
    client, keys = with_keys
    assert post(client, ONE, **keys["predict"]).status_code == 200
    assert post(client, ONE, **keys["admin"]).status_code == 200
    assert "for feedback, and this asks for predict" in error(post(client, ONE, **keys["feedback"]), 403, "forbidden")
    error(post(client, {"inputs": ["a"]}, "/invocations", **keys["feedback"]), 403, "forbidden")
    error(client.get("/metrics", headers=keys["predict"]), 403, "forbidden")
    assert client.get("/metrics", headers=keys["admin"]).status_code == 200
    assert client.get("/health").status_code == client.get("/ready").status_code == 200


@pytest.mark.parametrize("word", [None, "", "Bearer", "Bearer ", "Bearer retune_x", "Basic YTpi", "Bearer \xe4"])
def test_who_has_no_key_is_told_how_to_get_one(with_keys, word):
    client, _ = with_keys
    response = post(client, ONE, **({"Authorization": word.encode("latin-1")} if word is not None else {}))
    assert "retune api-keys create" in error(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


def test_from_the_first_key_on_a_server_of_this_machine_asks_for_one_too(make_client, tmp_path, monkeypatch):
    monkeypatch.setattr(api_keys.backend, "state", lambda: tmp_path)
    client = make_client()
    assert post(client, ONE).status_code == 200
    api_keys.create("desk", ["predict"])
    error(post(client, ONE), 401, "unauthenticated")
    api_keys.revoke("desk")
    error(post(client, ONE), 401, "unauthenticated")  # the last key that goes opens nothing


def test_a_key_that_asks_too_often_is_told_when_to_come_again(with_keys):
    client, keys = with_keys
    assert [post(client, ONE, **keys["predict"]).status_code for _ in range(3)] == [200] * 3
    response = post(client, ONE, **keys["predict"])
    assert "more than 3 requests a minute" in error(response, 429, "rate_limited")
    assert 0 < int(response.headers["retry-after"]) <= 20
    assert post(client, ONE, **keys["admin"]).status_code == 200


def test_following_begins_with_the_server_and_every_engine_ends_with_it(make_service):
    service = make_service(follow_seconds=0.001)
    live = service.models["desk"]
    looks = []

    async def look():
        looks.append(1)

    live.look = look
    with TestClient(make_app(service)) as client:
        while len(looks) < 2:
            client.get("/health")
    assert live.engine.closed and service.log.closed


def test_the_api_is_described_with_its_routes_and_errors(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/predict", "/invocations", "/health", "/ready", "/metrics"} <= set(paths)
    assert client.get("/docs").status_code == 200
