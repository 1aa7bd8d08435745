"""The JSON of the HTTP API: each rule of a job request, and which keys answers leave out."""

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushy_protocol import api
from pushy_protocol.api import (
    MAX_FILE_BYTES,
    MAX_NUMBER,
    AgentConfig,
    ClientCreated,
    EncodedSessionKey,
    ErrorBody,
    HeartbeatConfig,
    InvalidRequest,
    Job,
    JobCreated,
    JobRequest,
    NewClient,
    NodeState,
    PushJobsConfig,
    ServerStatus,
    decode,
    decode_file,
    decode_job_request,
    encode,
)

Json = dict[str, Any]

LEAST: Json = {"command": "chef-client", "nodes": ["web1"]}
MOST: Json = LEAST | {
    "run_timeout": 1.5,
    "quorum": 1,
    "user": "deploy",
    "dir": "/srv",
    "env": {"A": "1", "B": ""},
    "file": "raw:text",
    "capture_output": True,
}


def body_of(value: object) -> bytes:
    return json.dumps(value).encode()


def refusal(body: bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidRequest) as caught:
        decode_job_request(body)
    return caught.value.args


class TestJobRequest:
    def test_the_least(self) -> None:
        assert decode_job_request(body_of(LEAST)) == JobRequest(command="chef-client", nodes=("web1",))

    def test_the_defaults(self) -> None:
        request = decode_job_request(body_of(LEAST))
        assert (request.run_timeout, request.quorum, request.capture_output) == (None, None, False)
        assert (request.user, request.dir, request.env, request.file) == (None, None, None, None)

    def test_the_most(self) -> None:
        assert msgspec.to_builtins(decode_job_request(body_of(MOST))) == MOST | {"nodes": ("web1",)}

    @pytest.mark.parametrize("name", ["quorum", "user", "dir", "env", "file"])
    def test_null_is_as_good_as_not_given(self, name: str) -> None:
        assert decode_job_request(body_of(LEAST | {name: None})) == decode_job_request(body_of(LEAST))

    def test_duplicate_nodes_count_once_in_the_order_given(self) -> None:
        body = body_of(LEAST | {"nodes": ["b", "a", "b", "c", "a"]})
        assert decode_job_request(body).nodes == ("b", "a", "c")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"command": 7}, "command: expected a string, got an integer"),
            ({"command": None}, "command: expected a string, got null"),
            ({"command": ["a"]}, "command: expected a string, got a list"),
            ({"command": ""}, "command: expected a string of length >= 1"),
            ({"command": "a\0b"}, "command: expected no NUL characters"),
            ({"nodes": "web1"}, "nodes: expected a list, got a string"),
            ({"nodes": {"web1": 1}}, "nodes: expected a list, got an object"),
            ({"nodes": None}, "nodes: expected a list, got null"),
            ({"nodes": []}, "nodes: expected a list of length >= 1"),
            ({"nodes": ["web1", 2]}, "nodes[1]: expected a string, got an integer"),
            ({"nodes": ["web1", None]}, "nodes[1]: expected a string, got null"),
            ({"nodes": [["web1"]]}, "nodes[0]: expected a string, got a list"),
            ({"nodes": [""]}, "nodes[0]: expected a string of length >= 1"),
            ({"nodes": ["a" * 256]}, "nodes[0]: expected a string of length <= 255"),
            ({"nodes": ["a\0"]}, "nodes: expected no NUL characters"),
            ({"run_timeout": "60"}, "run_timeout: expected a number, got a string"),
            ({"run_timeout": True}, "run_timeout: expected a number, got true or false"),
            *(
                (
                    {"run_timeout": number},
                    "run_timeout: expected a number of seconds greater than 0, at most 2147483647",
                )
                for number in (0, -1, -0.5, 0.0, MAX_NUMBER + 1, 1e300, 10**30)
            ),
            ({"quorum": "all"}, "quorum: expected a number, got a string"),
            ({"quorum": False}, "quorum: expected a number, got true or false"),
            ({"quorum": [1]}, "quorum: expected a number, got a list"),
            *(
                ({"quorum": number}, "quorum: expected a number of nodes from 0 to 2147483647")
                for number in (-1, -0.1, MAX_NUMBER + 1, 1e300)
            ),
            ({"user": 0}, "user: expected a string, got an integer"),
            ({"user": "a\0"}, "user: expected no NUL characters"),
            ({"dir": ["/"]}, "dir: expected a string, got a list"),
            ({"dir": "/\0"}, "dir: expected no NUL characters"),
            ({"env": "A=1"}, "env: expected an object, got a string"),
            ({"env": [["A", "1"]]}, "env: expected an object, got a list"),
            ({"env": {"A": 1}}, "env[...]: expected a string, got an integer"),
            ({"env": {"A": None}}, "env[...]: expected a string, got null"),
            ({"env": {"": "1"}}, "env: expected names of environment variables, without '='"),
            ({"env": {"A=B": "1"}}, "env: expected names of environment variables, without '='"),
            ({"env": {"A\0": "1"}}, "env: expected no NUL characters"),
            ({"env": {"A": "\0"}}, "env: expected no NUL characters"),
            ({"file": {"raw": "a"}}, "file: expected a string, got an object"),
            ({"file": "text"}, "file: expected a string that begins with 'raw:' or 'base64:'"),
            ({"file": "base64:!"}, "file: expected base64 after 'base64:'"),
            ({"file": "raw:" + "a" * (MAX_FILE_BYTES + 1)}, "file: expected at most 100000 bytes, got 100001"),
            ({"capture_output": "yes"}, 'capture_output: expected true, false or "live"'),
            ({"capture_output": 1}, 'capture_output: expected true, false or "live"'),
            ({"capture_output": None}, 'capture_output: expected true, false or "live"'),
        ],
    )
    def test_each_failure_names_the_key_and_what_was_expected(self, changes: Json, reason: str) -> None:
        assert refusal(body_of(LEAST | changes)) == (reason,)

    @pytest.mark.parametrize("name", ["command", "nodes"])
    def test_what_is_required(self, name: str) -> None:
        body = body_of({key: value for key, value in MOST.items() if key != name})
        assert refusal(body) == (f"{name}: expected it to be given, got nothing",)

    @pytest.mark.parametrize("name", ["", "Command", "job_name", "nodes ", "a`b", "a\nb", "é", "__class__", "$.x"])
    def test_unknown_keys(self, name: str) -> None:
        assert refusal(body_of(LEAST | {name: 1})) == ("invalid key supplied", f"{name}: expected no such key")

    @pytest.mark.parametrize("number", [1, 0.001, 3600, 3600.5, MAX_NUMBER])
    def test_run_timeouts(self, number: float) -> None:
        assert decode_job_request(body_of(LEAST | {"run_timeout": number})).run_timeout == number

    @pytest.mark.parametrize("number", [0, 0.5, 1, 100, MAX_NUMBER])
    def test_quorums_also_that_no_job_reaches(self, number: float) -> None:
        assert decode_job_request(body_of(LEAST | {"quorum": number})).quorum == number

    @pytest.mark.parametrize("digits", ["9" * 5000, "1e999", "NaN", "Infinity", "-1e999", "0x10", "01"])
    def test_numbers_beyond_numbers(self, digits: str) -> None:
        for name in ("run_timeout", "quorum"):
            body = f'{{"command":"a","nodes":["b"],"env":{{}},"{name}":{digits}}}'.encode()
            assert refusal(body)[0].startswith((f"{name}: ", "invalid JSON: "))

    @pytest.mark.parametrize(
        "env",
        [
            '{"A":"1","A":"2"}',
            '{"A":"1","A":"1"}',
            '{"A":"1","B":"2","\\u0041":"3"}',
            '{"\\u0041":"1","A":"2","B":"3","B":"4"}',
        ],
    )
    def test_duplicate_keys_in_env(self, env: str) -> None:
        body = f'{{"command":"c","nodes":["n"],"env":{env}}}'.encode()
        assert refusal(body) == ("env: expected every key once, got 'A' 2 times",)

    def test_duplicate_keys_in_every_env(self) -> None:
        body = b'{"command":"c","nodes":["n"],"env":{"A":"1","A":"2"},"env":{"A":"1"},"\\u0065nv":{}}'
        assert refusal(body) == ("env: expected every key once, got 'A' 2 times",)

    def test_keys_that_are_equal_elsewhere_are_no_duplicates_of_env(self) -> None:
        body = b'{"command":"a","command":"c","env":null,"env":{"command":"1","nodes":"2"},"nodes":["n"]}'
        request = decode_job_request(body)
        assert (request.command, request.env) == ("c", {"command": "1", "nodes": "2"})

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nodes",
            b"\xff",
            b'{"command":"\xff"}',
            b'{"command":"\\ud800"}',
            b'{"command":"a\x01"}',
            b"{'command':1}",
            b"\xef\xbb\xbf{}",
            '{"command":""}'.encode("utf-16"),
            body_of(LEAST) + b"}",
            body_of(LEAST) + body_of(LEAST),
        ],
    )
    def test_what_is_no_json(self, body: bytes) -> None:
        (reason,) = refusal(body)
        assert reason.startswith("invalid JSON: ")

    @pytest.mark.parametrize("value", [None, 1, "text", [], [LEAST]])
    def test_what_is_no_object(self, value: object) -> None:
        (reason,) = refusal(body_of(value))
        assert reason.startswith("expected an object, got ")

    def test_ten_thousand_nodes(self) -> None:
        names = [f"node-{number:05}.example.com" for number in range(10_000)]
        assert decode_job_request(body_of(LEAST | {"nodes": names + names})).nodes == tuple(names)


class TestFile:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("raw:", b""),
            ("raw:a\nb", b"a\nb"),
            ("raw:é", b"\xc3\xa9"),
            ("raw:base64:AA==", b"base64:AA=="),
            ("raw:\0", b"\0"),
            ("base64:", b""),
            ("base64:AP8=", b"\x00\xff"),
            ("base64:A\nP\r\n8 =\n", b"\x00\xff"),
        ],
    )
    def test_its_content(self, text: str, data: bytes) -> None:
        assert decode_file(text) == data
        assert decode_job_request(body_of(LEAST | {"file": text})).file == text

    @pytest.mark.parametrize("text", ["", "raw", "base64", "RAW:a", " raw:a", "hex:00", ":a"])
    def test_it_says_what_it_is(self, text: str) -> None:
        with pytest.raises(InvalidRequest, match=r"^file: expected a string that begins with 'raw:' or 'base64:'$"):
            decode_file(text)

    @pytest.mark.parametrize("content", ["A", "AAA", "A===", "!!!!", "AA==AA==", "-_8=", "ÄÄÄÄ"])
    def test_base64_that_is_none(self, content: str) -> None:
        with pytest.raises(InvalidRequest, match=r"^file: expected base64 after 'base64:'$"):
            decode_file(f"base64:{content}")

    @pytest.mark.parametrize("size", [MAX_FILE_BYTES, MAX_FILE_BYTES + 1])
    def test_its_limit_is_that_of_what_is_decoded(self, size: int) -> None:
        for text in ("raw:" + "a" * size, "base64:" + b64encode(b"a" * size).decode()):
            if size <= MAX_FILE_BYTES:
                assert len(decode_file(text)) == size
            else:
                with pytest.raises(InvalidRequest, match=r"^file: expected at most 100000 bytes, got 100001$"):
                    decode_file(text)

    def test_its_limit_is_in_bytes(self) -> None:
        with pytest.raises(InvalidRequest, match="got 100002"):
            decode_file("raw:" + "é" * (MAX_FILE_BYTES // 2 + 1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def only_invalid_requests(body: bytes) -> None:
    try:
        request = decode_job_request(body)
    except InvalidRequest as error:
        encode(ErrorBody([*error.args]))
    else:
        assert decode_job_request(encode(request)) == request


@given(st.binary())
def test_arbitrary_bytes_only_raise_invalid_requests(body: bytes) -> None:
    only_invalid_requests(body)


@given(JSON)
def test_arbitrary_json_only_raises_invalid_requests(value: object) -> None:
    only_invalid_requests(body_of(value))


@given(
    changes=st.dictionaries(st.sampled_from([*MOST, "more"]), JSON, max_size=3),
    env=st.dictionaries(st.text(), st.text()),
    file=st.text().map("raw:".__add__) | st.text().map("base64:".__add__) | st.text(),
)
@settings(max_examples=300)
def test_mutated_requests_only_raise_invalid_requests(changes: Json, env: dict[str, str], file: str) -> None:
    only_invalid_requests(body_of(MOST | {"env": env, "file": file} | changes))


@given(place=st.integers(0, 200), junk=st.binary(max_size=8), cut=st.integers(0, 8))
def test_damaged_requests_only_raise_invalid_requests(place: int, junk: bytes, cut: int) -> None:
    body = body_of(MOST)
    only_invalid_requests(body[:place] + junk + body[place + cut :])


class TestAnswers:
    JOB = Job(
        id="0" * 32,
        command="chef-client",
        status="running",
        run_timeout=3600,
        created_at="Tue, 04 Sep 2012 23:01:02 GMT",
        updated_at="Tue, 04 Sep 2012 23:01:03 GMT",
    )
    JSON: Json = {  # noqa: RUF012 - read only
        "id": "0" * 32,
        "command": "chef-client",
        "status": "running",
        "run_timeout": 3600,
        "created_at": "Tue, 04 Sep 2012 23:01:02 GMT",
        "updated_at": "Tue, 04 Sep 2012 23:01:03 GMT",
    }

    def test_a_job_leaves_out_what_it_has_not(self) -> None:
        assert json.loads(encode(self.JOB)) == self.JSON

    @pytest.mark.parametrize(
        "more",
        [
            {"nodes": {"running": ["web1", "web2"]}},
            {"nodes": {}},
            {"user": "deploy", "dir": "/srv", "env": {"A": "1"}},
            {"env": {}},
            {"capture_output": True},
            {"file_specified": True},
            {"file": "raw:text"},
            {"reasons": {"web1": "busy"}},
        ],
    )
    def test_a_job_shows_what_it_has(self, more: Json) -> None:
        job = msgspec.structs.replace(self.JOB, **more)
        assert json.loads(encode(job)) == self.JSON | more
        assert decode(encode(job), Job) == job

    def test_the_clients_ignore_what_a_later_server_adds(self) -> None:
        assert decode(body_of(self.JSON | {"more": 1}), Job) == self.JOB

    def test_an_agents_configuration(self) -> None:
        config = AgentConfig(
            host="push1",
            node="web1",
            organization="acme",
            push_jobs=PushJobsConfig(
                HeartbeatConfig(out_addr="tcp://push1:10000", command_addr="tcp://push1:10002", interval=1.0)
            ),
            public_key="PEM",
            curve_public_key="Z85",
            encoded_session_key=EncodedSessionKey("hmac_sha256", "AAAA"),
            lifetime=3600,
            max_message_skew=300,
            max_body_size=65536,
            incarnation_id="dcd37f50",
        )
        wire = {
            "type": "config",
            "host": "push1",
            "node": "web1",
            "organization": "acme",
            "push_jobs": {
                "heartbeat": {
                    "out_addr": "tcp://push1:10000",
                    "command_addr": "tcp://push1:10002",
                    "interval": 1.0,
                    "offline_threshold": 3,
                    "online_threshold": 2,
                }
            },
            "public_key": "PEM",
            "curve_public_key": "Z85",
            "encoded_session_key": {"method": "hmac_sha256", "key": "AAAA"},
            "lifetime": 3600,
            "max_message_skew": 300,
            "max_body_size": 65536,
            "incarnation_id": "dcd37f50",
        }
        assert json.loads(encode(config)) == wire
        assert decode(encode(config), AgentConfig) == config
        extended = msgspec.structs.replace(config, extensions=["results"])
        assert json.loads(encode(extended)) == wire | {"extensions": ["results"]}
        with pytest.raises(InvalidRequest, match="type"):
            decode(body_of(wire | {"type": "other"}), AgentConfig)

    @pytest.mark.parametrize(
        ("answer", "wire"),
        [
            (JobCreated("https://h/x"), {"uri": "https://h/x"}),
            (
                NodeState("web1", "online", "available"),
                {"node_name": "web1", "status": "online", "availability": "available"},
            ),
            (
                ServerStatus("it's alive", "i", 3, ["j"]),
                {"status": "it's alive", "incarnation_id": "i", "node_fsm_count": 3, "job_processes": ["j"]},
            ),
            (ClientCreated(uri="u"), {"uri": "u"}),
            (ClientCreated(uri="u", private_key="PEM"), {"uri": "u", "private_key": "PEM"}),
            (ErrorBody(["a", "b"]), {"error": ["a", "b"]}),
            (ErrorBody("a"), {"error": "a"}),
        ],
    )
    def test_the_rest(self, answer: object, wire: Json) -> None:
        assert json.loads(encode(answer)) == wire
        assert decode(encode(answer), type(answer)) == answer


class TestNewClient:
    @pytest.mark.parametrize("name", ["a", "web1.example.com", "A_b-c:d.0", "a" * 255])
    def test_names(self, name: str) -> None:
        assert decode(body_of({"name": name}), NewClient) == NewClient(name=name)

    @pytest.mark.parametrize("name", ["", "a" * 256, "a b", "a\n", "\na", "a/b", "é", "a\0", "../a", 7, None, ["a"]])
    def test_no_names(self, name: object) -> None:
        with pytest.raises(InvalidRequest, match=r"^name: expected a string"):
            decode(body_of({"name": name}), NewClient)

    def test_a_name_is_required_and_the_key_is_a_string(self) -> None:
        with pytest.raises(InvalidRequest, match=r"^name: expected it to be given, got nothing$"):
            decode(b"{}", NewClient)
        with pytest.raises(InvalidRequest, match=r"^public_key: expected a string, got an integer$"):
            decode(b'{"name":"a","public_key":1}', NewClient)


def test_the_limits_are_the_contracts() -> None:
    assert (api.MAX_BODY_BYTES, api.MAX_FILE_BYTES) == (1_000_000, 100_000)
