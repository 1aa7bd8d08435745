"""Every command in every format: JSON that is as documented, YAML that says the same, names one a line."""

import json
from typing import Any

import yaml

from pushy_cli import manual
from tests.pushy_cli.push_server import JOB_ID
from tests.pushy_cli.test_program import OLD_ID, WEB, ProgramTestCase

JOB = {"id", "command", "status", "run_timeout", "created_at", "updated_at", "nodes"}
STATE = {"node_name", "status", "availability"}
FINDING = {"step", "ok", "told", "hint"}

COMMANDS: dict[str, tuple[tuple[str, ...], Any, list[str]]] = {
    # The words of a call, the keys that its JSON has (in a list: of each element; None: a list of names), the names.
    "job start": (("uptime", *WEB), JOB, [JOB_ID]),
    "job rerun": ((OLD_ID,), JOB | {"output"}, [JOB_ID]),
    "job watch": ((OLD_ID,), JOB | {"output"}, []),
    "job status": ((OLD_ID,), JOB, WEB),
    "job list": ((), [JOB - {"nodes"}], [OLD_ID, "f" * 32]),
    "job output": ((OLD_ID,), set(WEB), ["web1"]),
    "job abort": (("f" * 32,), {"id"}, ["f" * 32]),
    "job purge": (("--before", "1d", "-y"), {"deleted"}, []),
    "node status": ((), [STATE], ["web1"]),
    "node list": ((), None, ["web1", "web2"]),
    "node show": (("web2",), {"name", "push"}, ["web2"]),
    "node search": (("*:*",), [{"name"}], ["web2"]),
    "client list": ((), None, ["c"]),
    "client show": (("c",), {"name"}, ["c"]),
    "client create": (("new",), {"name", "key_file"}, ["new"]),
    "client delete": (("c", "-y"), {"name"}, ["c"]),
    "user list": ((), None, ["u"]),
    "user show": (("u",), {"name"}, ["u"]),
    "user create": (("new", "--print-key"), {"name", "private_key"}, ["new"]),
    "user delete": (("u", "-y"), {"name"}, ["u"]),
    "user add": (("u",), {"name"}, ["u"]),
    "user remove": (("u",), {"name"}, ["u"]),
    "group list": ((), None, ["g"]),
    "group show": (("g",), {"groupname", "users", "clients", "groups"}, ["g"]),
    "group create": (("new",), {"name"}, ["new"]),
    "group delete": (("g", "-y"), {"name"}, ["g"]),
    "group add": (("g", "--user", "u"), {"groupname", "users", "clients", "groups"}, ["g"]),
    "group remove": (("g", "--client", "c"), {"groupname", "users", "clients", "groups"}, ["g"]),
    "config init": ((), [FINDING], []),
    "config show": (
        (),
        {"server_url", "client_name", "client_key", "trusted", "verify_tls", "request_timeout"},
        ["admin"],
    ),
    "config check": ((), [FINDING], []),
    "config fetch-ca": ((), {"file", "sha256"}, []),
    "completion": (("bash",), {"shell", "script"}, ["bash"]),
    "version": ((), {"version"}, []),
}


class FormatTestCase(ProgramTestCase):
    def fill(self) -> None:
        """Make the server anew, for a command that changes it."""
        self.server.jobs.clear()
        self.server.add_job("f" * 32, {"status": "running", "nodes": {"running": WEB}})
        done = {"status": "complete", "nodes": {"succeeded": WEB}}
        self.server.add_job(OLD_ID, done, nodes=WEB, capture_output=True)
        self.server.next_job = [done]
        self.server.outputs = {("web1", "stdout"): b"hi\n"}
        self.server.node_states = {"web1": ("online", "available")}
        self.server.members = {"u"}
        group = {"groupname": "g", "users": [], "clients": ["c"], "groups": []}
        self.server.objects = {
            "clients": {"c": {"name": "c"}}, "users": {"u": {"name": "u"}}, "groups": {"g": group},
            "nodes": {"web2": {"name": "web2"}},
        }  # fmt: skip
        for file in (*self.home.glob("*.new"), *self.home.glob("new*.pem"), self.home / "profiles"):
            file.unlink(missing_ok=True)

    async def call(self, command: str, words: tuple[str, ...], form: str) -> str:
        self.fill()
        if command == "config init":
            key = str(self.home / ".pushy/admin.pem")
            words = ("--profile", "new", "--server-url", self.url, "--client-name", "admin", "--client-key", key)
            words += ("--credentials", str(self.home / "profiles"), "--ca-file", str(self.home / "ca.pem"))
        if command == "config fetch-ca":
            shown = await self.run_pushy("config", "fetch-ca")
            words = ("--fingerprint", shown.err.split("SHA-256:")[1].split()[0])
        result = await self.run_pushy(*command.split(), *words, "-F", form)
        assert result.status == 0, (command, form, result)
        return result.out

    def check(self, command: str, value: Any, keys: Any) -> None:
        if keys is None:
            assert all(isinstance(name, str) for name in value), command
        elif isinstance(keys, list):
            assert value, command
            for element in value:
                assert keys[0] <= set(element), command
        else:
            assert keys <= set(value), command


class FormatTests(FormatTestCase):
    async def test_every_command_in_every_format(self) -> None:
        for command, (words, keys, names) in COMMANDS.items():
            value = json.loads(await self.call(command, words, "json"))
            self.check(command, value, keys)
            assert yaml.safe_load(await self.call(command, words, "yaml")) == value, command
            if names:
                assert (await self.call(command, words, "names")).split() == names, command
            assert (await self.call(command, words, "text")).strip(), command

    def test_none_is_left_out(self) -> None:
        leaves = {page.name.removeprefix("pushy ") for page in manual.pages() if not page.commands}
        assert set(COMMANDS) == leaves
