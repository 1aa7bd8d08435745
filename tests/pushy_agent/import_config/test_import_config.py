"""``pushy-agent import-config`` over realistic files: what it writes is read by the agent, what it cannot is named."""

import io
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.config import Config, load
from pushy_agent.import_config.settings import convert
from pushy_protocol.conversion import Conversion, import_file
from pushy_protocol.keys import make_rsa_key, private_pem
from pushy_protocol.ruby_values import read_values

SAMPLE = Path(__file__).with_name("push-jobs-client.rb")
PROGRAM = Path(sys.executable).with_name("pushy-agent")
URL = "chef_server_url 'https://chef.example.com/organizations/acme'\n"


def converted(text: str) -> Conversion:
    return convert(read_values(text, file="/etc/chef/push-jobs-client.rb"), "push-jobs-client.rb")


def findings(text: str) -> list[tuple[int | None, str, bool]]:
    return [(finding.line, finding.why, finding.converted) for finding in converted(URL + text).findings]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "client.pem"
    path.write_bytes(private_pem(make_rsa_key()))
    return path


def read_back(conversion: Conversion, tmp_path: Path, **options: object) -> Config:
    """What the agent's own reader makes of it."""
    file = tmp_path / "pushy-agent.toml"
    file.write_text(conversion.toml)
    return load(file, {"client_key": str(tmp_path / "client.pem"), **options}, lambda: "node.example.com")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, "import-config", *arguments], capture_output=True, text=True, check=False)


def test_a_file_as_the_cookbook_makes_it(tmp_path: Path, key: Path) -> None:
    (tmp_path / "trusted").mkdir()
    output = tmp_path / "pushy-agent.toml"
    source = tmp_path / "push-jobs-client.rb"
    source.write_text(SAMPLE.read_text())
    source.chmod(0o640)
    ended = run(source, "--output", output)
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert ended.stderr.replace(str(tmp_path), "") == (
        "Wrote /pushy-agent.toml.\n"
        "/push-jobs-client.rb:4: not converted: LC_ALL = …: a constant of Ruby, which no program reads\n"
        "/push-jobs-client.rb:5: not converted: ENV['LC_ALL']: set it for the service (systemctl edit pushy-agent: "
        "[Service] Environment=…)\n"
        "/push-jobs-client.rb:28: converted, but look at it: /^chef-client (.*)$/: what is caught is split into words, "
        "as before; put quotes around what shall be one word\n"
        "/push-jobs-client.rb:30: converted, but look at it: /deploy/: the original took it anywhere in the name; here "
        "all of the name must match\n"
        "/push-jobs-client.rb:38: not converted: /^run (.*)$/: what is caught is given to a program that takes it for "
        "a command\n"
        "/push-jobs-client.rb:39: not converted: 'odd': it has 'priority', which entries have not\n"
        "/push-jobs-client.rb:42: not converted: if File.exist?('/etc/chef/extra.rb') (to line 44): no plain value is "
        "set there\n"
    )
    assert output.stat().st_mode & 0o777 == 0o640
    options = {"client_key": str(key), "trusted_certs_dir": str(tmp_path / "trusted")}
    config = load(output, options, lambda: "another.example.com")
    assert config.server_url == "https://chef.example.com/organizations/acme"
    assert config.node_name == "web1.example.com"
    assert config.verify_peer
    assert config.log_level == "info"
    assert config.logfile is None
    assert str(config.file_dir) == "/var/lib/push-jobs/files"
    assert config.file_dir_expiry == 3600
    assert config.allowed_env == frozenset({"LANG", "DEPLOY_ENV"})
    backup, report = (config.whitelist.look_up(name) for name in ("backup", "report"))
    assert backup
    assert report
    assert (backup.entry.user, backup.entry.dir, backup.entry.lock) == ("backup", "/srv", True)
    assert (str(report.entry.lock), report.entry.env) == ("/run/report.lock", {"LANG": "C"})


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("chef-client", ("chef-client",)),
        ("disk usage", ("df", "-h")),
        ("cleanup", ("/bin/sh", "-c", "rm -rf /var/tmp/build/*", "cleanup")),
        ("converge", ("chef-client", "-o", "recipe[base]")),
        ("restart nginx", ("systemctl", "restart", "nginx")),
        ("chef-client -o a", ("/bin/sh", "-c", "chef-client $1", "chef-client -o a", "-o a")),
        ("LOG x", ("/bin/sh", "-c", 'grep "$1" /var/log/app.log | tail -n 20', "LOG x", "x")),
        ("deploy", ("/usr/local/bin/deploy",)),
        ("deploy; reboot", None),
        ("restart a b", None),
        ("odd", None),
        ("run reboot", None),
    ],
)
def test_its_whitelist(tmp_path: Path, key: Path, name: str, argv: tuple[str, ...] | None) -> None:
    conversion = converted(SAMPLE.read_text())
    (tmp_path / "trusted").mkdir()
    config = read_back(conversion, tmp_path, trusted_certs_dir=str(tmp_path / "trusted"))
    match = config.whitelist.look_up(name)
    assert (match.argv if match else None) == argv


def test_the_agent_takes_it_as_it_is(tmp_path: Path, key: Path) -> None:
    source = tmp_path / "push-jobs-client.rb"
    source.write_text(f"{URL}client_key '{key}'\nwhitelist 'a' => 'b \"c d\"'\n")
    ended = run(source)
    assert (ended.returncode, ended.stderr) == (0, "")
    output = tmp_path / "pushy-agent.toml"
    output.write_text(ended.stdout)
    checked = subprocess.run(
        [PROGRAM, "--config", output, "--check-config"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "name 'a': b 'c d'\n"), checked.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("client_key '/k'\n", {"client_key": "/k"}),
        ('validation_key "/v"\n', {"validation_key": "/v"}),
        ("validation_client_name 'acme-validator'\n", {"validation_client_name": "acme-validator"}),
        ("ssl_ca_file '/ca.pem'\n", {"ca_file": "/ca.pem"}),
        ("environment 'production'\n", {"environment": "production"}),
        ("tags ['a', :b]\n", {"tags": ["a", "b"]}),
        ("allowed_overwritable_env_vars 'A', 'B'\n", {"allowed_overwritable_env_vars": ["A", "B"]}),
        ("max_body_size 63000\n", {"max_body_size": 63000}),
        ("file_dir_expiry 0.5\n", {"file_dir_expiry": 0.5}),
        ("log_level :fatal\n", {"log_level": "critical"}),
        ("log_level :debug\n", {"log_level": "debug"}),
        ("log_location '/var/log/a.log'\n", {"logfile": "/var/log/a.log"}),
        ("log_location STDERR\n", {}),
        ("node_name nil\n", {}),
        ("allow_unencrypted false\n", {}),
        ("verify_api_cert false\n", {}),
        ("ssl_verify_mode :verify_none\n", {"ssl_verify_mode": "verify_none"}),
        ("ssl_verify_mode OpenSSL::SSL::VERIFY_NONE\n", {"ssl_verify_mode": "verify_none"}),
        ("verify_api_cert true\nssl_verify_mode :verify_none\n", {"ssl_verify_mode": "verify_peer"}),
        ("Chef::Config[:node_name] = 'a'\n", {"node_name": "a"}),
        ("node_name 'a'\nnode_name 'b'\n", {"node_name": "b"}),
        ("whitelist({})\n", {"whitelist": {}}),
        ("whitelist['a'] = 'b'\n", {"whitelist": {"chef-client": "chef-client", "a": "b"}}),
        ("whitelist('a' => 'b')\nwhitelist['c'] = 'd'\n", {"whitelist": {"a": "b", "c": "d"}}),
        ("whitelist('a' => 'b', 'a' => 'c')\n", {"whitelist": {"a": "c"}}),
    ],
)
def test_settings(text: str, expected: dict[str, object]) -> None:
    conversion = converted(URL + text)
    assert conversion.findings == ()
    made = tomllib.loads(conversion.toml)
    assert made.pop("chef_server_url") == "https://chef.example.com/organizations/acme"
    if "client_key" not in expected:
        assert made.pop("client_key") == "/etc/chef/client.pem"
    assert made == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chef_server_url 'https://chef.example.com'\n", "expected https://HOST[:PORT]/organizations/ORG, got "),
        ("node_name 'a b'\n", "expected letters, digits and _.:- only, got 'a b'"),
        ("node_name 7\n", "expected a string, got int"),
        ("node_name = 'a'\n", "in Ruby this sets a local variable; the original reads 'node_name VALUE'"),
        ("file_dir_expiry -1\n", "expected a number >= 0"),
        ("file_dir_expiry true\n", "expected a number"),
        ("ssl_verify_mode :sometimes\n", "expected one of verify_peer, verify_none, got 'sometimes'"),
        ("log_level 'loud'\n", "expected one of debug, info, warn, error, critical, got 'loud'"),
        ("allow_unencrypted true\n", "nothing is sent in clear here, whatever the server"),
        ("allow_unencrypted 'no'\n", "expected true or false"),
        ("ENV['A'] = 'b'\n", "set it for the service (systemctl edit pushy-agent: [Service] Environment=…)"),
        ("LC_ALL = 'C'\n", "a constant of Ruby, which no program reads"),
        ("no_such 'a'\n", "there is no such setting"),
        ("node_name[:a] = 'b'\n", "there is no such setting"),
        ("whitelist 'a'\n", "expected a hash"),
        ("whitelist :a => 'b'\n", "it never matched: a name is a string or a regular expression"),
        ("whitelist 'a' => 7\n", "expected a string, got int"),
        ("whitelist 'a' => ''\n", "the command is empty"),
        ("whitelist 'a' => {}\n", "expected a :command_line"),
        ("whitelist 'a' => { command_line: 'b', dir: 'c' }\n", "'a': dir: expected an absolute path, got 'c'"),
        ("whitelist 'a' => { command_line: 'b', env: 'c' }\n", "expected a hash, got str"),
        ("whitelist 'a' => 'b', /a/ => 'c'\n", "there are a name and an expression of the same text"),
        ("whitelist(/\\p{L}/ => 'b')\n", "the expression has \\p"),
    ],
)
def test_what_cannot_be_converted(text: str, why: str) -> None:
    (line, said, is_converted) = findings(text)[0]
    assert (line, is_converted) == (2, False)
    assert said.startswith(why)
    assert not converted(URL + text).is_complete


def test_what_is_missing() -> None:
    conversion = converted("node_name 'a'\n")
    assert [(finding.what, finding.line) for finding in conversion.findings] == [("chef_server_url", None)]
    assert tomllib.loads(conversion.toml) == {"node_name": "a"}
    assert conversion.is_complete


def test_what_is_only_to_be_looked_at() -> None:
    conversion = converted(f"{URL}whitelist(/a/ => 'b')\n")
    assert [finding.converted for finding in conversion.findings] == [True]
    assert conversion.is_complete


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"\xff"), "expected UTF-8"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "expected at most 1000000 bytes"),
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "is a directory"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    source = tmp_path / "push-jobs-client.rb"
    make(source)
    ended = run(source)
    assert ended.returncode in {1, 2}
    assert said in ended.stderr
    assert ended.stdout == ""


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "pushy-agent.toml"
    output.write_text("mine")
    ended = run(SAMPLE, "-o", output)
    assert (ended.returncode, ended.stderr) == (1, f"Error: {output}: File exists\n")
    assert output.read_text() == "mine"


KEYS = ["a", "'a'", ":a", "/a/", "/^a (.*)$/", "/[/", "1", "nil", "%w[a]"]
VALUES = ["'b'", "'b \\1'", '"b; c"', "'\"'", "7", "{ command_line: 'b', lock: true }", "{ a: 1 }", "nil", "{}", "[]"]


@given(entries=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=4), other=st.text())
def test_whatever_comes_out_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str]], other: str
) -> None:
    directory = tmp_path_factory.mktemp("import")
    (directory / "client.pem").write_bytes(KEY)
    pairs = ", ".join(f"{name} => {value}" for name, value in entries)
    read_back(converted(f"{URL}whitelist({{ {pairs} }})\n{other}"), directory)


KEY = private_pem(make_rsa_key())


def test_streams_are_the_callers(tmp_path: Path) -> None:
    out, errors = io.StringIO(), io.StringIO()
    source = tmp_path / "a.rb"
    source.write_text(URL)
    assert import_file(source, None, convert, out=out, errors=errors) == 0
    assert "acme" in out.getvalue()
    assert errors.getvalue() == ""
