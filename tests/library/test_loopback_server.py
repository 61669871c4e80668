"""The loopback server by itself: its checks, its answers, its faults, its end."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ultrafast.errors import ModelError
from ultrafast.testing import Fault, LoopbackServer
from ultrafast.testing.faults import parse_fault

KEY = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}
BODY = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Say hello"}],
}

SLOW = "loopback-slow-1000"


@pytest.fixture(scope="module")
def running():
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.reset()
    return running


def post(server, body=BODY, headers=KEY, path="/v1/messages"):
    """Status, headers and raw body of one POST; the body may be cut short."""
    host, port = server.base_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        raw = body if isinstance(body, bytes) else json.dumps(body)
        connection.request("POST", path, raw, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_an_ordinary_answer_is_marked_and_counted(server):
    status, headers, raw = post(server)
    message = json.loads(raw)
    assert status == 200
    assert headers["request-id"]
    assert message["type"] == "message"
    assert message["id"].startswith("msg_loopback_")
    (block,) = message["content"]
    assert block["text"].startswith("[loopback] ")
    assert block["text"].endswith("Say hello")
    assert message["usage"]["input_tokens"] == 3  # nine characters, four to a token
    assert message["usage"]["output_tokens"] == -(-len(block["text"]) // 4)
    assert message["stop_reason"] == "end_turn"


def test_the_same_request_has_the_same_text(server):
    texts = {json.loads(post(server)[2])["content"][0]["text"] for _ in range(3)}
    assert len(texts) == 1
    other = {**BODY, "messages": [{"role": "user", "content": "Say goodbye"}]}
    assert json.loads(post(server, other)[2])["content"][0]["text"] not in texts


def test_limits_of_the_answer_are_kept(server):
    message = json.loads(post(server, {**BODY, "max_tokens": 2})[2])
    assert (message["stop_reason"], message["content"][0]["text"]) == ("max_tokens", "[loopbac")
    message = json.loads(post(server, {**BODY, "stop_sequences": ["No", "hello"]})[2])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "No")
    assert message["content"][0]["text"] == "[loopback] "


@pytest.mark.parametrize(
    ("headers", "body", "status", "said"),
    [
        ({}, BODY, 401, "required"),
        ({"x-api-key": "invalid"}, BODY, 401, "invalid x-api-key"),
        ({"authorization": "Bearer invalid"}, BODY, 401, "invalid x-api-key"),
        ({"authorization": "Basic k"}, BODY, 401, "required"),
        ({"x-api-key": "k"}, BODY, 400, "anthropic-version"),
        (KEY, b"{", 400, "truncated"),
        (KEY, b'"\xff"', 400, ""),
        (KEY, {"model": "claude-x", "max_tokens": 1}, 400, "messages"),
        (KEY, {**BODY, "max_tokens": 0}, 400, "max_tokens"),
        (KEY, {**BODY, "max_tokens": "9"}, 400, "$.max_tokens"),
        (KEY, {**BODY, "messages": []}, 400, "at least one"),
        (KEY, {**BODY, "messages": [{"role": "user", "content": ""}]}, 400, "messages.0"),
        (KEY, {**BODY, "messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
        (KEY, {**BODY, "messages": [{"role": "assistant", "content": "x"}]}, 400, "first message"),
        (KEY, {**BODY, "temperature": 1.0}, 400, "temperature"),
        (KEY, {**BODY, "colour": "red"}, 400, "colour"),
        (KEY, {**BODY, "output_config": {"effort": "huge"}}, 400, "effort"),
        (KEY, {**BODY, "output_config": {"format": {}}}, 400, "structured"),
        (KEY, {**BODY, "model": "gpt"}, 404, "gpt"),
        (KEY, {**BODY, "model": "loopback-nonsense"}, 404, "nonsense"),
        ({**KEY, "x-loopback-fault": "nonsense"}, BODY, 400, "nonsense"),
    ],
)
def test_a_wrong_request_has_the_error_the_api_would_give(server, headers, body, status, said):
    got, _, raw = post(server, body, headers)
    error = json.loads(raw)
    assert got == status
    assert error["type"] == "error"
    kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
    assert error["error"]["type"] == kinds[status]
    assert said in error["error"]["message"]
    assert error["request_id"]


def test_sampling_is_accepted_by_the_older_version(server):
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert post(server, {**BODY, "temperature": 1.0}, headers)[0] == 200


def test_an_unknown_path_is_not_found_in_the_apis_words(server):
    status, _, raw = post(server, path="/v1/complete")
    assert (status, json.loads(raw)["error"]["type"]) == (404, "not_found_error")


def test_tokens_can_be_counted(server):
    body = {"model": "claude-sonnet-5-5", "messages": BODY["messages"], "system": "x" * 31}
    status, _, raw = post(server, body, path="/v1/messages/count_tokens")
    assert (status, json.loads(raw)) == (200, {"input_tokens": 10})
    assert post(server, b"[", path="/v1/messages/count_tokens")[0] == 400


def events_of(raw):
    events = []
    for chunk in raw.decode().strip().split("\n\n"):
        name, data = chunk.split("\n", 1)
        decoded = json.loads(data.removeprefix("data: "))
        assert decoded["type"] == name.removeprefix("event: ")
        events.append(decoded)
    return events


def test_a_stream_has_its_events_in_order(server):
    status, headers, raw = post(server, {**BODY, "stream": True})
    assert (status, headers.get_content_type()) == (200, "text/event-stream")
    events = events_of(raw)
    names = [event["type"] for event in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert len(names) > 7
    text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
    whole = json.loads(post(server)[2])
    assert text == whole["content"][0]["text"]
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["stop_reason"] is None
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_a_script_is_followed_in_order_and_used_up(server):
    server.script(Fault(kind="status", status=500, times=2), Fault(kind="status", status=529))
    assert server.statistics().faults_waiting == 3
    assert [post(server)[0] for _ in range(4)] == [500, 500, 529, 200]
    counts = server.statistics()
    assert counts.by_status == {"500": 2, "529": 1, "200": 1}
    assert (counts.requests, counts.in_flight, counts.faults_waiting) == (4, 0, 0)
    assert [record.fault for record in server.requests()] == ["status", "status", "status", None]


def test_a_fault_meets_only_the_requests_it_is_for(server):
    server.script(
        Fault(kind="status", status=500, model="claude-haiku-5-5"),
        Fault(kind="status", status=503, contains="goodbye"),
    )
    other = {**BODY, "messages": [{"role": "user", "content": "Say goodbye"}]}
    haiku = {**BODY, "model": "claude-haiku-5-5"}
    bodies = (BODY, other, haiku, haiku, other)
    assert [post(server, body)[0] for body in bodies] == [200, 503, 500, 200, 200]


def test_headers_and_models_name_faults_too(server):
    status, headers, _ = post(server, BODY, {**KEY, "x-loopback-fault": "status-429-after-0.5"})
    assert (status, headers["retry-after"]) == (429, "0.5")
    assert post(server, {**BODY, "model": "loopback-status-529"})[0] == 529
    assert post(server, {**BODY, "model": "loopback"})[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_broken_answers_are_broken(server, stream):
    body = {**BODY, "stream": stream}
    with pytest.raises(http.client.IncompleteRead):
        post(server, {**body, "model": "loopback-cut"})
    status, _, raw = post(server, {**body, "model": "loopback-truncated"})
    assert status == 200
    if stream:
        assert [event["type"] for event in events_of(raw)][-1] == "content_block_delta"
    else:
        assert "usage" not in json.loads(raw)
    status, _, raw = post(server, {**body, "model": "loopback-invalid-json"})
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        events_of(raw) if stream else json.loads(raw)


def test_a_tool_is_asked_for_and_its_result_answered(server):
    server.script(Fault(kind="tool_use", tool="weather", input={"city": "Oslo"}))
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    message = json.loads(post(server, {**BODY, "tools": tools})[2])
    assert message["stop_reason"] == "tool_use"
    call = message["content"][1]
    assert (call["name"], call["input"]) == ("weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "rain"}
    turns = [
        *BODY["messages"],
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [result]},
    ]
    message = json.loads(post(server, {**BODY, "tools": tools, "messages": turns})[2])
    assert message["content"][0]["text"].endswith("The tools answered: rain")


def test_a_tool_that_was_not_offered_is_not_asked_for(server):
    server.script(Fault(kind="tool_use", tool="weather"))
    assert post(server)[0] == 400


def test_a_streamed_tool_call_carries_its_input(server):
    server.script(Fault(kind="tool_use", tool="weather", input={"city": "Oslo"}))
    events = events_of(post(server, {**BODY, "stream": True, "tools": [{"name": "weather"}]})[2])
    (delta,) = [
        event["delta"]
        for event in events
        if event["type"] == "content_block_delta" and event["index"] == 1
    ]
    assert json.loads(delta["partial_json"]) == {"city": "Oslo"}


def test_a_client_that_leaves_is_noticed(server):
    host, port = server.base_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", "/v1/messages", json.dumps({**BODY, "model": SLOW}), KEY)
    while not server.statistics().in_flight:
        time.sleep(0.01)
    connection.close()
    while server.statistics().in_flight:
        time.sleep(0.01)
    assert server.statistics().by_status == {"499": 1}


def test_a_request_that_a_reset_overtakes_is_forgotten(server):
    host, port = server.base_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", "/v1/messages", json.dumps({**BODY, "model": SLOW}), KEY)
    while not server.statistics().in_flight:
        time.sleep(0.01)
    server.reset()
    connection.close()
    while server.statistics().in_flight:
        time.sleep(0.01)
    assert (server.statistics().by_status, server.requests()) == ({}, [])


def test_a_slow_answer_comes_after_all(server):
    assert post(server, {**BODY, "model": "loopback-slow-0.1"})[0] == 200


def test_records_say_what_was_asked(server):
    post(server, {**BODY, "system": "Be brief", "stream": True})
    (record,) = server.requests()
    assert (record.path, record.status, record.stream) == ("/v1/messages", 200, True)
    assert (record.model, record.system, record.text) == (
        "claude-sonnet-5-5",
        "Be brief",
        "Say hello",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "status", "status": 200},
        {"kind": "cut", "times": 0},
        {"kind": "slow", "delay_s": -1.0},
        {"kind": "tool_use"},
    ],
)
def test_a_senseless_fault_is_refused(wrong):
    with pytest.raises(ValueError):
        Fault(**wrong)


@pytest.mark.parametrize("word", ["status-200", "status-12", "slow", "slow-x", "", "cut-1"])
def test_other_words_are_no_faults(word):
    assert parse_fault(word) is None


def test_stopping_ends_the_process_and_may_be_repeated():
    server = LoopbackServer()
    assert server.start() is server.start()
    pid = server.pid
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url


def test_a_port_that_is_taken_is_reported(server):
    port = int(server.base_url.rpartition(":")[2])
    with pytest.raises(ModelError, match="Address already in use"):
        LoopbackServer(port).start()


def test_a_server_that_died_is_reported():
    with LoopbackServer() as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="is gone"):
            for _ in range(1000):
                server.statistics()


def test_it_dies_with_its_parent():
    code = (
        "import sys, signal\n"
        "from ultrafast.testing import LoopbackServer\n"
        "print(LoopbackServer().start().pid, flush=True)\n"
        "signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while _is_alive(pid):  # the watchdog ends this if it does not
        time.sleep(0.02)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            # A process whose parent died is reaped by another, at that one's leisure.
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
