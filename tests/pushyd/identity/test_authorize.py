"""Who may do what: every right, kind of caller and layout of groups; and groups that no administrator would make."""

from collections.abc import Mapping, Sequence
from itertools import product

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pushyd.identity.authorize import Right, is_member, is_validator, may
from pushyd.identity.interface import Caller, Group, Principal
from tests.pushyd.doubles import begin
from tests.pushyd.identity.keys import key_of

READERS, WRITERS, ADMINS = "pushy_job_readers", "pushy_job_writers", "admins"
KINDS = ("user", "client", "both")


def caller(name: str, kind: str, organization: str = "acme") -> Caller:
    return Caller(
        organization=organization,
        name=name,
        is_user=kind in ("user", "both"),
        is_client=kind in ("client", "both"),
        key=key_of("anybody").public_key(),
    )


def group(*, users: Sequence[str] = (), clients: Sequence[str] = (), groups: Sequence[str] = ()) -> Group:
    return Group(users=frozenset(users), clients=frozenset(clients), groups=frozenset(groups))


@frozen
class Groups:
    """An identity backend of which only the groups are asked for."""

    by_name: Mapping[str, Group] = field(factory=dict)

    async def group(self, organization: str, name: str) -> Group | None:
        assert organization == "acme"
        return self.by_name.get(name)

    async def principals(self, organization: str, name: str) -> Sequence[Principal]:
        raise AssertionError("nobody is looked up")

    async def organization_exists(self, name: str) -> bool:
        raise AssertionError("nothing is looked up")

    async def create_client(self, organization: str, name: str, public_key: str) -> None:
        raise AssertionError("nothing is made")

    async def founding_organization(self) -> str:
        return "acme"


ME_AS_USER, ME_AS_CLIENT = group(users=["me"]), group(clients=["me"])
NESTED = {"outer": group(groups=["inner"]), "inner": ME_AS_USER}

LAYOUTS: dict[str, tuple[dict[str, Group], dict[Right, set[str]]]] = {
    # what there is, and for each right the kinds of caller that have it
    "no groups": ({}, {Right.READ: {*KINDS}}),
    "an admin": (
        {ADMINS: ME_AS_USER},
        {Right.READ: {*KINDS}, Right.WRITE: {"user", "both"}, Right.CREATE_CLIENT: {"user", "both"}},
    ),
    "a client among the admins": (
        {ADMINS: ME_AS_CLIENT},
        {Right.READ: {*KINDS}, Right.WRITE: {"client", "both"}, Right.CREATE_CLIENT: {"client", "both"}},
    ),
    "a writer": (
        {ADMINS: group(users=["boss"]), WRITERS: ME_AS_USER},
        {Right.READ: {*KINDS}, Right.WRITE: {"user", "both"}},
    ),
    "an admin where others write": (
        {ADMINS: ME_AS_USER, WRITERS: group(users=["other"])},
        {Right.READ: {*KINDS}, Right.CREATE_CLIENT: {"user", "both"}},
    ),
    "an admin where nobody reads or writes": (
        {ADMINS: ME_AS_USER, WRITERS: group(), READERS: group()},
        {Right.CREATE_CLIENT: {"user", "both"}},
    ),
    "a reader": ({READERS: ME_AS_CLIENT}, {Right.READ: {"client", "both"}}),
    "a reader as user": ({READERS: ME_AS_USER}, {Right.READ: {"user", "both"}}),
    "an admin is no reader where there are readers": (
        {ADMINS: ME_AS_USER, READERS: group(users=["other"])},
        {Right.WRITE: {"user", "both"}, Right.CREATE_CLIENT: {"user", "both"}},
    ),
    "within a group": (
        {**NESTED, READERS: group(groups=["outer"]), WRITERS: group(groups=["outer"])},
        {
            Right.READ: {"user", "both"},
            Right.WRITE: {"user", "both"},
        },
    ),
    "within a cycle": (
        {
            ADMINS: group(groups=["a"]),
            "a": group(groups=["b", ADMINS]),
            "b": group(groups=["a", "b"], clients=["me"]),
        },
        {Right.READ: {*KINDS}, Right.WRITE: {"client", "both"}, Right.CREATE_CLIENT: {"client", "both"}},
    ),
    "a group that is not there": ({ADMINS: group(groups=["gone"])}, {Right.READ: {*KINDS}}),
    "a group with my name": ({ADMINS: group(groups=["me"]), "me": group()}, {Right.READ: {*KINDS}}),
}


class MayTests(SynchronousTestCase):
    def test_every_right_kind_and_layout(self) -> None:
        rights = (Right.READ, Right.WRITE, Right.CREATE_CLIENT)
        for (name, (groups, allowed)), right, kind in product(LAYOUTS.items(), rights, KINDS):
            with self.subTest(layout=name, right=right, kind=kind):
                said = self.successResultOf(begin(may(Groups(groups), caller("me", kind), right)))
                self.assertEqual(said, kind in allowed.get(right, set()))

    def test_the_validator_makes_clients_and_no_more(self) -> None:
        for right, kind in product((Right.READ, Right.WRITE, Right.CREATE_CLIENT), KINDS):
            said = self.successResultOf(begin(may(Groups({READERS: group()}), caller("acme-validator", kind), right)))
            self.assertEqual(said, right is Right.CREATE_CLIENT and kind != "user", (right, kind))


@pytest.mark.parametrize(
    ("name", "organization"),
    [("acme-validator", "other"), ("acme", "acme"), ("-validator", "acme"), ("ACME-validator", "acme")],
)
def test_who_is_no_validator(name: str, organization: str) -> None:
    assert not is_validator(caller(name, "client", organization))


NAMES = st.sampled_from("abcdefgh")
GRAPHS = st.dictionaries(
    NAMES,
    st.builds(
        Group,
        users=st.frozensets(st.sampled_from(("me", "you")), max_size=1),
        clients=st.frozensets(st.sampled_from(("me", "you")), max_size=1),
        groups=st.frozensets(NAMES, max_size=3),
    ),
)


def membership(kind: str, start: str, groups: Mapping[str, Group]) -> bool:
    found: list[bool] = []
    _ = begin(is_member(Groups(groups), caller("me", kind), start)).addCallback(found.append)
    (is_in,) = found
    return is_in


@given(GRAPHS, st.sampled_from(KINDS), NAMES)
def test_membership_is_the_closure_of_the_groups(groups: dict[str, Group], kind: str, start: str) -> None:
    reached = {start}
    while True:  # ever wider, until nothing is added
        wider = reached | {inner for name in reached & groups.keys() for inner in groups[name].groups}
        if wider == reached:
            break
        reached = wider
    found = [groups[name] for name in reached & groups.keys()]
    expected = (kind != "client" and any("me" in it.users for it in found)) or (
        kind != "user" and any("me" in it.clients for it in found)
    )
    assert membership(kind, start, groups) == expected


def test_depth_costs_no_stack() -> None:
    chain = {f"g{number}": group(groups=[f"g{number + 1}"]) for number in range(10_000)}
    assert not membership("user", "g0", chain)
    assert membership("user", "g0", {**chain, "g10000": ME_AS_USER})
