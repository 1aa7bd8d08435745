"""``twistd pushyd`` as its operator meets it: what it offers, and how it ends where it cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.python import usage

from pushyd.config import HELP, ConfigError
from pushyd.tap import Options, makeService

ROOT = Path(__file__).parents[2]
TWISTD = "from twisted.scripts.twistd import run; run()"
PUSHYD = "from pushyd.tap import main; main()"


def run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def ending(*arguments: str) -> str:
    """The line with which the service says that it cannot be made."""
    with pytest.raises(SystemExit) as caught:
        makeService(parsed(*arguments))
    assert isinstance(caught.value.code, str), "with a text, Python writes it and ends with status 1"
    assert "\n" not in caught.value.code
    return caught.value.code


def test_twistd_knows_it_and_its_help_lists_every_setting(tmp_path: Path) -> None:
    ended = run(TWISTD, "pushyd", "--help", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    listed = {line.split()[0].rstrip("=") for line in ended.stdout.splitlines() if line.strip().startswith("--")}
    assert {f"--{name.replace('_', '-')}" for name in HELP} <= listed
    said = " ".join(ended.stdout.split())
    for text in HELP.values():
        assert " ".join(text.split()) in said
    assert "-c, --config=" in ended.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [TWISTD, PUSHYD])
def test_a_wrong_setting_is_one_line_and_status_1(tmp_path: Path, program: str) -> None:
    config = tmp_path / "pushyd.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\nvoting_timeout = "soon"\n')
    arguments = ["-n", "--pidfile=", "pushyd"] if program is TWISTD else []
    ended = run(program, *arguments, "--config", str(config), cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == f"pushyd: {config}: voting_timeout: expected int, got str\n"
    assert not (tmp_path / "state").exists()


def test_an_option_that_is_none_is_explained(tmp_path: Path) -> None:
    ended = run(PUSHYD, "--no-such-setting", "1", cwd=tmp_path)
    assert ended.returncode == 1
    assert "no-such-setting" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_what_ends_it_before_it_starts(tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "format").write_text("2\n")
    file = tmp_path / "file"
    file.write_text("voting_timeout = 0\n")
    assert ending("--config", str(file)) == f"pushyd: {file}: voting_timeout: expected int >= 1"
    assert ending("--api-port", "x") == "pushyd: command line: api_port: expected int, got str"
    assert ending("-c", str(tmp_path / "none")) == f"pushyd: {tmp_path}/none: cannot be read: No such file or directory"
    assert ending("--state-dir", str(newer)).startswith(f"pushyd: {newer}: was made by a newer version of pushyd")
    assert ending("--state-dir", str(file)) == f"pushyd: {file}: File exists"


def test_every_setting_has_an_option_and_options_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pushyd.toml"
    file.write_text('organization = "acme"\napi_port = 1\n')
    settings = parsed("--config", str(file), "--api-port", "2", "--validate-client-node-name", "false").settings()
    assert (settings.organization, settings.api_port, settings.validate_client_node_name) == ("acme", 2, False)
    for name in HELP:
        assert parsed(f"--{name.replace('_', '-')}=x")[name.replace("_", "-")] == "x"


def test_an_empty_option_is_said_and_not_ignored() -> None:
    with pytest.raises(ConfigError, match=r"^command line: organization: expected"):
        parsed("--organization", "").settings()


def test_it_takes_no_arguments() -> None:
    with pytest.raises(usage.UsageError):
        parsed("start")


COLLECTED = """
import gc, sys
from twisted.internet import reactor
from pushyd.tap import Options, makeService

options = Options()
options.parseOptions(sys.argv[1:])
makeService(options)
before = gc.get_freeze_count()
reactor.callWhenRunning(lambda: (print(before, gc.get_freeze_count()), reactor.stop()))
reactor.run()
"""


def test_once_it_runs_the_garbage_collector_passes_over_what_was_imported(tmp_path: Path) -> None:
    ended = run(COLLECTED, "--state-dir", str(tmp_path / "state"), cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    before, then = map(int, ended.stdout.split())
    assert before == 0
    assert then > 10_000
