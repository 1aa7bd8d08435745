"""A node that has a Chef client needs nothing but a whitelist."""

from pathlib import Path
from typing import Any

import pytest

from pushy_agent.config import Config, ConfigError, load
from pushy_protocol.keys import make_rsa_key, private_pem
from tests.pushy_agent.test_config import certificate

KEY = make_rsa_key()
URL = "https://chef.example/organizations/acme"
CLIENT_RB = f'chef_server_url "{URL}"\nnode_name "web1.example.com"\nlog_location STDOUT\n'


class Node:
    """A node with Chef's directory and ours."""

    def __init__(self, directory: Path) -> None:
        self.chef, self.pushy = directory / "chef", directory / "pushy"
        self.chef.mkdir()
        self.pushy.mkdir()
        self.client_rb = self.chef / "client.rb"
        self.settings = self.pushy / "pushy-agent.toml"

    def load(self, text: str = "", options: dict[str, Any] | None = None, **environment: str) -> Config:
        self.settings.write_text(text + '\n[whitelist]\nls = "ls"\n')
        return load(
            self.settings, options or {}, lambda: "fqdn.example", client_rb=self.client_rb, environment=environment
        )

    def refused(self, text: str = "", options: dict[str, Any] | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(text, options)
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.client_rb.write_text(CLIENT_RB)
    (node.chef / "client.pem").write_bytes(private_pem(KEY))
    return node


def test_chefs_identity_is_the_nodes(node: Node) -> None:
    config = node.load()
    assert (config.server_url, config.organization, config.node_name) == (URL, "acme", "web1.example.com")
    assert config.client_key == node.chef / "client.pem"
    assert (config.validation_key, config.validation_client_name, config.trusted) == (None, "acme-validator", ())
    assert config.verify_peer
    assert node.client_rb in config.sources


def test_all_that_it_may_say(node: Node) -> None:
    for name in ("mine.pem", "val.pem"):
        (node.chef / name).write_bytes(private_pem(KEY))
    (node.chef / "certs").mkdir()
    for path in (node.chef / "certs" / "a.crt", node.chef / "ca.pem"):
        path.write_bytes(certificate(KEY, "chef.example"))
    node.client_rb.write_text(
        CLIENT_RB
        + 'client_key ENV["KEY"]\nvalidation_key "/etc/chef/../chef/val.pem"\nvalidation_client_name "val"\n'.replace(
            "/etc/chef/../chef", str(node.chef)
        )
        + 'ssl_verify_mode :verify_none\nssl_ca_file "ca.pem"\ntrusted_certs_dir "certs"\n'
    )
    config = node.load(KEY="mine.pem")
    assert config.client_key == node.chef / "mine.pem"
    assert (config.validation_key, config.validation_client_name) == (node.chef / "val.pem", "val")
    assert config.trusted == (node.chef / "ca.pem", node.chef / "certs" / "a.crt")
    assert not config.verify_peer


def test_what_chef_has_where_it_says_nothing(node: Node) -> None:
    (node.chef / "trusted_certs").mkdir()
    (node.chef / "trusted_certs" / "chef.crt").write_bytes(certificate(KEY, "chef.example"))
    (node.chef / "validation.pem").write_bytes(private_pem(KEY))
    node.client_rb.write_text(f'chef_server_url "{URL}"')
    config = node.load()
    assert config.trusted == (node.chef / "trusted_certs" / "chef.crt",)
    assert config.validation_key == node.chef / "validation.pem"
    assert config.node_name == "fqdn.example"


def test_a_key_that_we_make_is_where_chef_client_finds_it(node: Node) -> None:
    (node.chef / "client.pem").rename(node.chef / "validation.pem")
    assert node.load().client_key == node.chef / "client.pem"


def test_files_of_client_d_come_after_it(node: Node) -> None:
    (node.chef / "client.d").mkdir()
    (node.chef / "client.d" / "2.rb").write_text('node_name "last"')
    (node.chef / "client.d" / "1.rb").write_text("node_name `hostname`")
    config = node.load()
    assert config.node_name == "last"
    assert set(config.sources) >= {node.client_rb, node.chef / "client.d" / "1.rb"}


def test_our_own_settings_go_before(node: Node) -> None:
    config = node.load('node_name = "mine"\nssl_verify_mode = "verify_none"')
    assert (config.node_name, config.verify_peer, config.server_url) == ("mine", False, URL)
    assert node.load("", {"node_name": "option"}).node_name == "option"


@pytest.mark.parametrize("key", ["chef_server_url", "server_url"])
def test_who_names_another_server_takes_nothing_of_it(node: Node, key: str) -> None:
    (node.pushy / "client.pem").write_bytes(private_pem(KEY))
    other = "https://push.example/organizations/default"
    config = node.load(f'{key} = "{other}"\nclient_key = "client.pem"')
    assert (config.server_url, config.node_name) == (other, "fqdn.example")
    assert config.client_key == node.pushy / "client.pem"
    assert node.client_rb not in config.sources
    config = node.load(f'{key} = "{other}"\nchef_config = "../chef/client.rb"')
    assert (config.server_url, config.node_name) == (other, "web1.example.com")
    assert config.client_key == node.pushy / ".." / "chef" / "client.pem"


def test_what_only_ruby_knows_has_to_be_said(node: Node) -> None:
    node.client_rb.write_text(f'chef_server_url "{URL}"\nnode_name `hostname -f`')
    assert node.refused() == (
        f"{node.client_rb}:2: node_name: expected a plain value, for no Ruby is run here; say it in {node.settings}"
    )
    assert node.load('node_name = "web1"').node_name == "web1"


def test_errors_name_the_file_and_line(node: Node) -> None:
    node.client_rb.write_text(CLIENT_RB.replace(URL, "https://chef.example"))
    assert node.refused().startswith(f"{node.client_rb}:1: chef_server_url: expected https://HOST[:PORT]/organizations")
    node.client_rb.write_text(CLIENT_RB + "ssl_verify_mode :verify_sometimes")
    assert node.refused().startswith(f"{node.client_rb}:4: ssl_verify_mode: expected one of")
    node.client_rb.write_text(CLIENT_RB)
    (node.chef / "client.pem").write_text("no key")
    assert node.refused().startswith(f"{node.client_rb}: client_key: {node.chef}/client.pem: expected")
    assert node.refused('node_name = "a b"').startswith(f"{node.settings}: node_name: ")


def test_a_file_that_cannot_be_read(node: Node) -> None:
    assert node.refused('chef_config = "none.rb"') == f"{node.pushy}/none.rb: No such file or directory"
    node.client_rb.write_bytes(b"node_name '\xff'")
    assert node.refused().startswith(f"{node.client_rb}: expected UTF-8")
    node.client_rb.write_text("#" * 1_000_001)
    assert node.refused() == f"{node.client_rb}: expected at most 1000000 bytes"


def test_a_node_without_chef(node: Node) -> None:
    node.client_rb.unlink()
    assert node.refused().startswith(
        f"{node.settings}: chef_server_url: expected https://HOST[:PORT]/organizations/ORG"
    )
