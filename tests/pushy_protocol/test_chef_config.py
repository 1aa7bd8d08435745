"""What is taken from Chef's own configuration, and what is not guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.chef_config import KEYS, ChefConfig, Found, read_chef_config

FILE = "/home/me/.chef/knife.rb"


def read(text: str, **environment: str) -> ChefConfig:
    return read_chef_config(text, file=FILE, environment=environment)


def test_what_knife_and_chef_client_are_configured_with() -> None:
    config = read(
        """# See https://docs.chef.io/workstation/config_rb/
current_dir = File.dirname(__FILE__)
log_level                :info
log_location             STDOUT
node_name                "alice"
client_key               "#{current_dir}/alice.pem"
chef_server_url          'https://chef.example/organizations/acme'
cookbook_path            ["#{current_dir}/../cookbooks"]
ssl_verify_mode          :verify_none
knife[:editor] = "vi"
validation_client_name   ENV["VALIDATOR"]
trusted_certs_dir        "/etc/chef/trusted_certs"
""",
        VALIDATOR="acme-validator",
    )
    assert config.unread == {}
    assert {key: found.text for key, found in config.settings.items()} == {
        "node_name": "alice",
        "client_key": "/home/me/.chef/alice.pem",
        "chef_server_url": "https://chef.example/organizations/acme",
        "ssl_verify_mode": "verify_none",
        "validation_client_name": "acme-validator",
        "trusted_certs_dir": "/etc/chef/trusted_certs",
    }
    assert config.settings["node_name"] == Found("alice", 5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("node_name `hostname`.strip", 1),
        ("\nnode_name Socket.gethostname", 2),
        ('node_name "a"\nif File.exist?("/x")\n  node_name "b"\nend', 2),
        ('if x\n  node_name "b"\nelse\n  node_name "c"\nend', 1),
    ],
)
def test_what_only_ruby_knows_is_not_guessed(text: str, line: int) -> None:
    config = read(text)
    assert config.settings == {}
    assert config.unread == {"node_name": line}


def test_a_later_plain_value_counts() -> None:
    config = read('node_name `hostname`\nnode_name "a"\nnode_name "b"')
    assert (config.settings, config.unread) == ({"node_name": Found("b", 3)}, {})


@pytest.mark.parametrize("value", ["nil", "1", "true", '""', "[]", "{}"])
def test_what_is_no_text_is_unread(value: str) -> None:
    assert read(f"node_name {value}").settings == {}


def test_nothing() -> None:
    assert read("") == ChefConfig()
    assert read("log_level :info\ncache_path '/x'") == ChefConfig()


@given(
    st.text(st.sampled_from("noe_am \n\"'#{}ifend=:`$()"), max_size=60).map(
        lambda text: text.replace("e_am", "node_name ")
    )
)
def test_no_text_makes_it_fail(text: str) -> None:
    config = read(text)
    assert config.settings.keys() | config.unread.keys() <= set(KEYS)
    assert not config.settings.keys() & config.unread.keys()
