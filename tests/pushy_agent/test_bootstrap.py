"""Coming to terms: the requests that are made, and what is made of their answers."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pushy_agent.bootstrap import Bootstrap, BootstrapError, Session, read_session
from pushy_protocol.answer import Answer, Unreachable
from pushy_protocol.keys import CurveKeyPair, make_rsa_key, parse_private_key, private_pem, public_pem

URL = "https://push.example/organizations/acme"
KEY, OTHER_KEY, VALIDATOR = make_rsa_key(), make_rsa_key(), make_rsa_key()
CURVE = CurveKeyPair.make()
SESSION_KEY = b"s" * 32
SERVER_CURVE = CurveKeyPair.make().public


def config(key: RSAPrivateKey = KEY, **fields: Any) -> dict[str, Any]:
    """The server's answer for the holder of a key."""
    encrypted = key.public_key().encrypt(SESSION_KEY, padding.PKCS1v15())
    return {
        "type": "config",
        "host": "push.example",
        "node": "node-1",
        "organization": "acme",
        "push_jobs": {
            "heartbeat": {
                "out_addr": "tcp://push.example:10000",
                "command_addr": "tcp://push.example:10002",
                "interval": 1.0,
                "offline_threshold": 3,
                "online_threshold": 2,
            }
        },
        "public_key": public_pem(OTHER_KEY.public_key()),
        "curve_public_key": SERVER_CURVE,
        "encoded_session_key": {"method": "hmac_sha256", "key": base64.b64encode(encrypted).decode()},
        "lifetime": 3600,
        "max_message_skew": 300,
        "max_body_size": 65536,
        "incarnation_id": "first",
        **fields,
    }


class FakeServer:
    """Knows clients by their public keys, and answers as Chef does."""

    def __init__(self) -> None:
        self.clients: dict[str, str] = {"acme-validator": public_pem(VALIDATOR.public_key())}
        self.requests: list[tuple[str, str, str]] = []
        self.fail_after_registering = False
        self.status: int | None = None
        self.unreachable = False
        self.fields: dict[str, Any] = {}
        self.facts: list[dict[str, Any]] = []
        self.facts_status = 200

    async def request(self, method: str, url: str, *, user: str, key: RSAPrivateKey, body: bytes = b"") -> Answer:
        self.requests.append((method, url, user))
        if self.unreachable:
            raise Unreachable("connection refused")
        if self.status is not None:
            return Answer(status=self.status, body=b'{"error":["out of\\norder"]}')
        if self.clients.get(user) != public_pem(key.public_key()):
            return Answer(status=401, body=b'{"error":["Invalid signature"]}')
        if method == "GET":
            return Answer(status=200, body=msgspec.json.encode(config(key, **self.fields)))
        if "/pushy/config/" in url:
            self.facts.append(msgspec.json.decode(body)["facts"])
            return Answer(status=self.facts_status, body=b'{"error":["no room"]}')
        client = msgspec.json.decode(body)
        if client["name"] in self.clients:
            return Answer(status=409, body=b'{"error":["Client already exists"]}')
        self.clients[client["name"]] = client["public_key"]
        if self.fail_after_registering:
            raise Unreachable("the connection was closed before the answer")
        return Answer(status=201, body=b'{"uri":"x"}')


class Node:
    """A node's directory, and its ways to terms."""

    def __init__(self, directory: Path) -> None:
        self.server = FakeServer()
        self.facts: dict[str, Any] = {"name": "node-1", "platform": "debian"}
        self.client_key = directory / "client.pem"
        self.pending = directory / "client.pem.pending"
        self.validation_key: Path | None = directory / "validation.pem"
        self.validation_key.write_bytes(private_pem(VALIDATOR))

    def has_key(self, key: RSAPrivateKey = KEY) -> None:
        self.client_key.write_bytes(private_pem(key))

    def is_known(self, key: RSAPrivateKey = KEY) -> None:
        self.server.clients["node-1"] = public_pem(key.public_key())

    def bootstrap(self) -> Bootstrap:
        return Bootstrap(
            requests=self.server,
            server_url=URL,
            node_name="node-1",
            client_key=self.client_key,
            validation_key=self.validation_key,
            validation_client_name="acme-validator",
            max_body_size=None,
            facts=lambda: self.facts,
            make_curve_keys=lambda: CURVE,
            make_key=lambda: KEY,
        )

    def fetch(self, bootstrap: Bootstrap | None = None) -> Session:
        results: list[Any] = []
        _ = Deferred.fromCoroutine((bootstrap or self.bootstrap()).fetch()).addBoth(results.append)
        if isinstance(results[0], Session):
            return results[0]
        raise results[0].value

    def error(self) -> str:
        with pytest.raises(BootstrapError) as error:
            self.fetch()
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_node_with_a_key(node: Node) -> None:
    node.has_key()
    node.is_known()
    session = node.fetch()
    assert (session.session_key, session.curve, session.extensions) == (SESSION_KEY, CURVE, None)
    [(method, url, user)] = node.server.requests
    assert (method, urlsplit(url).path, user) == ("GET", "/organizations/acme/pushy/config/node-1", "node-1")
    assert parse_qs(urlsplit(url).query) == {"ccpk": [CURVE.public], "version": ["3.0"]}


def test_registration(node: Node) -> None:
    assert node.fetch().session_key == SESSION_KEY
    assert [(method, user) for method, _, user in node.server.requests] == [
        ("POST", "acme-validator"),
        ("GET", "node-1"),
    ]
    assert parse_private_key(node.client_key.read_bytes()).public_key() == KEY.public_key()
    assert node.client_key.stat().st_mode & 0o777 == 0o600
    assert not node.pending.exists()


def test_a_crash_before_the_registration(node: Node) -> None:
    node.server.unreachable = True
    assert node.error() == f"{URL}: connection refused"
    assert node.pending.stat().st_mode & 0o777 == 0o600
    assert not node.client_key.exists()
    made = node.pending.read_bytes()
    node.server.unreachable = False
    node.fetch()
    assert node.client_key.read_bytes() == made


def test_a_crash_after_the_registration(node: Node) -> None:
    node.server.fail_after_registering = True
    assert "before the answer" in node.error()
    node.server.fail_after_registering = False
    assert node.fetch().session_key == SESSION_KEY
    assert node.client_key.exists()
    assert not node.pending.exists()


def test_the_name_is_taken_by_another_key(node: Node) -> None:
    node.is_known(OTHER_KEY)
    error = node.error()
    assert f"has a client node-1 with another key: put that key at {node.client_key}, or delete the client" in error
    del node.server.clients["node-1"]
    node.fetch()


def test_a_node_whose_key_is_refused_does_not_register_itself_anew(node: Node) -> None:
    node.has_key()
    assert node.error() == f"{URL}/pushy/config/node-1: HTTP 401: Invalid signature"
    assert [method for method, _, _ in node.server.requests] == ["GET"]


def test_a_validator_that_is_refused(node: Node) -> None:
    del node.server.clients["acme-validator"]
    assert node.error() == f"{URL}/clients, as acme-validator: HTTP 401: Invalid signature"


def test_neither_key(node: Node) -> None:
    node.validation_key = None
    assert node.error() == f"client_key: expected a key at {node.client_key}"


def test_keys_that_are_none(node: Node) -> None:
    node.client_key.write_text("no key")
    assert node.error().startswith(f"{node.client_key}: expected an unencrypted RSA private key in PEM")


def test_a_key_that_cannot_be_written(node: Node) -> None:
    node.client_key = node.client_key.parent / "none" / "client.pem"
    assert "No such file or directory" in node.error()


def test_errors_of_the_server(node: Node) -> None:
    node.has_key()
    node.server.status = 503
    assert node.error() == f"{URL}/pushy/config/node-1: HTTP 503: out of order"


def read(answer: dict[str, Any], limit: int | None = None) -> Session:
    return read_session(msgspec.json.encode(answer), key=KEY, curve=CURVE, max_body_size=limit)


def test_session() -> None:
    session = read(config(extensions=["reasons", "results"], unknown_key=1))
    assert session.extensions == frozenset({"reasons", "results"})
    assert session.server_key == OTHER_KEY.public_key()
    assert (session.lifetime, session.max_skew, session.max_body_size) == (3600, 300, 65536)
    assert (session.heartbeat.interval, session.incarnation_id) == (1.0, "first")
    assert "sss" not in repr(session)


@pytest.mark.parametrize(("limit", "expected"), [(None, 65536), (5000, 5000), (10**6, 65536)])
def test_the_smaller_body_limit_counts(limit: int | None, expected: int) -> None:
    assert read(config(), limit).max_body_size == expected


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (config(lifetime=0), "lifetime"),
        (config(max_body_size=0), "max_body_size"),
        (config(public_key="no key"), "public_key"),
        (config(curve_public_key="short"), "curve_public_key"),
        (config(type="other"), "type"),
        (config(push_jobs={"heartbeat": {}}), "out_addr"),
        (config(OTHER_KEY), "encoded_session_key: expected 32 bytes, encrypted for our key"),
        (config(encoded_session_key={"method": "hmac_sha256", "key": "?"}), "encoded_session_key"),
        (config(encoded_session_key={"method": "hmac_sha256", "key": "ü"}), "encoded_session_key"),
    ],
)
def test_answers_that_are_not_usable(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(answer)


@pytest.mark.parametrize(
    ("key", "value"), [("interval", 0), ("interval", 1e9), ("offline_threshold", 0), ("online_threshold", 0)]
)
def test_heartbeats_that_are_not_possible(key: str, value: float) -> None:
    answer = config()
    answer["push_jobs"]["heartbeat"][key] = value
    with pytest.raises(ValueError, match=key):
        read(answer)


@given(st.binary())
def test_any_bytes_are_a_session_or_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_session(body, key=KEY, curve=CURVE, max_body_size=None)


def test_an_answer_that_is_no_json_is_an_error_with_its_address(node: Node) -> None:
    node.has_key()
    node.server.status = 200
    assert node.error().startswith(f"{URL}/pushy/config/node-1: the server's configuration is not usable: ")


def test_facts_are_told_to_a_server_that_takes_them_when_they_have_changed(node: Node) -> None:
    node.has_key()
    node.is_known()
    node.server.fields = {"extensions": ["facts"]}
    bootstrap = node.bootstrap()
    node.fetch(bootstrap)
    node.fetch(bootstrap)
    assert node.server.facts == [{"name": "node-1", "platform": "debian"}]
    node.facts = {"name": "node-1", "platform": "ubuntu"}
    node.fetch(bootstrap)
    assert [facts["platform"] for facts in node.server.facts] == ["debian", "ubuntu"]


def test_a_server_of_2x_is_told_nothing(node: Node) -> None:
    node.has_key()
    node.is_known()
    node.fetch()
    assert node.server.facts == []


def test_facts_that_are_refused_keep_nobody_from_working_and_are_told_again(node: Node) -> None:
    node.has_key()
    node.is_known()
    node.server.fields = {"extensions": ["facts"]}
    node.server.facts_status = 503
    bootstrap = node.bootstrap()
    assert node.fetch(bootstrap).node == "node-1"
    node.fetch(bootstrap)
    assert len(node.server.facts) == 2
