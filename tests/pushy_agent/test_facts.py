"""What a node tells of itself."""

import os
import socket

import msgspec

from pushy_agent.facts import Labels, collect


def test_the_machine_is_described_by_ohais_names() -> None:
    facts = collect("web1", Labels(tags=("blue",), roles=("web",), environment="production"))
    assert facts["name"] == "web1"
    assert facts["hostname"] == socket.gethostname().partition(".")[0]
    assert facts["kernel"]["release"] == os.uname().release
    assert facts["cpu"]["total"] == os.cpu_count()
    assert facts["memory"]["total"].endswith("kB")
    assert (facts["tags"], facts["roles"], facts["environment"]) == (["blue"], ["web"], "production")
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts


def test_without_labels_there_is_no_environment() -> None:
    assert "environment" not in collect("web1", Labels())


def test_the_loopback_is_no_address() -> None:
    assert not [address for address in collect("web1", Labels()).get("ipaddresses", []) if address.startswith("127.")]
