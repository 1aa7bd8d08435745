"""The CLI against a real pushyd with real agents: what the double cannot show is that it is like the server."""

import json
import re
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.pushy_cli.program import COMMAND
from tests.pushy_cli.test_terminal import Terminal

NODES = ("web1", "web2", "db1")
FAILS = "sh -c 'test -e {}/mended'"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    whitelist = {
        "greet": "echo hello",
        "sleep": "sleep 60",
        # Goes on when it may: so that what is seen before that was seen as it came.
        "talk": f"sh -c 'echo begin; echo oops >&2; until test -e {fleet.directory}/go; do sleep .1; done; printf end'",
        "burst": "seq 1 100000",
        "die": "sh -c 'kill -9 $$'",
    }
    try:
        fleet.start_server()
        for node in NODES:
            flaky = FAILS.format(fleet.directory) if node == "db1" else "true"
            fleet.start_agent(node, {**whitelist, "flaky": flaky})
        wait_until(lambda: fleet.available(NODES) or None, "all agents available", seconds=30)
        yield fleet
    finally:
        fleet.close()


def ok(fleet: Fleet, *arguments: str) -> str:
    result = fleet.cli(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_ranges_globs_and_the_feed(fleet: Fleet) -> None:
    out = ok(fleet, "job", "start", "--capture", "greet", "web[1-2]", "d*", "-x", "web2")
    assert "---------------\ndb1,web1 (2)\n---------------\nhello\n" in out
    assert ok(fleet, "job", "list", "--node", "db1", "--status", "complete", "--limit", "1", "-F", "names").strip()
    assert ok(fleet, "job", "list", "--command", "nonesuch", "-F", "json") == "[]\n"


def test_rerun_of_what_failed(fleet: Fleet) -> None:
    assert fleet.cli("job", "start", "flaky", *NODES).returncode == 1
    (fleet.directory / "mended").touch()
    assert "1 of 1 node succeeded" in ok(fleet, "job", "rerun", "--failed", "last")


def test_abort_from_the_terminal(fleet: Fleet) -> None:
    terminal = Terminal(str(fleet.directory), "job", "start", "sleep", "web1", environment=fleet.cli_environment())
    terminal.until("1 running")
    terminal.press("\x03")
    terminal.until("Ctrl-C again leaves:")
    terminal.press("a\n")
    assert terminal.end() == 5
    assert "was aborted: 0 of 1 node succeeded" in terminal.lines[-2]
    result = fleet.cli("job", "abort", "last")
    assert (result.returncode, result.stdout) == (1, "")
    wait_until(lambda: fleet.available(NODES) or None, "the node available again", seconds=30)


@pytest.fixture
def go(fleet: Fleet) -> Iterator[Path]:
    """The file for which the command `talk` waits."""
    file = fleet.directory / "go"
    file.unlink(missing_ok=True)
    yield file
    file.touch()


def test_output_as_it_comes_on_a_terminal(fleet: Fleet, go: Path) -> None:
    environment = {**fleet.cli_environment(), "NO_COLOR": "1"}
    words = ("job", "start", "--live", "talk", "web1", "db1")
    terminal = Terminal(str(fleet.directory), *words, environment=environment)
    for line in ("web1 | begin", "db1  | begin", "web1 ! oops", "db1  ! oops"):
        terminal.until(line)
    assert terminal.until("2 running")[-1].startswith("running  0:0")  # the live line stays below
    assert "end" not in " ".join(terminal.lines)
    watching = Terminal(str(fleet.directory), "job", "watch", "--live", "last", environment=environment)
    watching.until("db1  ! oops")
    go.touch()
    for one in (terminal, watching):
        assert one.end() == 0
        assert {"web1 | end", "db1  | end"} <= set(one.lines[-4:-2])
        assert "is complete: 2 of 2 nodes succeeded" in one.lines[-2]


def test_output_as_it_comes_in_a_pipe(fleet: Fleet, go: Path) -> None:
    ok(fleet, "job", "start", "--nowait", "--live", "talk", "web1")
    call = [*COMMAND, "job", "output", "last", "web1", "--follow"]
    with subprocess.Popen(call, env=fleet.cli_environment(), stdout=PIPE, stderr=DEVNULL) as following:
        assert following.stdout is not None
        assert select.select([following.stdout], [], [], 20)[0]
        assert following.stdout.readline() == b"begin\n"
        go.touch()
        assert following.communicate(timeout=20)[0] == b"end"
    assert following.returncode == 0
    assert ok(fleet, "job", "output", "last", "--tail", "1").count("end") == 1
    assert "web1 | end\n" in ok(fleet, "job", "start", "--live", "talk", "web1")


def test_a_server_that_is_killed_while_output_comes(fleet: Fleet, go: Path) -> None:
    environment = {**fleet.cli_environment(), "NO_COLOR": "1"}
    terminal = Terminal(str(fleet.directory), "job", "start", "--live", "talk", *NODES[:2], environment=environment)
    for node in NODES[:2]:
        terminal.until(f"{node} | begin")
    assert fleet.server is not None
    fleet.server.kill()
    terminal.until("The job goes on without us")
    fleet.start_server()
    terminal.until("The server answers again.")
    go.touch()
    assert terminal.end() == 0
    shown = terminal.lines
    for line in ("web1 | begin", "web1 ! oops", "web1 | end", "web2 | begin", "web2 ! oops", "web2 | end"):
        assert shown.count(line) == 1, shown  # none is lost, and none comes twice
    wait_until(lambda: fleet.available(NODES) or None, "the nodes available again", seconds=30)


def test_more_than_a_terminal_can_show(fleet: Fleet) -> None:
    terminal = Terminal(
        str(fleet.directory), "job", "start", "--live", "burst", *NODES, environment=fleet.cli_environment()
    )
    assert terminal.end() == 0
    told = next(line for line in terminal.lines if line.startswith("... In all, "))
    assert int(told.split()[3].replace(",", "")) > 200_000
    assert "all of it: pushy job output " in told
    out = fleet.cli("job", "start", "--live", "burst", *NODES).stdout
    assert out.count("\n") == 3 * 100_000 + 3  # a pipe gets every line
    job_id = ok(fleet, "job", "list", "--limit", "1", "-F", "names").strip()
    assert ok(fleet, "job", "output", job_id, "web1", "--channel", "stdout").count("\n") == 100_000


def test_how_commands_ended(fleet: Fleet) -> None:
    assert "  failed  2  web[1-2] (signal 9 (KILL))\n" in fleet.cli("job", "start", "die", "web[1-2]").stdout
    details = ok(fleet, "job", "status", "-L", "last").splitlines()
    assert details[-3].split() == ["NODE", "STATUS", "EXIT", "TOOK", "REASON"]
    assert re.fullmatch(r"web1 +failed +signal 9 \(KILL\) +\d\.\d s", details[-2])


def test_a_user_who_may_start_jobs(fleet: Fleet) -> None:
    key = fleet.directory / "ann.pem"
    ok(fleet, "user", "create", "ann", "--key-file", str(key))
    profile = ("--client-name", "ann", "--client-key", str(key))
    assert "may not start jobs" in ok(fleet, "config", "check", *profile)
    ok(fleet, "group", "create", "pushy_job_writers")
    ok(fleet, "group", "add", "pushy_job_writers", "--user", "ann", "--group", "admins")
    assert "starting    ok" in ok(fleet, "config", "check", *profile)
    ok(fleet, "job", "start", "greet", "web1", *profile)
    assert "ann" in ok(fleet, "user", "list", "-F", "names").split()
    ok(fleet, "group", "remove", "pushy_job_writers", "--user", "ann")
    assert fleet.cli("job", "start", "greet", "web1", *profile).returncode == 6
    ok(fleet, "user", "delete", "ann", "--yes")
    assert "web1" in ok(fleet, "client", "list").split()


def test_nodes_are_searched(fleet: Fleet) -> None:
    def found() -> list[str] | None:
        names = ok(fleet, "node", "search", "name:web*", "-F", "names").split()
        return names if len(names) == 2 else None

    # Agents report what their nodes are a moment after they have connected.
    assert wait_until(found, "both nodes found") == ["web1", "web2"]
    assert set(NODES) <= set(ok(fleet, "node", "list").split())
    assert "2 of 2 nodes succeeded" in ok(fleet, "job", "start", "-s", "name:web*", "greet")
    assert json.loads(ok(fleet, "node", "show", "web1", "-F", "json"))["push"]["status"] == "online"


def test_the_certificate_is_fetched_and_trusted(fleet: Fleet, tmp_path: Path) -> None:
    environment = {**fleet.cli_environment(), "PUSHY_CA_FILE": ""}
    terminal = Terminal(str(tmp_path), "config", "fetch-ca", width=130, environment=environment)
    shown = " ".join(terminal.until("[y/N]"))
    assert re.search(r"SHA-256: +([0-9A-F]{2}:){31}", shown)
    terminal.press("y\n")
    assert terminal.end() == 0
    terminal = Terminal(str(tmp_path), "node", "list", environment=environment)
    assert terminal.end() == 0


def test_old_jobs_are_deleted(fleet: Fleet) -> None:
    assert re.fullmatch(r"Deleted \d+ jobs?\.\n", ok(fleet, "job", "purge", "--before", "2999-01-01", "--yes"))
