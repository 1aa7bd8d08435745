"""The command line: options, how a start ends that must not be, and the programs as they are installed."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, LogLevel

from pushy_agent.logs import make_observer
from pushy_agent.tap import Options, makeService
from pushy_protocol.keys import make_rsa_key, private_pem

PROGRAMS = [
    [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "pushy-agent"],
    [str(Path(sys.executable).with_name("pushy-agent"))],
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "client.pem").write_bytes(private_pem(make_rsa_key()))
    path = tmp_path / "agent.toml"
    path.write_text(
        'server_url = "http://127.0.0.1:1/organizations/acme"\nclient_key = "client.pem"\nnode_name = "n1"\n'
        'state_dir = "state"\n'
    )
    return path


def parse(*arguments: object) -> Options:
    options = Options()
    options.parseOptions([str(argument) for argument in arguments])
    return options


def test_options_by_the_originals_names(config: Path) -> None:
    key = config.with_name("client.pem")
    short = parse(
        "-c", config, "-k", key, "-l", "warn", "-L", "/a.log", "-N", "n2", "-S", "https://h/organizations/o",
        "-d", "/files", "-M", "5000",
    )  # fmt: skip
    long = parse(
        "--config", config, "--client-key", key, "--log_level", "warn", "--logfile", "/a.log", "--node-name", "n2",
        "--server", "https://h/organizations/o", "--file_dir", "/files", "--max-body-size", "5000",
    )  # fmt: skip
    for read in (short.config, long.config):
        assert (read.client_key, read.log_level, read.logfile) == (key, "warn", Path("/a.log"))
        assert (read.node_name, read.server_url) == ("n2", "https://h/organizations/o")
        assert (read.file_dir, read.max_body_size) == (Path("/files"), 5000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "pushy-agent: option --bogus not recognized (see pushy-agent --help)"),
        (["-M", "x"], "pushy-agent: max-body-size: expected an integer, got 'x' (see pushy-agent --help)"),
        (["-M", "1"], "pushy-agent: option: max_body_size: expected an integer >= 1024"),
        (["-c", "/none.toml"], "pushy-agent: /none.toml: No such file or directory"),
    ],
)
def test_errors_are_one_line(config: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("-c", config, *arguments)
    assert ended.value.code == said


def test_the_service_brings_its_log(config: Path, tmp_path: Path) -> None:
    def observer(options: Options) -> object:
        application = Application("pushy-agent")
        makeService(options).setServiceParent(application)
        found: object = application.getComponent(ILogObserver)
        return found

    options = parse("-c", config)
    assert observer(options) is not None
    options.parent = {"syslog": True, "nodaemon": True}
    assert observer(options) is None
    with pytest.raises(SystemExit) as ended:
        observer(parse("-c", config, "-L", tmp_path / "none" / "agent.log"))
    assert ended.value.code == f"pushy-agent: logfile: {tmp_path}/none/agent.log: No such file or directory"


def test_a_log_that_was_moved_away_is_begun_anew(config: Path, tmp_path: Path) -> None:
    agent: Any = makeService(parse("-c", config, "-L", tmp_path / "agent.log"))
    agent.setServiceParent(Application("pushy-agent"))
    (tmp_path / "agent.log").rename(tmp_path / "agent.log-20260131")
    assert not (tmp_path / "agent.log").exists()
    agent.reopen_log()
    assert (tmp_path / "agent.log").exists()
    agent._log.close()
    elsewhere: Any = makeService(parse("-c", config))
    elsewhere.setServiceParent(Application("pushy-agent"))
    elsewhere.reopen_log()


@pytest.mark.parametrize(
    ("arguments", "twistd", "expected"),
    [
        ([], None, None),
        ([], {"nodaemon": True}, None),
        ([], {"nodaemon": True, "logfile": "other.log"}, "{cwd}/other.log"),
        ([], {"nodaemon": False}, "{cwd}/pushy-agent.log"),
        ([], {"nodaemon": False, "logfile": "-"}, None),
        (["-L", "/a.log"], {"nodaemon": False, "logfile": "other.log"}, "/a.log"),
    ],
)
def test_where_the_log_goes(
    config: Path, arguments: list[str], twistd: dict[str, object] | None, expected: str | None
) -> None:
    options = parse("-c", config, *arguments)
    options.parent = twistd
    assert options.log_path == (expected and Path(expected.replace("{cwd}", str(Path.cwd()))))


def test_levels_and_small_talk() -> None:
    def logged(level: str) -> list[str]:
        lines = io.StringIO()
        observe: Any = make_observer(level, lines)
        for namespace in ("pushy_agent.x", "twisted.web.client"):
            for log_level in (LogLevel.debug, LogLevel.info, LogLevel.warn):
                observe({
                    "log_format": "{n} {l}", "n": namespace, "l": log_level.name, "log_time": 0.0,
                    "log_level": log_level, "log_namespace": namespace,
                })  # fmt: skip
        return [line.partition("] ")[2] for line in lines.getvalue().splitlines()]

    assert logged("info") == ["pushy_agent.x info", "pushy_agent.x warn", "twisted.web.client warn"]
    assert logged("warn") == ["pushy_agent.x warn", "twisted.web.client warn"]
    assert len(logged("debug")) == 6


@pytest.mark.parametrize("program", PROGRAMS, ids=["twistd", "script"])
def test_a_wrong_setting_ends_the_program(program: list[str], config: Path) -> None:
    config.write_text(config.read_text() + "heartbeat = 1\n")
    ended = subprocess.run(
        [*program, "--config", str(config)], capture_output=True, text=True, timeout=30, check=False, cwd=config.parent
    )
    assert ended.returncode == 1
    assert ended.stderr == f"pushy-agent: {config}: heartbeat: unknown key\n"
    assert ended.stdout == ""


@pytest.mark.parametrize("program", PROGRAMS, ids=["twistd", "script"])
def test_the_program_says_why_it_has_no_connection(program: list[str], config: Path) -> None:
    with subprocess.Popen(
        [*program, "--config", str(config)], stdout=subprocess.PIPE, text=True, cwd=config.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as agent:  # fmt: skip
        assert agent.stdout is not None
        expected = r"Not connected: http://127.0.0.1:1/organizations/acme: connection refused; trying again in [\d.]+ s"
        line = next(line for line in agent.stdout if "Not connected" in line)
        agent.terminate()
        assert re.search(expected, line)
        assert agent.stdout.read().endswith("Server Shut Down.\n")
    assert agent.returncode == -signal.SIGTERM  # twistd, once it is done, ends by the signal that ended it


def test_the_plugin_imports_nothing_of_the_agent() -> None:
    script = (
        "import sys; from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker\n"
        "makers = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == 'pushy-agent']\n"
        "assert len(makers) == 1, makers\n"
        "assert not [name for name in sys.modules if name.startswith('pushy_agent')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_what_is_never_used_takes_no_memory() -> None:
    """Twisted's TLS, twistd's debugger, what reads packages, and what reads Chef's settings, where there are none."""
    script = (
        "import sys; from pushy_agent import tap; tap._spare_memory()\n"
        "import twisted.application.app, twisted.scripts.twistd, twisted.internet.reactor\n"
        "import pushy_agent.app, pushy_agent.settings\n"
        "loaded = {'OpenSSL.SSL', 'bdb', 'importlib.metadata', 'pushy_protocol.ruby_values'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "import pdb; assert pdb.Pdb.__module__ == 'pdb' and 'bdb' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_version_and_help(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    for arguments in (["-v"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            parse(*arguments)
        assert ended.value.code == 0
        assert re.fullmatch(r"pushy-agent \d+\.\d+\.\d+\n", capsys.readouterr().out)
    with pytest.raises(SystemExit) as ended:
        parse("-h")
    assert ended.value.code == 0
    assert "--validation" not in capsys.readouterr().out


def test_check_config_and_explain(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    config.write_text(
        config.read_text() + '[whitelist]\nls = "ls -l"\n[whitelist."x (.*)"]\ncommand = "run \\\\1"\nmatch = "re"\n'
        'user = "bob"\nlock = true\ntimeout = 5\n[whitelist.all]\ncommand = "ls | wc"\nshell = true\n'
    )
    for arguments, status, said in (
        (["--explain", "ls"], 0, "'ls' is allowed by 'ls' and runs: ls -l\n"),
        (["--explain", "x a b"], 0, "'x a b' is allowed by 'x (.*)' and runs: run 'a b' [user bob, lock "),
        (["--explain", "rm"], 1, "'rm' is not allowed\n"),
        (["--check-config"], 0, "name 'ls': ls -l\nname 'all': 'ls | wc' (by /bin/sh)\nnames like 'x (.*)': run "),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            parse("-c", config, *arguments)
        assert ended.value.code == status
        assert capsys.readouterr().out.startswith(said)
