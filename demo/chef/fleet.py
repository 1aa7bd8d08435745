"""A fleet whose identities are on a Chef Server: a double of one, a pushyd that asks it, agents and the CLI."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.chef.serve import READY
from demo.fleet import SERVER_NAME, Fleet, free_ports
from demo.processes import Process
from pushy_protocol.keys import make_rsa_key, private_pem, public_pem
from pushyd.certificates import issue, make_authority

ORGANIZATION = "acme"
PUSHYD_USER = "pushy"
VALIDATOR = f"{ORGANIZATION}-validator"


class ChefFleet(Fleet):
    """Beside the fleet a Chef Server, on which its principals were made; their keys are in `keys`.

    Nodes of `known` are clients there from the beginning and have their key, as chef-client would have made it; others
    enrol themselves.
    """

    def __init__(self, directory: Path, known: Iterable[str] = ("web1", "web2"), **identity: object) -> None:
        """:param identity: settings of pushyd's table of that name, beside those that are needed"""
        self.chef_directory = directory / "chef"
        self.chef_directory.mkdir(parents=True)
        (self.chef_port,) = free_ports(1)
        self.chef_url = f"https://{SERVER_NAME}:{self.chef_port}"
        self.known = tuple(known)
        self.chef: Process | None = None
        trusted = directory / "trusted_certs"
        trusted.mkdir()
        table = {
            "backend": "chef",
            "chef_server_url": self.chef_url,
            "client_name": PUSHYD_USER,
            "client_key": str(self.chef_directory / f"{PUSHYD_USER}.pem"),
            "trusted_certs_dir": str(trusted),
            **identity,
        }
        super().__init__(directory, {"organization": ORGANIZATION}, tables={"identity": table})
        self.keys = self.chef_directory
        authority = make_authority(SERVER_NAME)
        served = issue(authority, [SERVER_NAME])
        (trusted / "chef.crt").write_bytes(authority.certificate_pem)
        (self.chef_directory / "tls-cert.pem").write_bytes(served.certificate_pem)
        (self.chef_directory / "tls-key.pem").write_bytes(served.key_pem)
        (self.chef_directory / "world.json").write_text(json.dumps(self._world()), encoding="utf-8")

    def start_server(self) -> Process:
        """Start the Chef Server, then pushyd, and wait until both are ready."""
        self.start_chef()
        return super().start_server()

    def start_chef(self) -> Process:
        """Start the Chef Server, as it was at first."""
        command = [sys.executable, "-m", "demo.chef.serve", str(self.chef_directory), str(self.chef_port)]
        self.chef = Process("the Chef Server", command, log=self.directory / "chef.log")
        self.chef.wait_for(READY)
        return self.chef

    def processes(self) -> list[Process]:
        """Every process that was started and not been replaced, agents first."""
        return [*super().processes(), *([self.chef] if self.chef else [])]

    def _world(self) -> dict[str, Any]:
        for name in self.known:
            (self.directory / name).mkdir()
        return {
            "users": {
                name: {
                    "key": self._make_key(self.keys / f"{name}.pem"),
                    "organizations": [ORGANIZATION],
                    "admin": admin,
                }
                for name, admin in ((PUSHYD_USER, False), ("admin", True), ("reader", False))
            },
            "organizations": {
                ORGANIZATION: {
                    "clients": {
                        VALIDATOR: self._make_key(self.keys / f"{VALIDATOR}.pem"),
                        **{name: self._make_key(self.directory / name / "client.pem") for name in self.known},
                    },
                    "nodes": [
                        {"name": name, "automatic": {"platform": "debian", "roles": ["web"]}} for name in self.known
                    ],
                    "groups": {
                        "operators": {"users": ["admin"]},
                        "pushy_job_writers": {"groups": ["operators"]},
                    },
                }
            },
        }

    def _make_key(self, path: Path) -> str:
        """Make a key and keep it; its public half."""
        key = make_rsa_key()
        path.write_bytes(private_pem(key))
        return public_pem(key.public_key())
