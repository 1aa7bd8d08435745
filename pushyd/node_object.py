"""Chef's node objects: their shape, what of them a search sees, and what an agent's report makes of them. Pure.

A node's attributes are of four kinds, of which the later go first: default, normal, override, automatic. For a search
they are one tree, brought to fields as Chef does it: the value of ``kernel: {release: 6.1}`` is in the fields
``kernel_release`` and ``release``; the keys of an object are values too, of the field of that object, so that
``kernel:release`` holds; and each item of a list is a value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Annotated, Any, Literal

import msgspec

from pushy_protocol.api import MAX_BODY_BYTES, InvalidRequest, decode

MAX_DEPTH = 64
"""How deep attributes may be nested."""

_FIELD_LENGTH = 256  # of longer paths only the last key is a field: who could nest long keys could fill the memory
_VALUE_LENGTH = 4096  # of longer values the beginning is searched

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,255}\Z")]
Attributes = dict[str, Any]

_Rests = list[tuple[str, str]]


class NodeObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node object, as Chef's API has it."""

    name: Name
    chef_environment: Annotated[str, msgspec.Meta(max_length=255)] = "_default"
    run_list: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=1024)], ...] = ()
    policy_name: str | msgspec.UnsetType | None = msgspec.UNSET
    policy_group: str | msgspec.UnsetType | None = msgspec.UNSET
    automatic: Attributes = {}  # msgspec makes a new one each time
    normal: Attributes = {}
    default: Attributes = {}
    override: Attributes = {}
    json_class: Literal["Chef::Node"] = "Chef::Node"
    chef_type: Literal["node"] = "node"


def decode_node(body: bytes) -> NodeObject:
    """The node object in a body.

    :raise InvalidRequest: it is none
    """
    node = decode(body, NodeObject)
    for kind in ("automatic", "normal", "default", "override"):
        check_depth(kind, getattr(node, kind))
    return node


def check_depth(name: str, value: object) -> None:
    """:raise InvalidRequest: the value called `name` is nested deeper than :data:`MAX_DEPTH`"""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InvalidRequest(f"{name}: expected at most {MAX_DEPTH} levels")


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def merged(node: NodeObject) -> Attributes:
    """All that a node has as one tree: its attributes, the stronger kinds first, and what stands beside them."""
    tree: Attributes = {}
    for kind in (node.default, node.normal, node.override, node.automatic):
        tree = _merge(tree, kind)
    run_list = [item if "[" in item else f"recipe[{item}]" for item in node.run_list]
    roles = _named(run_list, "role")
    recipes = _named(run_list, "recipe")
    tree |= {
        "name": node.name,
        "chef_environment": node.chef_environment,
        "chef_type": node.chef_type,
        "run_list": run_list,
        "role": roles,
        "recipe": recipes,
        "roles": _joined(tree.get("roles"), roles),
        "recipes": _joined(tree.get("recipes"), recipes),
    }
    for key in ("policy_name", "policy_group"):
        if isinstance(value := getattr(node, key), str):
            tree[key] = value
    return tree


def _merge(weak: Attributes, strong: Attributes) -> Attributes:
    result = dict(weak)
    for key, value in strong.items():
        before = result.get(key)
        result[key] = _merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _named(run_list: list[str], kind: str) -> list[str]:
    start = f"{kind}["
    return [item[len(start) : -1] for item in run_list if item.startswith(start) and item.endswith("]")]


def _joined(reported: object, listed: list[str]) -> list[object]:
    """What a node reports that it has (in the end, with roles in roles), and what its run list names."""
    known = reported if isinstance(reported, list) else [] if reported is None else [reported]
    return [*known, *(name for name in listed if name not in known)]


def fields(tree: Attributes, wanted: Callable[[str], bool]) -> dict[str, list[str]]:
    """The fields of a tree (:func:`merged`) that are wanted, with their values."""
    found: dict[str, list[str]] = {}

    def add(path: str, key: str, value: str) -> None:
        for name in {path, key}:
            if len(name) <= _FIELD_LENGTH and wanted(name):
                found.setdefault(name, []).append(value[:_VALUE_LENGTH])

    def walk(path: str, key: str, value: object) -> None:
        if isinstance(value, dict):
            for name, child in value.items():
                add(path, key, name)
                # One character too long is as good as any number of them.
                walk(f"{path}_{name}"[: _FIELD_LENGTH + 1], name, child)
        elif isinstance(value, list):
            for item in value:
                walk(path, key, item)
        else:
            add(path, key, _text(value))

    for name, child in tree.items():
        walk(name, name, child)
    return found


def named_fields(tree: Attributes, names: Set[str]) -> dict[str, list[str]]:
    """The same as :func:`fields`, for fields whose names are known, and many times as fast: no path is written out."""
    names = {name for name in names if len(name) <= _FIELD_LENGTH}
    found: dict[str, list[str]] = {}

    def add(here: Iterable[str], value: str) -> None:
        for name in here:
            found.setdefault(name, []).append(value[:_VALUE_LENGTH])

    def walk(value: object, here: Set[str], rests: _Rests) -> None:
        """:param here: the names of this place; `rests` those that begin with its path, and how they go on"""
        if isinstance(value, dict):
            for key, child in value.items():
                below, on = _step(rests, key) if rests else (_NOWHERE, rests)
                if here:
                    add(here, key)
                if key in names:
                    below = below | {key}
                if below or isinstance(child, (dict, list)):  # the other form is slow
                    walk(child, below, on)
        elif isinstance(value, list):
            for item in value:
                walk(item, here, rests)
        elif here:
            add(here, _text(value))

    walk(tree, _NOWHERE, [(name, name) for name in names])
    return found


_NOWHERE: Set[str] = frozenset()


def _step(rests: _Rests, key: str) -> tuple[Set[str], _Rests]:
    """One key further: the names that end there, and those that go on."""
    start = f"{key}_"
    return (
        {name for name, rest in rests if rest == key},
        [(name, rest[len(start) :]) for name, rest in rests if rest.startswith(start)],
    )


def _text(value: object) -> str:
    """A plain value as JSON writes it, a text as it is."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def at_path(tree: object, path: tuple[str, ...]) -> object:
    """What is in a tree at a path of keys; None where nothing is."""
    for key in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def with_facts(kept: bytes | None, name: str, facts: Mapping[str, Any]) -> bytes | None:
    """The node object once its agent has reported `facts`; None where that changes nothing.

    They take the place of automatic attributes of the same names; others, such as those of a Chef client, stay. The
    fact `environment` is the node's environment.

    :raise InvalidRequest: that would make the object too large
    """
    before = NodeObject(name=name) if kept is None else msgspec.json.decode(kept, type=NodeObject)
    environment = facts.get("environment")
    after = msgspec.structs.replace(
        before,
        automatic={**before.automatic, **{key: value for key, value in facts.items() if key != "environment"}},
        chef_environment=environment if isinstance(environment, str) else before.chef_environment,
    )
    if kept is not None and after == before:
        return None
    data = msgspec.json.encode(after)
    if len(data) > MAX_BODY_BYTES:
        raise InvalidRequest(f"facts: expected a node object of at most {MAX_BODY_BYTES} bytes to come of them")
    return data
