"""Node objects: their shape, their fields, and what an agent's report makes of them."""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.api import MAX_BODY_BYTES, InvalidRequest
from pushyd.node_object import MAX_DEPTH, NodeObject, at_path, decode_node, fields, merged, named_fields, with_facts

WHOLE = {
    "name": "web1",
    "chef_environment": "production",
    "run_list": ["role[web]", "recipe[ntp::client]", "sudo"],
    "policy_name": None,
    "automatic": {"platform": "centos", "kernel": {"release": "6.1", "modules": {"ext4": {"size": 1}}}},
    "normal": {"tags": ["a", "b"]},
    "default": {"port": 80, "tls": False, "kernel": {"release": "0", "tuned": True}},
    "override": {"port": 8080},
    "json_class": "Chef::Node",
    "chef_type": "node",
}


def decoded(value: object) -> NodeObject:
    return decode_node(msgspec.json.encode(value))


def found(**attributes: Any) -> dict[str, list[str]]:
    return fields(attributes, lambda name: True)


def test_a_node_object_is_kept_as_it_came() -> None:
    assert msgspec.json.decode(msgspec.json.encode(decoded(WHOLE))) == WHOLE


def test_what_is_not_given() -> None:
    assert msgspec.json.decode(msgspec.json.encode(decoded({"name": "web1"}))) == {
        "name": "web1",
        "chef_environment": "_default",
        "run_list": [],
        "automatic": {},
        "normal": {},
        "default": {},
        "override": {},
        "json_class": "Chef::Node",
        "chef_type": "node",
    }


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(depth - 1):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "name: expected it to be given"),
        (b"[]", "expected an object"),
        (b"{", "invalid JSON"),
        (b'{"name": "a b"}', "name: expected"),
        (b'{"name": "a", "nonsense": 1}', "invalid key supplied"),
        (b'{"name": "a", "normal": []}', "normal: expected an object"),
        (b'{"name": "a", "run_list": "x"}', "run_list: expected a list"),
        (b'{"name": "a", "run_list": [""]}', r"run_list\[0\]: expected"),
        (b'{"name": "a", "chef_type": "role"}', "chef_type: "),
        (b'{"name": "a", "normal": {"x": 1e999}}', "out of range|invalid"),
        (msgspec.json.encode({"name": "a", "normal": nested(MAX_DEPTH + 1)}), f"normal: expected at most {MAX_DEPTH}"),
        (b'{"name": "a", "normal": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "invalid JSON|at most"),
    ],
)
def test_what_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        decode_node(body)


def test_as_deep_as_may_be() -> None:
    node = decoded({"name": "a", "normal": nested(MAX_DEPTH), "default": nested(MAX_DEPTH)})
    assert fields(merged(node), lambda name: name == "name") == {"name": ["a"]}


def test_the_stronger_attributes_go_first_to_any_depth() -> None:
    tree = merged(decoded(WHOLE))
    assert (tree["port"], tree["kernel"]["release"], tree["kernel"]["tuned"]) == (8080, "6.1", True)
    assert merged(decoded({"name": "a", "default": {"x": {"y": 1}}, "normal": {"x": 2}}))["x"] == 2


def test_what_stands_beside_the_attributes() -> None:
    tree = merged(decoded(WHOLE | {"policy_name": "base", "automatic": {"roles": ["base"], "name": "impostor"}}))
    assert {key: tree[key] for key in ("name", "chef_environment", "policy_name", "run_list")} == {
        "name": "web1",
        "chef_environment": "production",
        "policy_name": "base",
        "run_list": ["role[web]", "recipe[ntp::client]", "recipe[sudo]"],
    }
    assert (tree["role"], tree["roles"]) == (["web"], ["base", "web"])
    assert tree["recipe"] == tree["recipes"] == ["ntp::client", "sudo"]


def test_fields_are_paths_last_keys_and_keys_as_values() -> None:
    assert found(kernel={"release": "6.1", "modules": {"ext4": {"size": 1}}}) == {
        "kernel": ["release", "modules"],
        "kernel_release": ["6.1"],
        "release": ["6.1"],
        "kernel_modules": ["ext4"],
        "modules": ["ext4"],
        "kernel_modules_ext4": ["size"],
        "ext4": ["size"],
        "kernel_modules_ext4_size": ["1"],
        "size": ["1"],
    }
    assert found(a=[1, [2.5, {"b": None}], True, "text"]) == {
        "a": ["1", "2.5", "b", "true", "text"],
        "a_b": ["null"],
        "b": ["null"],
    }


def test_only_what_is_wanted_is_gathered() -> None:
    assert fields({"a": {"b": 1, "c": 2}}, {"a_b"}.__contains__) == {"a_b": ["1"]}


KEYS = st.sampled_from(["a", "b", "a_b", "b_a", "_", ""])
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        st.sampled_from(["a", "text", 1, None, True]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)


@given(TREES, st.sets(st.lists(KEYS, min_size=1, max_size=4).map("_".join), max_size=4))
def test_both_ways_find_the_same(tree: dict[str, Any], names: set[str]) -> None:
    assert named_fields(tree, names) == fields(tree, names.__contains__)


def test_long_keys_and_values_fill_no_memory() -> None:
    tree: dict[str, Any] = {f"leaf{number}": 1 for number in range(20_000)}
    for _ in range(30):
        tree = {"k" * 10_000: tree}
    began = time.process_time()
    gathered = found(root=tree, text="x" * 10_000)
    assert time.process_time() - began < 5
    assert all(len(name) <= 256 for name in gathered)
    assert gathered["leaf7"] == ["1"]
    assert gathered["text"] == ["x" * 4096]
    long = "k" * 10_000
    assert named_fields({"root": tree, long: 1}, {"leaf7", "text", long}) == {"leaf7": ["1"]}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=3,
    )
)
def test_whatever_is_reported_is_kept_and_found(facts: dict[str, Any]) -> None:
    facts.pop("environment", None)
    data = with_facts(None, "web1", facts)
    assert data is not None
    node = msgspec.json.decode(data, type=NodeObject)
    assert node.automatic == facts
    assert "web1" in fields(merged(node), lambda name: True)["name"]
    assert with_facts(data, "web1", facts) is None, "the same again changes nothing"


def test_a_report_leaves_what_it_does_not_name() -> None:
    kept = msgspec.json.encode(decoded(WHOLE))
    data = with_facts(kept, "web1", {"platform": "debian", "environment": "staging"})
    assert data is not None
    node = msgspec.json.decode(data)
    assert node == WHOLE | {
        "automatic": {"platform": "debian", "kernel": {"release": "6.1", "modules": {"ext4": {"size": 1}}}},
        "chef_environment": "staging",
    }


def test_reports_do_not_add_up_without_end() -> None:
    kept = with_facts(None, "web1", {"a": "x" * (MAX_BODY_BYTES - 1000)})
    with pytest.raises(InvalidRequest, match="facts: expected a node object of at most"):
        with_facts(kept, "web1", {"b": "x" * 1000})


def test_a_path_into_a_tree() -> None:
    tree = {"a": {"b": [1], "c": None}}
    assert at_path(tree, ("a", "b")) == [1]
    assert at_path(tree, ()) == tree
    for path in (("x",), ("a", "b", "0"), ("a", "c", "d")):
        assert at_path(tree, path) is None
