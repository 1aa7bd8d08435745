"""``pushyd-ctl import-config`` over a realistic file: what it writes is read by pushyd, what it cannot is named."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.conversion import Conversion
from pushy_protocol.ruby_values import read_values
from pushyd.config import Settings, load
from pushyd.ctl.import_config import convert

SAMPLE = Path(__file__).with_name("opscode-push-jobs-server.rb")
PROGRAM = Path(sys.executable).with_name("pushyd-ctl")


def converted(text: str) -> Conversion:
    return convert(read_values(text), "opscode-push-jobs-server.rb")


def read_back(conversion: Conversion, tmp_path: Path) -> Settings:
    file = tmp_path / "pushyd.toml"
    file.write_text(conversion.toml)
    return load(file, {})


def test_a_realistic_file(tmp_path: Path) -> None:
    output = tmp_path / "pushyd.toml"
    ended = subprocess.run(
        [PROGRAM, "import-config", SAMPLE, "--output", output], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.replace(f"{SAMPLE}:", "").splitlines() == [
        f"Wrote {output}.",
        "12: not converted: opscode_pushy_server['whitelist']: each node has its own (pushy-agent import-config)",
        "13: not converted: opscode_pushy_server['max_body_size']: expected int >= 4096",
        "14: not converted: opscode_pushy_server['log_rotation']['num_to_keep']: there is no such setting",
        "15: not converted: postgresql['vip']: see database_url",
        "16: not converted: opscode_pushy_server['server_name'] = node['fqdn'] if node['fqdn']: no plain value is set "
        "there",
    ]
    assert load(output, {}) == Settings(
        server_name="push.example.com",
        heartbeat_interval=1000,
        zeromq_listen_address="tcp://*",
        command_port=10002,
        server_heartbeat_port=10000,
        api_port=10003,
        down_threshold=0.6,
        rehab_timer=1000,
        detect_offline_nodes_interval=4,
    )


def test_all_of_it_is_converted(tmp_path: Path) -> None:
    source = tmp_path / "opscode-push-jobs-server.rb"
    source.write_text("opscode_pushy_server['heartbeat_interval'] = 2000\nopscode_pushy_server['api_port'] = nil\n")
    ended = subprocess.run([PROGRAM, "import-config", source], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("# milliseconds between heartbeats, both ways\nheartbeat_interval = 2000\n")


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ("opscode_pushy_server['api_port'] = 10002", "what was written", "expected three different ports"),
        ("opscode_pushy_server['api_port'] = '10002'", "opscode_pushy_server['api_port']", "expected int, got str"),
        ("opscode_pushy_server['api_port'] = [1]", "opscode_pushy_server['api_port']", "expected a string, a number"),
        ("opscode_pushy_server['no_such'] = 1", "opscode_pushy_server['no_such']", "there is no such setting"),
        ("opscode_pushy_server['vip'] = 'a b'", "opscode_pushy_server['vip']", "expected str matching regex"),
        ("opscode_pushy_server.api_port 1, 2", "opscode_pushy_server['api_port']", "expected a string, a number"),
        ("api_port 10003", "api_port", "there is no such setting"),
    ],
)
def test_what_cannot_be_converted(text: str, what: str, why: str) -> None:
    (finding,) = converted(text).findings
    assert finding.what.startswith(what)
    assert why in finding.why
    assert not finding.converted


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "pushyd.toml"
    output.write_text("mine")
    ended = subprocess.run(
        [PROGRAM, "import-config", SAMPLE, "-o", output], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, f"Error: {output}: File exists\n")
    assert output.read_text() == "mine"


def test_it_is_about_no_server_that_is_there(tmp_path: Path) -> None:
    ended = subprocess.run(
        [PROGRAM, "--config", tmp_path / "none.toml", "import-config", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "opscode-push-jobs-server.rb" in ended.stdout


VALUES = ["1", "10002", "0", "-1", "0.5", "true", "nil", "'a'", "'tcp://*'", ":a", "[1]", "{}", "99999999999999999999"]


@given(values=st.dictionaries(st.sampled_from(Settings.__struct_fields__), st.sampled_from(VALUES), max_size=6))
def test_whatever_is_converted_is_accepted(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    text = "".join(f"opscode_pushy_server['{name}'] = {value}\n" for name, value in values.items())
    conversion = converted(text)
    if not any(finding.line is None for finding in conversion.findings):
        read_back(conversion, tmp_path_factory.mktemp("import"))
