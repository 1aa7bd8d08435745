"""The Ansible role, run by Ansible on this machine into a directory of the test: no package, no service."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pushy_agent.config import load
from pushy_protocol.keys import make_rsa_key, private_pem

ROLES = Path(__file__).parents[2] / "contrib/ansible/roles"
PROGRAMS = Path(sys.executable).parent
KEY = private_pem(make_rsa_key()).decode()
URL = "https://push.example.com:10003/organizations/default"
WHITELIST = {
    "plain": 'say "it\'s" C:\\\\x é',
    "restart ([a-z]+)": {"command": r"systemctl restart \1", "match": "re"},
    "backup": {
        "command": "tar",
        "lock": True,
        "user": "backup",
        "env": {"LANG": "C"},
        "timeout": 1.5,
        "allow_user": [],
    },
}


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    file = tmp_path / "site.yml"
    file.write_text("- hosts: localhost\n  gather_facts: false\n  roles: [pushy_agent]\n")
    return file


def ansible(playbook: Path, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    own = {
        "pushy_agent_packages": [],
        "pushy_agent_manage_service": False,
        "pushy_agent_config_dir": str(playbook.parent / "etc"),
        "pushy_agent_owner": os.geteuid(),
        "pushy_agent_group": os.getegid(),
        "pushy_agent_program": str(PROGRAMS / "pushy-agent"),
    }
    environment = {
        "ANSIBLE_HOME": str(playbook.parent / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_ROLES_PATH": str(ROLES),
        "HOME": str(playbook.parent),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    extra = ["--extra-vars", json.dumps({**own, **variables})]
    return subprocess.run(
        [PROGRAMS / "ansible-playbook", "-i", "localhost,", "-c", "local", *extra, *options, playbook],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_syntax(playbook: Path) -> None:
    ended = ansible(playbook, "--syntax-check")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_node_is_configured_once(playbook: Path) -> None:
    variables = {
        "pushy_agent_server_url": URL,
        "pushy_agent_node_name": "web1",
        "pushy_agent_validation_key": KEY,
        "pushy_agent_whitelist": WHITELIST,
        "pushy_agent_settings": {"tags": ["blue"], "stop_grace": 2},
    }
    first = ansible(playbook, **variables)
    assert first.returncode == 0, first.stdout + first.stderr
    etc = playbook.parent / "etc"
    assert (etc / "validation.pem").stat().st_mode & 0o777 == 0o600
    assert (etc / "validation.pem").read_text() == KEY
    assert KEY.splitlines()[1] not in first.stdout
    config = load(etc / "pushy-agent.toml", {}, lambda: "another")
    assert (config.server_url, config.node_name, config.labels.tags) == (URL, "web1", ("blue",))
    assert (config.client_key, config.validation_key) == (etc / "client.pem", etc / "validation.pem")
    argvs = {name: config.whitelist.look_up(name) for name in ("plain", "restart nginx", "restart a b", "chef-client")}
    assert {name: match.argv if match else None for name, match in argvs.items()} == {
        "plain": ("say", "it's", r"C:\x", "é"),
        "restart nginx": ("systemctl", "restart", "nginx"),
        "restart a b": None,
        "chef-client": None,
    }
    backup = config.whitelist.look_up("backup")
    assert backup
    assert (backup.entry.user, backup.entry.lock, backup.entry.timeout) == ("backup", True, 1.5)
    again = ansible(playbook, "--check", **variables)
    assert again.returncode == 0, again.stdout + again.stderr
    assert " changed=0 " in again.stdout


def test_settings_that_the_agent_would_refuse_are_not_written(playbook: Path) -> None:
    etc = playbook.parent / "etc"
    etc.mkdir()
    (etc / "client.pem").write_text(KEY)
    (etc / "pushy-agent.toml").write_text("before")
    ended = ansible(playbook, pushy_agent_server_url=URL, pushy_agent_whitelist={"a": {"command": "b", "user": 7}})
    assert ended.returncode == 2
    assert "whitelist: 'a': user: expected" in ended.stdout
    assert (etc / "pushy-agent.toml").read_text() == "before"


def test_what_is_missing_is_told(playbook: Path) -> None:
    ended = ansible(playbook)
    assert ended.returncode == 2
    assert "missing required arguments: pushy_agent_server_url" in ended.stdout
