"""What is imported when: the time that a command takes to answer is mostly this."""

import subprocess
import sys

import pytest

HEAVY = {
    "twisted",
    "treq",
    "rich",
    "cryptography",
    "msgspec",
    "attr",
    "OpenSSL",
    "zmq",
    "asyncio",
    "ClusterShell",
    "yaml",
}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["job", "--help"],
        ["job", "start", "--help"],
        ["node", "status", "--help"],
        ["user", "--help"],
        ["config", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from pushy_cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in program.stderr.splitlines()}
    assert "click" in imported
    assert not imported & HEAVY


def test_a_command_imports_no_toolkit_for_terminals() -> None:
    program = subprocess.run(
        [sys.executable, "-c", "import sys, pushy_cli.jobs, pushy_cli.nodes; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {name.partition(".")[0] for name in program.stdout.split()}
    assert not imported & {"rich", "klein", "sqlalchemy", "hypothesis", "ClusterShell", "yaml"}
