"""The Chef cookbook: its recipe is run without Chef (``chef.rb``), and the agent reads what its templates render."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pushy_agent.config import Config, load
from pushy_protocol.keys import make_rsa_key, private_pem

ROOT = Path(__file__).parents[2]
COOKBOOK = ROOT / "contrib/chef/push-jobs"
HARNESS = Path(__file__).with_name("chef.rb")
FILES = sorted([*COOKBOOK.rglob("*.rb"), HARNESS])


def ruby(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ruby", "-w", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )


def converged(tmp_path: Path, attributes: str = "") -> dict[tuple[str, str], dict[str, Any]]:
    """The resources of the recipe, with these attributes above the cookbook's own, in order."""
    overrides = tmp_path / "attributes.rb"
    overrides.write_text(attributes)
    ended = ruby(HARNESS, COOKBOOK, overrides)
    assert (ended.returncode, ended.stderr) == (0, "")
    return {(one["kind"], one["name"]): one["properties"] for one in json.loads(ended.stdout)}


def read_back(resources: dict[tuple[str, str], dict[str, Any]], tmp_path: Path) -> Config:
    file = tmp_path / "pushy-agent.toml"
    file.write_text(resources["template", "/etc/pushy/pushy-agent.toml"]["content"])
    key = tmp_path / "client.pem"
    key.write_bytes(private_pem(make_rsa_key()))
    return load(file, {"client_key": str(key)}, lambda: "node.example.com")


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])
def test_syntax(file: Path) -> None:
    checked = ruby("-c", file)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "Syntax OK\n", "")


def test_without_attributes(tmp_path: Path) -> None:
    resources = converged(tmp_path)
    assert list(resources) == [
        ("apt_package", "pushy-agent"),
        ("directory", "/etc/pushy"),
        ("directory", "/etc/pushy/whitelist.d"),
        ("template", "/etc/pushy/pushy-agent.toml"),
        ("directory", "/etc/systemd/system/pushy-agent.service.d"),
        ("template", "/etc/systemd/system/pushy-agent.service.d/environment.conf"),
        ("execute", "systemctl daemon-reload"),
        ("execute", "restart pushy-agent"),
        ("service", "pushy-agent"),
    ]
    template = resources["template", "/etc/pushy/pushy-agent.toml"]
    assert template["verify"] == ["/usr/bin/pushy-agent --config %{path} --check-config"]
    assert template["mode"] == ["0640"]
    assert 'client_key" = "/etc/chef/client.pem"' in template["content"]
    config = read_back(resources, tmp_path)
    # As the Chef client has it.
    assert (config.server_url, config.node_name) == ("https://chef.example.com/organizations/acme", "web1.example.com")
    assert config.verify_peer
    assert [entry.name for entry in config.whitelist.entries] == ["chef-client"]
    environment = resources["template", "/etc/systemd/system/pushy-agent.service.d/environment.conf"]["content"]
    assert environment.splitlines()[1:] == ["[Service]", 'Environment="LC_ALL=en_US.UTF-8"']


def test_what_the_attributes_say(tmp_path: Path) -> None:
    (tmp_path / "trusted").mkdir()
    attributes = f"""
        default['push_jobs']['chef']['chef_server_url'] = 'https://push.example.com:10003/organizations/default'
        default['push_jobs']['chef']['node_name'] = 'db1'
        default['push_jobs']['chef']['verify_api_cert'] = false
        default['push_jobs']['chef']['ssl_verify_mode'] = ':verify_none'
        default['push_jobs']['chef']['trusted_certs_path'] = '{tmp_path}/trusted'
        default['push_jobs']['logging_level'] = 'debug'
        default['push_jobs']['settings'] = {{ 'tags' => ['blue', "a\\"b"], 'stop_grace' => 1.5 }}
        default['push_jobs']['environment_variables'] = {{ 'A' => '50% "b"' }}
        default['push_jobs']['whitelist'] = {{
          'plain' => "say \\"it's\\" C:\\\\\\\\x",
          /^restart ([a-z]+)\\z/i => 'systemctl restart \\1',
          'deploy (\\w+)' => {{ 'command' => 'deploy "$1"', 'match' => 're', 'shell' => true }},
          'backup' => {{ command_line: 'tar', lock: true, user: 'backup', dir: '/srv', env: {{ 'LANG' => 'C' }} }},
        }}
    """
    resources = converged(tmp_path, attributes)
    config = read_back(resources, tmp_path)
    assert (config.server_url, config.node_name) == ("https://push.example.com:10003/organizations/default", "db1")
    assert not config.verify_peer
    assert config.log_level == "debug"
    assert config.labels.tags == ("blue", 'a"b')
    assert config.stop_grace == 1.5
    argvs = {name: config.whitelist.look_up(name) for name in ("plain", "RESTART nginx", "deploy x", "restart a b")}
    assert {name: match.argv if match else None for name, match in argvs.items()} == {
        "plain": ("say", "it's", r"C:\x"),
        "RESTART nginx": ("systemctl", "restart", "nginx"),
        "deploy x": ("/bin/sh", "-c", 'deploy "$1"', "deploy x", "x"),
        "restart a b": None,
    }
    backup = config.whitelist.look_up("backup")
    assert backup
    assert (backup.entry.user, backup.entry.dir, backup.entry.lock, backup.entry.env) == (
        "backup",
        "/srv",
        True,
        {"LANG": "C"},
    )
    environment = resources["template", "/etc/systemd/system/pushy-agent.service.d/environment.conf"]["content"]
    assert environment.splitlines()[-1] == r'Environment="A=50%% \"b\""'


def test_packages_from_files(tmp_path: Path) -> None:
    resources = converged(
        tmp_path,
        """
        default['push_jobs']['common_package_url'] = 'https://files.example.com/pushy-common_1_amd64.deb'
        default['push_jobs']['package_url'] = 'https://files.example.com/pushy-agent_1_amd64.deb'
        default['push_jobs']['package_checksum'] = 'abc'
        """,
    )
    assert list(resources)[:3] == [
        ("remote_file", "/var/cache/chef/pushy-common_1_amd64.deb"),
        ("remote_file", "/var/cache/chef/pushy-agent_1_amd64.deb"),
        ("execute", "install pushy-agent"),
    ]
    assert resources["remote_file", "/var/cache/chef/pushy-agent_1_amd64.deb"]["checksum"] == ["abc"]
    (command,) = resources["execute", "install pushy-agent"]["command"]
    assert command.endswith("/var/cache/chef/pushy-common_1_amd64.deb /var/cache/chef/pushy-agent_1_amd64.deb")


@pytest.mark.parametrize(
    ("entry", "said"),
    [("{ 'command_line' => 'b', 'priority' => 1 }", 'whitelist: "a" has priority'), ("{ 'command' => 1..2 }", "1..2")],
)
def test_what_is_wrong_is_told(tmp_path: Path, entry: str, said: str) -> None:
    overrides = tmp_path / "attributes.rb"
    overrides.write_text(f"default['push_jobs']['whitelist'] = {{ 'a' => {entry} }}")
    ended = ruby(HARNESS, COOKBOOK, overrides)
    assert ended.returncode == 1
    assert f"push-jobs: {said}" in ended.stderr
