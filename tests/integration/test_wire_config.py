"""Section 4 of protocol.md, and what of sections 1 and 3 leads there: how a 2.x node comes by its configuration."""

import re
import uuid
from typing import Any

import attrs
import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from zmq.utils import z85

from tests.integration.push_channel_2x import Config, is_admitted
from tests.integration.signed_http_2x import Principal, signed_headers, string_to_sign
from tests.integration.wire_2x import AVAILABLE, Wire
from tests.pushy_protocol import vectors

SETTINGS = {"heartbeat_interval": 500, "config_lifetime": 1234, "max_time_skew": 200, "max_body_size": 32768}
VERSIONS = ("1.0", "1.1", "1.3")
VECTORS = [vector for vector in vectors.load("http_signing")["vectors"] if vector["server_api_version"] == "0"]
CURVE_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # of ZeroMQ's RFC 32


def query(key: str = CURVE_KEY) -> str:
    return "?version=2.0&ccpk=" + "".join(f"%{byte:02X}" for byte in key.encode())


def status(wire: Wire) -> dict[str, object]:
    answer = wire.api.request(None, "GET", "/pushy/_status")
    assert answer.status == 200, answer
    shown: dict[str, object] = answer.json()
    return shown


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{vector['version']} {vector['path']}" for vector in VECTORS])
def test_the_peer_signs_as_the_original_library_does(vector: dict[str, Any]) -> None:
    principal = Principal(name=vector["user"], key=vectors.vector_key(), version=vector["version"])
    request = (principal, vector["method"], vector["path"], vector["body"].encode(), vector["timestamp"])
    assert string_to_sign(*request) == vector["string_to_sign"]
    made = {name.lower(): value for name, value in signed_headers(*request).items()}
    assert made == {name.lower(): value for name, value in vector["headers"].items()}


@pytest.mark.parametrize("verb", ["config", "connect"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_gets_exactly_the_keys_of_2x(wire: Wire, version: str, verb: str) -> None:
    node = wire.node()
    node.identity = attrs.evolve(node.identity, version=version)
    answer = node.ask_for_config(verb=verb)
    assert answer.status == 200, answer
    raw = answer.json()
    config = Config.read(raw, node.identity)
    assert len(config.session_key) == 32
    assert config.server_key.key_size == 2048
    assert raw["public_key"].startswith("-----BEGIN PUBLIC KEY-----\n")
    assert len(z85.decode(raw["curve_public_key"])) == 32
    assert raw["encoded_session_key"].keys() == {"method", "key"}
    assert raw["encoded_session_key"]["method"] == "hmac_sha256"
    for name in ("public_key", "curve_public_key", "encoded_session_key"):
        del raw[name]
    assert isinstance(raw["push_jobs"]["heartbeat"]["interval"], float)
    settings = wire.fleet.settings
    assert raw == {
        "type": "config",
        "host": "localhost",
        "node": node.name,
        "organization": "default",
        "push_jobs": {
            "heartbeat": {
                "out_addr": f"tcp://localhost:{settings['server_heartbeat_port']}",
                "command_addr": f"tcp://localhost:{settings['command_port']}",
                "interval": 0.5,
                "offline_threshold": 3,
                "online_threshold": 2,
            }
        },
        "lifetime": 1234,
        "max_message_skew": 200,
        "max_body_size": 32768,
        "incarnation_id": status(wire)["incarnation_id"],
    }
    assert uuid.UUID(raw["incarnation_id"])


def test_a_slash_at_the_end_or_two_within_change_nothing(wire: Wire) -> None:
    node = wire.node()
    for verb, name in (("config", f"{node.name}/"), ("/config", f"/{node.name}")):
        assert node.ask_for_config(verb=verb, node=name).status == 200


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("?version=2.0", (400, "Missing ccpk")),
        (query(""), (400, "Missing ccpk")),
        (query(CURVE_KEY[:-1]), (401, "Bad ccpk")),
        (query(CURVE_KEY + "0"), (401, "Bad ccpk")),
        (query(CURVE_KEY[:-1] + " "), (401, "Bad ccpk")),
        (query(CURVE_KEY[:-1] + "ß"), (401, "Bad ccpk")),
        (query("#" * 40), (401, "Bad ccpk")),
    ],
    ids=["absent", "empty", "short", "long", "blank", "not ASCII", "beyond 32 bits"],
)
def test_a_curve_key_that_is_none_is_refused(wire: Wire, asked: str, expected: tuple[int, str]) -> None:
    answer = wire.node().ask_for_config(query=asked)
    assert (answer.status, answer.json()) == (expected[0], {"error": [expected[1]]})


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "HEAD"])
def test_a_configuration_of_no_node_is_not_found(wire: Wire, verb: str) -> None:
    assert wire.knife.ask(verb, "/pushy/config/").status == 404
    assert wire.knife.ask(verb, "/pushy/config").status == 404


def test_a_client_gets_the_configuration_of_its_own_name_only(wire: Wire) -> None:
    victim, attacker = wire.node(), wire.node()
    answer = attacker.ask_for_config(node=victim.name)
    assert (answer.status, answer.json()) == (403, {"error": ["Client and node name must match"]})
    assert not is_admitted(wire.context, attacker.configure(), zmq.curve_keypair())
    victim.configure()
    # What was refused has admitted nothing either: the attacker's key stands for the attacker.
    attacker.configure()
    attacker.connect()
    attacker.beat()
    attacker.heartbeat()
    wire.recover(attacker)
    assert wire.knife.node_state(victim.name) == ("offline", "unavailable")


def test_the_key_of_a_refused_request_is_not_admitted(wire: Wire) -> None:
    node = wire.node()
    config = node.configure()
    stranger = attrs.evolve(node.identity, key=generate_private_key(public_exponent=65537, key_size=2048))
    public, secret = zmq.curve_keypair()
    path = f"/organizations/default/pushy/config/{node.name}{query(public.decode())}"
    assert wire.api.request(stranger, "GET", path).status == 401
    assert not is_admitted(wire.context, config, (public, secret))
    assert wire.api.request(node.identity, "GET", path).status == 200
    assert is_admitted(wire.context, config, (public, secret))


def test_a_user_who_may_read_gets_the_session_key_of_the_node(wire: Wire) -> None:
    """Encrypted for the user, who asked."""
    node = wire.node()
    answer = wire.knife.ask("GET", f"/pushy/config/{node.name}{query()}")
    assert answer.status == 200, answer
    assert answer.json()["node"] == node.name
    assert Config.read(answer.json(), wire.knife.principal).session_key == node.configure().session_key


def test_a_session_key_belongs_to_the_node(wire: Wire) -> None:
    first, second = wire.node(), wire.node()
    assert first.configure().session_key == first.configure().session_key
    assert first.config.session_key != second.config.session_key


def test_the_heartbeat_of_the_server_is_signed_and_grows(wire: Wire) -> None:
    node = wire.node()
    for _ in range(3):
        heartbeat = node.server_heartbeat()
        assert heartbeat["incarnation_id"] == node.config.raw["incarnation_id"]
        assert re.fullmatch(r"[A-Za-z0-9.-]+", heartbeat["server"])


def test_the_status_counts_who_beats(wire: Wire) -> None:
    shown = status(wire)
    assert shown.keys() == {"status", "incarnation_id", "node_fsm_count", "job_processes"}
    assert shown["status"] == "it's alive"
    node, other = wire.joined(), wire.joined()
    job = wire.start_job([node, other])
    node.expect("commit")
    now = status(wire)
    assert now["job_processes"] == [job.id]
    assert isinstance(now["node_fsm_count"], int)
    assert now["node_fsm_count"] >= 2
    for each in (node, other):
        each.say("nack_commit", job.id)
    job.feed.until("job_complete")
    assert status(wire)["job_processes"] == []


def test_a_node_may_not_start_jobs_nor_see_more_than_a_reader(wire: Wire) -> None:
    node = wire.joined()
    path = "/organizations/default/pushy/jobs"
    answer = wire.api.request(node.identity, "POST", path, b'{"command":"x","nodes":["n"]}')
    text = f"User or client '{node.name}' does not have access to that action on this server."
    assert (answer.status, answer.json()) == (403, {"error": [text]})
    assert wire.knife.node_state(node.name) == AVAILABLE
