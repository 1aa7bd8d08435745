"""Settings that change while the agent runs."""

import os
from pathlib import Path

import pytest

from pushy_agent.config import load
from pushy_agent.settings import Settings
from pushy_protocol.keys import make_rsa_key, private_pem

KEY = private_pem(make_rsa_key())
HEAD = 'server_url = "https://h/organizations/o"\nclient_key = "client.pem"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "client.pem").write_bytes(KEY)
    path = tmp_path / "agent.toml"
    path.write_text(HEAD)
    return path


@pytest.fixture
def settings(path: Path) -> Settings:
    def read_name() -> str:
        return "n1"

    return Settings(load(path, {}, read_name), lambda: load(path, {}, read_name))


def change(path: Path, text: str) -> None:
    """Write a file whose age differs, however coarse the file system's clock is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1000, before + 1000))


def allows(settings: Settings, name: str) -> bool:
    return settings.refresh().whitelist.look_up(name) is not None


def test_a_changed_file_counts(settings: Settings, path: Path) -> None:
    assert allows(settings, "chef-client")
    config = settings.config
    assert settings.refresh() is config
    change(path, HEAD + '[whitelist]\na = "a"\n')
    assert allows(settings, "a")
    assert not allows(settings, "chef-client")


def test_files_beside_it_count_from_their_coming_to_their_going(settings: Settings, path: Path) -> None:
    directory = path.parent / "whitelist.d"
    directory.mkdir()
    change(directory / "a.toml", 'a = "a"\n')
    assert allows(settings, "a")
    change(directory / "a.toml", 'b = "b"\n')
    assert allows(settings, "b")
    (directory / "a.toml").unlink()
    assert not allows(settings, "b")


def test_bad_settings_change_nothing_and_are_tried_again_when_they_change(settings: Settings, path: Path) -> None:
    change(path, HEAD + "[whitelist]\na = 1\n")
    assert allows(settings, "chef-client")
    assert not settings.reload()
    path.unlink()
    assert allows(settings, "chef-client")
    change(path, HEAD + '[whitelist]\na = "a"\n')
    assert allows(settings, "a")
    assert settings.reload()


def test_what_the_agent_is_does_not_change(settings: Settings, path: Path) -> None:
    change(path, HEAD + 'node_name = "n2"\nstate_dir = "elsewhere"\nstop_grace = 9\n')
    assert settings.reload()
    config = settings.config
    assert (config.node_name, config.state_dir, config.stop_grace) == ("n1", Path("/var/lib/pushy-agent"), 9)
