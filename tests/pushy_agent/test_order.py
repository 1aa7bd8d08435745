"""What a commit must be to become an order."""

import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pushy_agent.order import Identity, Order, OrderDesk, Refused, is_dangerous, look_up_user, may_enter
from pushy_agent.whitelist import Whitelist
from pushy_protocol.messages import Commit

BOB = Identity(name="bob", uid=1234, gid=1235, groups=(1235, 77), home="/home/bob", shell="/bin/zsh")
ROOT = Identity(name="root", uid=0, gid=0, groups=(0,), home="/root", shell="/bin/sh")


def look_up(name: str) -> Identity:
    return {"bob": BOB, "root": ROOT}[name]


DESK = OrderDesk(
    whitelist=Whitelist.parse({"list": "ls -l"}),
    node_name="node-1",
    environment={"PATH": "/bin", "HOME": "/"},
    lock_dir=Path("/locks"),
    uid=0,
    look_up_user=look_up,
)


def check(desk: OrderDesk = DESK, **fields: Any) -> Order:
    return desk.check(Commit(timestamp="", sequence=1, **{"job_id": "j1", "command": "list", **fields}))


def refusal(desk: OrderDesk = DESK, **fields: Any) -> str:
    with pytest.raises(Refused) as refused:
        check(desk, **fields)
    return refused.value.reason


OURS = {"CHEF_PUSH_JOB_ID": "j1", "CHEF_PUSH_NODE_NAME": "node-1"}


def test_plain_order() -> None:
    assert check() == Order(job_id="j1", argv=("ls", "-l"), env={"PATH": "/bin", "HOME": "/", **OURS})


def test_user_is_the_whole_identity() -> None:
    order = check(user="bob", capture=True)
    assert order.identity == BOB
    assert order.capture
    assert order.env == {
        "PATH": "/bin", "HOME": "/home/bob", "LOGNAME": "bob", "USER": "bob", "SHELL": "/bin/zsh", **OURS,
    }  # fmt: skip


def test_environment_of_the_request() -> None:
    assert check(env={"COLOUR": "red", "HOME": "/tmp"}).env == {"PATH": "/bin", "HOME": "/tmp", "COLOUR": "red", **OURS}


def test_file_is_decoded() -> None:
    assert check(file="base64:AAE=").file == b"\0\1"
    assert check(file="raw:").file == b""


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("not_whitelisted", {"command": "ls -l"}),
        ("no_such_user", {"user": "eve"}),
        ("no_such_user", {"user": ""}),
        ("no_such_dir", {"dir": "/no/such"}),
        ("no_such_dir", {"dir": "etc"}),
        ("no_such_dir", {"dir": ""}),
        ("no_such_dir", {"dir": "/etc/passwd"}),
        ("no_such_dir", {"dir": "/etc\0"}),
        ("bad_file", {"file": "text"}),
        ("bad_file", {"file": "base64:?"}),
        ("bad_env", {"env": {"LD_PRELOAD": "x"}}),
        ("bad_env", {"env": {"PATH": "/tmp"}}),
        ("bad_env", {"env": {"A=B": "x"}}),
        ("bad_env", {"env": {"": "x"}}),
        ("bad_env", {"env": {"A": "x\0"}}),
        ("bad_env", {"env": {"CHEF_PUSH_JOB_ID": "j2"}}),
    ],
)
def test_refusals(reason: str, fields: dict[str, Any]) -> None:
    assert refusal(**fields) == reason


def test_where_names_are_listed_the_others_arrive_under_another() -> None:
    desk = evolve(DESK, allowed_env=frozenset({"PATH", "CHEF_PUSH_JOB_ID"}))
    env = check(desk, env={"PATH": "/tmp", "CHEF_PUSH_JOB_ID": "j2", "LD_PRELOAD": "x", "COLOUR": "red"}).env
    assert (env["PATH"], env["CHEF_PUSH_JOB_ID"]) == ("/tmp", "j1")
    assert (env["CHEF_PUSH_ENV_LD_PRELOAD"], env["CHEF_PUSH_ENV_COLOUR"]) == ("x", "red")
    assert not {"LD_PRELOAD", "COLOUR"} & env.keys()
    assert check(evolve(DESK, allowed_env=frozenset()), env={"A": "b"}).env["CHEF_PUSH_ENV_A"] == "b"
    assert refusal(desk, env={"": "x"}) == "bad_env"


def entry(**fields: Any) -> OrderDesk:
    return evolve(DESK, whitelist=Whitelist.parse({"list": {"command": "ls", **fields}}))


def test_what_the_entry_says_goes_first() -> None:
    desk = entry(user="bob", dir="/", env={"LD_PRELOAD": "ours", "HOME": "/srv"}, timeout=5, capture_limit=10)
    order = check(desk, env={"HOME": "/tmp"})
    assert (order.identity, order.cwd, order.timeout, order.capture_limit, order.lock) == (BOB, "/", 5, 10, None)
    assert (order.env["LD_PRELOAD"], order.env["HOME"], order.env["USER"]) == ("ours", "/srv", "bob")
    assert check(desk, user="bob", dir="/", env={"HOME": "/tmp"}) == order
    assert refusal(desk, user="root") == "user_not_allowed"
    assert refusal(desk, dir="/tmp") == "dir_not_allowed"
    assert refusal(entry(user="eve")) == "no_such_user"
    assert refusal(entry(dir="/no/such")) == "no_such_dir"


def test_locks() -> None:
    assert check(entry(lock="/run/x.lock")).lock == Path("/run/x.lock")
    ours = check(entry(lock=True)).lock
    assert ours is not None
    assert ours.parent == Path("/locks")
    assert check(entry(lock=True)).lock == ours


@pytest.mark.parametrize(
    ("fields", "user", "allowed"),
    [
        ({}, "bob", True),
        ({"allow_user": ["bob"]}, "bob", True),
        ({"allow_user": ["bob"]}, "root", False),
        ({"allow_user": []}, "bob", False),
        ({"user": "root", "allow_user": ["bob"]}, "bob", True),
        ({"user": "root", "allow_user": ["bob"]}, "root", True),
        ({"user": "root"}, "root", True),
        ({"user": "root"}, "bob", False),
    ],
)
def test_allowed_users(fields: dict[str, Any], user: str, allowed: bool) -> None:
    if allowed:
        identity = check(entry(**fields), user=user).identity
        assert identity is not None
        assert identity.name == user
    else:
        assert refusal(entry(**fields), user=user) == "user_not_allowed"


def test_only_root_becomes_another() -> None:
    assert refusal(evolve(DESK, uid=1000), user="bob") == "no_such_user"
    assert check(evolve(DESK, uid=1234), user="bob").identity == BOB


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "BASH_FUNC_ls%%", "ENV", "IFS",
     "PS4", "PERL5LIB", "RUBYOPT", "GCONV_PATH", "SHELLOPTS", "GIT_SSH_COMMAND"],
)  # fmt: skip
def test_dangerous_names(name: str) -> None:
    assert is_dangerous(name)


@pytest.mark.parametrize("name", ["COLOUR", "LDAP", "LANG", "http_proxy", "PATHOLOGY", "MY_PATH", "path"])
def test_harmless_names(name: str) -> None:
    assert not is_dangerous(name)


def test_may_enter_goes_by_every_directory_on_the_way(tmp_path: Path) -> None:
    # pytest's own directories are for their owner alone, so the way is opened from the first that is not.
    top = tmp_path / "top"
    inner = top / "inner"
    inner.mkdir(parents=True)
    for step in (*tmp_path.parents, tmp_path):
        if step.stat().st_uid == os.geteuid() and step.name.startswith("pytest"):
            step.chmod(0o711)
    tmp_path.chmod(0o711)
    another = evolve(BOB, uid=os.geteuid() + 1, gid=os.getegid() + 1, groups=())
    assert may_enter(str(inner), another, os.geteuid())
    top.chmod(0o700)
    assert not may_enter(str(inner), another, os.geteuid())
    assert may_enter(str(inner), None, os.geteuid())
    assert may_enter(str(inner), ROOT, 1)
    top.chmod(0o710)
    assert may_enter(str(inner), evolve(another, groups=(top.stat().st_gid,)), os.geteuid())
    assert not may_enter(str(inner), another, os.geteuid())
    top.chmod(0o701)
    assert not may_enter(str(inner), evolve(another, groups=(top.stat().st_gid,)), os.geteuid())
    assert may_enter(str(inner), another, os.geteuid())


def test_may_enter_survives_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert not may_enter(str(tmp_path / "a"), BOB, 0)
    assert not may_enter(str(tmp_path / "a"), None, 0)


def test_look_up_user() -> None:
    root = look_up_user("root")
    assert (root.uid, root.gid, root.home) == (0, 0, "/root")
    assert 0 in root.groups
    for name in ("no-such-user", "a\0b", "\ud800"):
        with pytest.raises(KeyError):
            look_up_user(name)
