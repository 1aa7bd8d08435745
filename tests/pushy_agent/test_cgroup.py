"""Control groups of jobs: where ours is found, on a tree of files; and, where this system has them, real ones."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushy_agent import tree
from pushy_agent.cgroup import Group, Groups, own_group

V2 = "30 23 0:26 / {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 23 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"
ROOT = "22 1 254:1 / / rw,relatime - ext4 /dev/root rw"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    path = tmp_path / "proc"
    path.mkdir()
    return path


def describe(proc: Path, groups: str, *mounts: str) -> Path:
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))
    return proc


@pytest.mark.parametrize(
    ("groups", "mount", "expected"),
    [
        ("0::/system.slice/pushy-agent.service\n", V2, "{point}/system.slice/pushy-agent.service"),
        ("9:pids:/x\n0::/\n", V2, "{point}"),
        ("0::/docker/1/agent\n", V2.replace(" / {", " /docker/1 {"), "{point}/agent"),
        ("0::/elsewhere\n", V2.replace(" / {", " /docker/1 {"), None),
        ("9:pids:/x\n", V2, None),
        ("0::/x\n", V1, None),
        ("0::/x\n", V2.replace("{point}", r"/a\040b"), "/a b/x"),
    ],
)
def test_where_ours_is(proc: Path, groups: str, mount: str, expected: str | None) -> None:
    point = "/sys/fs/cgroup"
    describe(proc, groups, ROOT, V1, mount.format(point=point))
    found = own_group(proc)
    assert found == (None if expected is None else Path(expected.format(point=point)))


def test_a_system_without_any(proc: Path) -> None:
    assert own_group(proc) is None
    assert Groups.find("n1", proc=proc) is None


def test_one_that_is_not_ours_to_divide(proc: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "cgroup.procs").touch()
    describe(proc, "0::/\n", V2.format(point=own))
    systemd = tmp_path / "systemd"
    # Without systemd it is tried, and is no real one.
    assert Groups.find("n1", proc=proc, systemd=systemd) is None
    systemd.mkdir()
    assert Groups.find("n1", proc=proc, systemd=systemd) is None
    assert (own / "cgroup.procs").read_text() == str(os.getpid())


def test_names(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "n1")
    for job_id in ("0" * 32, "../../etc", "a/b", "x" * 64, "\0"):
        assert groups.of(job_id) is None
        assert groups.make(job_id) is not None
        assert groups.of(job_id) is not None
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 1  # what has nothing in it was removed with the next one
    assert names[0].startswith("pushy-")


def test_agents_that_share_a_group_keep_their_jobs_apart(tmp_path: Path) -> None:
    one, other = Groups(tmp_path, "n1"), Groups(tmp_path, "n2")
    assert one.make("0" * 32) is not None
    assert other.of("0" * 32) is None
    assert other.make("0" * 32) is not None
    other.tidy()
    assert (one.of("0" * 32) is None, other.of("0" * 32) is None) == (False, True)


def test_one_that_was_removed_meanwhile_is_empty(tmp_path: Path) -> None:
    group = Group(tmp_path / "gone")
    assert group.pids() == []
    group.kill()
    assert group.remove()


def test_members_are_those_of_inner_groups_too(tmp_path: Path) -> None:
    path = tmp_path / "pushy-job-1"
    (path / "inner").mkdir(parents=True)
    (path / "cgroup.procs").write_text("1\n22\n")
    (path / "inner" / "cgroup.procs").write_text("333\n")
    group = Group(path)
    assert group.pids() == [1, 22, 333]
    assert not group.remove()


def test_we_never_kill_ourselves(tmp_path: Path) -> None:
    path = tmp_path / "pushy-job-1"
    path.mkdir()
    (path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    (path / "cgroup.kill").write_text("0")
    Group(path).kill()
    assert (path / "cgroup.kill").read_text() == "0"
    (path / "cgroup.procs").write_text("")
    Group(path).kill()
    assert (path / "cgroup.kill").read_text() == "1"


@pytest.fixture
def child() -> Iterator[list["subprocess.Popen[bytes]"]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for each in children:
        each.kill()
        each.wait()


def test_a_real_one_holds_what_is_started_in_it(child: list["subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    """Where the system lets us; where it does not, that is what is found out, by the way that the agent takes."""
    groups = Groups.find("n1")
    own = own_group(Path("/proc/self"))
    if groups is None:
        assert own is None or not os.access(own, os.W_OK) or not (own / "cgroup.kill").exists()
        return
    group = groups.make("ab12")
    assert group is not None
    pid_file = tmp_path / "pid"
    script = f"setsid env -i sh -c 'echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600' & wait"
    with group.entered():
        child.append(subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True))
    assert own_group(Path("/proc/self")) == own
    while not pid_file.exists():
        assert child[0].poll() is None
        time.sleep(0.01)
    daemon = int(pid_file.read_text())
    assert {child[0].pid, daemon} == set(group.pids())
    assert not group.remove()
    again = groups.of("ab12")
    assert again is not None
    again.kill()
    child[0].wait()
    while group.pids():
        time.sleep(0.01)
    entry = tree.look_at(daemon)
    assert entry is None or not entry.is_alive
    groups.tidy()
    assert groups.of("ab12") is None
