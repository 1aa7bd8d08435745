"""The life of an installation: install, configure, run jobs, upgrade in the middle of one, restart, remove, purge."""

import json
import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.packaging.machine import Failed, Machine, wait_until

PACKAGES = ("pushy-common", "pushyd", "pushy-agent", "pushy-cli")
URL = "https://push.example.test:10003/organizations/default"
STATE = "/var/lib/pushyd"
OPERATOR = "olga"
AGENTS = {"node-1": "pushy-agent", "node-2": "pushy-agent-2"}
"""Their units, by node."""

WHITELIST = """
who = "id --user --name"
wait = "/bin/sh -c 'until [ -e /srv/go ]; do sleep 0.2; done; echo waited'"
daemon = "/bin/sh -c 'setsid sleep 86400 >/dev/null 2>&1 & echo started'"
"""


class Story:
    """Everything that is done and checked, in this order, on one machine."""

    def __init__(self, machine: Machine, debs: Path, later_debs: Path) -> None:
        self.checked = 0
        self._machine = machine
        self._debs = {"now": debs, "next": later_debs}

    def tell(self) -> None:
        """Do all of it.

        :raise Failed: something is not as it should be
        """
        self._make_machine()
        self._install_server()
        self._units()
        self._install_agent_without_answers()
        self._configure_agent()
        self._install_command_line()
        self._second_agent()
        self._run_jobs()
        self._reload()
        self._upgrade_in_the_middle_of_a_job()
        self._restart_in_the_middle_of_a_job()
        self._stuck_server()
        self._remove()
        self._purge()
        self._machine.power_off()

    def _ok(self, what: str, holds: object = True, shown: object = "") -> None:
        if not holds:
            raise Failed(f"{what}\n{shown}".strip())
        self.checked += 1
        print(f"ok     {what}", flush=True)

    def _make_machine(self) -> None:
        machine = self._machine
        machine.make()
        for version, directory in self._debs.items():
            target = machine.path(f"/srv/{version}")
            target.mkdir()
            for package in PACKAGES:
                (built,) = directory.glob(f"{package}_*.deb")
                shutil.copyfile(built, target / f"{package}.deb")
        machine.fetch(*self._files("now"))
        machine.boot()
        self._ok("a fresh minimal Debian 12 boots with its own systemd")

    @staticmethod
    def _files(version: str, packages: Iterable[str] = PACKAGES) -> list[str]:
        return [f"/srv/{version}/{package}.deb" for package in packages]

    def _version(self, package: str) -> str:
        return self._machine.run("dpkg-query", "--show", "--showformat=${Version}", package)

    def _install_server(self) -> None:
        machine = self._machine
        machine.apt("install", *self._files("now", ["pushy-common", "pushyd"]))
        self._ok("apt installs pushyd")
        wait_until(lambda: self._is("pushyd", "active"), "pushyd runs")
        listening = self._listening()
        self._ok(
            "it is started, and ready only with its sockets listening", {10000, 10002, 10003} <= listening, listening
        )
        self._ok("it is enabled", machine.run("systemctl", "is-enabled", "pushyd") == "enabled\n")
        user = machine.run("stat", "--format=%U", f"/proc/{machine.property('pushyd', 'MainPID')}").strip()
        self._ok("it runs as the user pushyd", user == "pushyd", user)
        modes = machine.run("stat", "--format=%n %a %U:%G", STATE, f"{STATE}/server-rsa.pem", "/etc/pushy/pushyd.toml")
        expected = (
            f"{STATE} 750 pushyd:pushyd\n{STATE}/server-rsa.pem 600 pushyd:pushyd\n"
            "/etc/pushy/pushyd.toml 640 root:pushyd\n"
        )
        self._ok(
            "state, keys and settings are where they belong, with the rights that they need", modes == expected, modes
        )
        said = machine.run("pushyd-ctl", "check", user="pushyd", check=False)
        self._ok("pushyd-ctl check finds nothing wrong", "WRONG" not in said, said)
        shipped = [path for package in PACKAGES[:2] for path in self._shipped(package)]
        self._ok("no key, database or cache is shipped", not re.search(r"\.(pem|sqlite|pyc)\b", "\n".join(shipped)))

    def _shipped(self, package: str) -> list[str]:
        return self._machine.run("dpkg-query", "--listfiles", package).splitlines()

    def _listening(self) -> set[int]:
        lines = self._machine.run("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
        fields = [line.split() for line in lines if " 0A " in line]
        return {int(one[1].rpartition(":")[2], 16) for one in fields}

    def _units(self) -> None:
        machine = self._machine
        verified = machine.run("systemd-analyze", "--man=no", "verify", "/lib/systemd/system/pushyd.service")
        self._ok("systemd-analyze verify has nothing to say about pushyd.service", not verified, verified)
        said = machine.run("systemd-analyze", "security", "--threshold=20", "--no-pager", "pushyd.service")
        exposure = re.search(r"Overall exposure level for \S+ ([\d.]+)", said)
        self._ok(f"its exposure is {exposure[1] if exposure else '?'}, at most 2.0", exposure, said)

    def _install_agent_without_answers(self) -> None:
        machine = self._machine
        said = machine.apt("install", *self._files("now", ["pushy-agent"]))
        self._ok(
            "an agent without a server says that it is not configured",
            "is not configured: set chef_server_url" in said,
            said,
        )
        machine.run("systemctl", "start", "pushy-agent")
        self._ok("it is not started, and that is no failure", self._is("pushy-agent", "inactive"))
        verified = machine.run("systemd-analyze", "--man=no", "verify", "/lib/systemd/system/pushy-agent.service")
        self._ok("systemd-analyze verify has nothing to say about pushy-agent.service", not verified, verified)

    def _configure_agent(self) -> None:
        machine = self._machine
        machine.path("/etc/pushy/whitelist.d/test.toml").write_text(WHITELIST)
        key = machine.path(f"{STATE}/default-validator.pem").read_text().strip().replace("\n", "\\n")
        machine.path("/srv/preseed").write_text(
            f"pushy-agent pushy-agent/server_url string {URL}\n"
            "pushy-agent pushy-agent/node_name string node-1\n"
            f"pushy-agent pushy-agent/validation_key password {key}\n"
            f"pushy-agent pushy-agent/ca string {STATE}/ca.pem\n"
        )
        machine.run("debconf-set-selections", "/srv/preseed")
        machine.run("dpkg-reconfigure", "--frontend=noninteractive", "pushy-agent")
        wait_until(lambda: self._is("pushy-agent", "active"), "the agent runs")
        self._ok("with the answers of a preseeding it starts")
        wait_until(machine.path("/etc/pushy/client.pem").exists, "the node's key")
        kept = machine.run("grep", "-rl", "PRIVATE KEY", "/var/cache/debconf", check=False)
        self._ok("it enrols itself; debconf does not remember the validation key", not kept, kept)

    def _install_command_line(self) -> None:
        machine = self._machine
        machine.apt("install", *self._files("now", ["pushy-cli"]))
        machine.run("useradd", "--create-home", OPERATOR)
        home = f"/home/{OPERATOR}/.pushy"
        machine.run("install", "--directory", f"--owner={OPERATOR}", "--mode=0700", home)
        for name in ("admin.pem", "ca.pem"):
            machine.run("install", f"--owner={OPERATOR}", "--mode=0600", f"{STATE}/{name}", home)
        machine.path(f"{home}/credentials").write_text(
            f'[default]\nclient_name = "admin"\nclient_key = "admin.pem"\n'
            f'chef_server_url = "{URL}"\nca_file = "{home}/ca.pem"\n'
        )
        shipped = set(self._shipped("pushy-cli"))
        expected = {
            "/usr/bin/pushy",
            "/usr/share/bash-completion/completions/pushy",
            "/usr/share/fish/vendor_completions.d/pushy.fish",
            "/usr/share/man/man1/pushy.1.gz",
            "/usr/share/zsh/vendor-completions/_pushy",
        }
        self._ok(
            "the command line has its manual pages and its completion for three shells", expected <= shipped, shipped
        )
        self._ok("it reaches the server", "node-1" in self._pushy("node", "status"))

    def _pushy(self, *arguments: str, check: bool = True) -> str:
        return self._machine.run("pushy", *arguments, user=OPERATOR, env=[f"HOME=/home/{OPERATOR}"], check=check)

    def _second_agent(self) -> None:
        machine = self._machine
        unit = machine.path("/lib/systemd/system/pushy-agent.service").read_text()
        machine.path("/etc/systemd/system/pushy-agent-2.service").write_text(
            unit.replace("/etc/pushy/pushy-agent.toml", "/etc/pushy-2/pushy-agent.toml")
            .replace("agent-is-configured", "agent-is-configured /etc/pushy-2/pushy-agent.toml")
            .replace("StateDirectory=pushy-agent", "StateDirectory=pushy-agent-2")
        )
        config = machine.path("/etc/pushy/pushy-agent.toml").read_text()
        machine.path("/etc/pushy-2").mkdir()
        machine.path("/etc/pushy-2/pushy-agent.toml").write_text(
            'client_key = "client.pem"\nstate_dir = "/var/lib/pushy-agent-2"\n'
            'whitelist_dir = "/etc/pushy/whitelist.d"\n'
            + config.replace('node_name = "node-1"', 'node_name = "node-2"')
        )
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "pushy-agent-2")
        self._wait_for_nodes()
        self._ok("a second agent, by the same unit with settings of its own, enrols itself too")

    def _nodes(self) -> dict[str, str]:
        said = json.loads(self._pushy("node", "status", "--format", "json"))
        return {str(node["node_name"]): str(node["availability"]) for node in said}

    def _wait_for_nodes(self) -> None:
        everybody = dict.fromkeys(AGENTS, "available")
        wait_until(lambda: self._nodes() == everybody, "both nodes are available")

    def _run_jobs(self) -> None:
        said = self._pushy("job", "start", "--capture", "who", *AGENTS)
        self._ok(
            "a job runs on both nodes, and its output comes back",
            "root" in said and "2 of 2 nodes succeeded" in said,
            said,
        )
        said = self._pushy("job", "start", "rm -rf /", "node-1", check=False)
        self._ok("what the whitelist does not have is refused", "not_whitelisted" in said, said)

    def _reload(self) -> None:
        machine = self._machine
        for unit in ("pushyd", "pushy-agent"):
            before = machine.property(unit, "MainPID")
            machine.run("systemctl", "reload", unit)
            wait_until(partial(self._is, unit, "active"), f"{unit} is reloaded")
            said = machine.run("journalctl", "--unit", unit, "--lines=50", "--no-pager")
            self._ok(
                f"systemctl reload {unit}", "read again" in said and machine.property(unit, "MainPID") == before, said
            )

    def _start_waiting_job(self) -> str:
        self._machine.path("/srv/go").unlink(missing_ok=True)
        said = self._pushy("job", "start", "--nowait", "--capture", "wait", *AGENTS)
        job = str(re.findall(r"\b[0-9a-f]{32}\b", said)[0])
        wait_until(lambda: self._job(job)["nodes"] == {"running": sorted(AGENTS)}, "the job runs on both nodes")
        return job

    def _job(self, job: str) -> Any:
        return json.loads(self._pushy("job", "status", job, "--format", "json"))

    def _finish(self, job: str, what: str) -> None:
        self._machine.path("/srv/go").touch()
        wait_until(lambda: self._job(job)["status"] not in {"new", "voting", "running"}, "the job ends")
        found = self._job(job)
        self._ok(what, (found["status"], found["nodes"]) == ("complete", {"succeeded": sorted(AGENTS)}), found)
        output = self._pushy("job", "output", job, check=False)
        self._ok("what they wrote is there", "waited" in output, output)

    def _upgrade_in_the_middle_of_a_job(self) -> None:
        machine = self._machine
        for name, line in {"pushyd.toml": "voting_timeout = 59", "pushy-agent.toml": "stop_grace = 4"}.items():
            settings = machine.path(f"/etc/pushy/{name}")
            settings.write_text(f"{line}\n{settings.read_text()}")
        before = self._sums()
        job = self._start_waiting_job()
        processes = {unit: machine.property(unit, "MainPID") for unit in ("pushyd", *AGENTS.values())}
        machine.apt("install", *self._files("next"))
        versions = {self._version(package) for package in PACKAGES}
        self._ok(f"apt upgrades to {', '.join(versions)} in the middle of a job", len(versions) == 1)
        self._ok("keys and settings are as they were", self._sums() == before, (before, self._sums()))
        after = {unit: machine.property(unit, "MainPID") for unit in processes}
        self._ok("the server was restarted", after["pushyd"] != processes["pushyd"])
        self._ok("the agents were not", all(after[unit] == processes[unit] for unit in AGENTS.values()), after)
        wait_until(self._answers, "the server answers")
        self._ok("the job still runs", self._job(job)["nodes"] == {"running": sorted(AGENTS)}, self._job(job))
        self._finish(job, "it ends on both nodes: nothing was lost")
        wait_until(
            lambda: machine.property("pushy-agent", "MainPID") not in {processes["pushy-agent"], "0"}, "a new agent"
        )
        self._ok("then the agent of the package starts again by itself, as the new version")
        machine.run("systemctl", "restart", "pushy-agent-2")
        self._wait_for_nodes()
        said = self._pushy("job", "start", "--capture", "who", *AGENTS)
        self._ok("jobs run as before", "root" in said and "2 of 2 nodes succeeded" in said, said)

    def _answers(self) -> bool:
        try:
            self._nodes()
        except Failed:
            return False
        return True

    def _sums(self) -> str:
        return self._machine.run(
            "sh", "-c", f"cd / && sha256sum {STATE}/*.pem {STATE}/*-secret /etc/pushy/*.pem /etc/pushy/*.toml"
        )

    def _restart_in_the_middle_of_a_job(self) -> None:
        machine = self._machine
        job = self._start_waiting_job()
        for unit in AGENTS.values():
            machine.run("systemctl", "--no-block", "restart", unit)
        wait_until(lambda: all(self._is(unit, "deactivating") for unit in AGENTS.values()), "the agents stop")
        self._ok("systemctl restart of an agent waits for its job", self._job(job)["status"] == "running")
        self._finish(job, "the job ends as it should")
        wait_until(lambda: all(self._is(unit, "active") for unit in AGENTS.values()), "the agents are back")
        self._wait_for_nodes()
        self._ok("and the agents are back")
        self._pushy("job", "start", "daemon", "node-1")
        machine.run("systemctl", "restart", "pushy-agent")
        self._wait_for_nodes()
        self._ok("what a job has left behind lives on", machine.run("pidof", "sleep", check=False))

    def _is(self, unit: str, state: str) -> bool:
        return self._machine.property(unit, "ActiveState") == state

    def _stuck_server(self) -> None:
        machine = self._machine
        self._with_watchdog_of("3")
        before = machine.property("pushyd", "MainPID")
        machine.run("sh", "-c", f"kill -STOP {before}")
        wait_until(lambda: machine.property("pushyd", "MainPID") not in {before, "0"}, "a new server")
        wait_until(lambda: self._is("pushyd", "active"), "a new server that is ready")
        self._wait_for_nodes()
        self._ok("systemd restarts a server that does not say any more that it is alive")
        self._with_watchdog_of("60")

    def _with_watchdog_of(self, seconds: str) -> None:
        directory = self._machine.path("/etc/systemd/system/pushyd.service.d")
        directory.mkdir(exist_ok=True)
        (directory / "watchdog.conf").write_text(f"[Service]\nWatchdogSec={seconds}\n")
        self._machine.run("systemctl", "daemon-reload")
        self._machine.run("systemctl", "restart", "pushyd")

    def _remove(self) -> None:
        machine = self._machine
        machine.run("systemctl", "stop", "pushy-agent-2")
        machine.apt("remove", *PACKAGES)
        self._ok("apt removes them", not self._listening() & {10000, 10002, 10003})
        left = [STATE, "/etc/pushy/pushyd.toml", "/etc/pushy/client.pem", "/var/lib/pushy-agent"]
        self._ok("state and settings stay", all(machine.path(path).exists() for path in left), left)
        left = machine.run("find", "/usr/lib/pushy", check=False).splitlines()
        self._ok("of the programs nothing does", not machine.path("/usr/lib/pushy").exists(), left)

    def _purge(self) -> None:
        machine = self._machine
        machine.run("rm", "-r", "/etc/pushy/whitelist.d/test.toml", "/etc/systemd/system/pushyd.service.d")
        machine.apt("purge", "pushyd", "pushy-agent")  # of the others nothing is left
        found = machine.run(
            "find", "/", "-xdev", "(", "-path", "/srv", "-o", "-path", "/home", "-o", "-path", "/proc", "-o", "-path",
            "/var/lib/apt", "-o", "-path", "/var/log/journal", ")", "-prune", "-o", "-iname", "*pushy*", "-print",
        ).splitlines()  # fmt: skip
        ours = {"/etc/pushy-2", "/var/lib/pushy-agent-2", "/etc/systemd/system/pushy-agent-2.service"}
        left = [path for path in found if not any(path == one or path.startswith(f"{one}/") for one in ours)]
        self._ok("a purge leaves nothing but the user pushyd, whose id nobody else shall get", not left, left)
        self._ok("there it is", "pushyd" in machine.path("/etc/passwd").read_text())
