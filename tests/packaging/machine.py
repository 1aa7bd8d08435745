"""A fresh Debian 12 in a directory, booted by its own systemd in a container without a network.

The container (systemd-nspawn) is one of the machine that runs the tests: same kernel, root's rights, no daemon beside
it. What it installs comes from where the machine's own apt gets its packages, and is fetched before it boots.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RELEASE = "bookworm"
TOOLS = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
}
"""The programs that this needs, and their packages."""


class Failed(Exception):
    """Something is not as it should be; the text says what."""


def missing() -> list[str]:
    """What this machine lacks, one line each."""
    lacking = [f"{tool} (apt-get install {package})" for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "the rights of root"]


def wait_until(happened: Callable[[], bool], what: str, *, seconds: float = 180.0) -> None:
    """Look until it has happened.

    :raise Failed: it does not in time
    """
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


class Machine:
    """One Debian, below `root`."""

    def __init__(self, root: Path, log: Path, hostname: str) -> None:
        """:param log: takes what the tools say, and the console"""
        self.root = root
        self._log = log
        self._hostname = hostname
        self._container: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def make(self) -> None:
        """Unpack the smallest Debian that systemd boots, with the sources of this machine's apt."""
        sources = _sources()
        self._do(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=systemd-sysv",
                RELEASE,
                str(self.root),
                sources[0].split()[1],
            ],
            env={**os.environ, **_proxies()},
        )
        apt = self.root / "etc/apt"
        (apt / "sources.list").write_text("".join(f"{line}\n" for line in sources))
        (apt / "apt.conf.d/99machine").write_text(_apt_settings())
        (self.root / "etc/hostname").write_text(f"{self._hostname}\n")
        # This machine's are for what is fetched: they may have the registry's name.
        names = f"127.0.0.1 localhost\n127.0.1.1 {self._hostname} {self._hostname.partition('.')[0]}\n"
        (self.root / "etc/hosts").write_text(names + Path("/etc/hosts").read_text())
        for part in ("resolv.conf", "ssl/certs/ca-certificates.crt"):
            if Path("/etc", part).exists():
                (self.root / "etc" / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path("/etc", part), self.root / "etc" / part)
        self._do(["chroot", str(self.root), "apt-get", "--quiet", "update"])

    def fetch(self, *packages: str) -> None:
        """Download what packages need, for there is no network after the boot."""
        self._do(["chroot", str(self.root), "apt-get", "--quiet", "--yes", "--download-only", "install", *packages])

    def boot(self) -> None:
        """Start its systemd, and wait until that has started everything."""
        with self._log.open("ab") as log:
            self._container = subprocess.Popen(
                ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
                 "--private-network", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
                 "--console=read-only"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._find_leader, "a container", seconds=30)
        wait_until(
            lambda: self.run("systemctl", "is-system-running", check=False) in {"running\n", "degraded\n"}, "boot"
        )

    def _find_leader(self) -> bool:
        assert self._container is not None
        if self._container.poll() is not None:
            raise Failed(f"systemd-nspawn ended with {self._container.returncode}; see {self._log}")
        pid = self._container.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._leader = int(children[0]) if children else 0
        return bool(children) and Path(f"/proc/{self._leader}/comm").read_text() == "systemd\n"

    def run(self, *command: str, user: str | None = None, check: bool = True, env: Sequence[str] = ()) -> str:
        """What a command says there, on both of its streams.

        :raise Failed: it ends with another status than 0, unless not `check`
        """
        become = ["runuser", "--user", user, "--"] if user else []
        ended = subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "--", "env", "--ignore-environment", "--chdir=/",
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
             "DEBIAN_FRONTEND=noninteractive", *env, *become, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        with self._log.open("a") as log:
            log.write(f"# {' '.join(command)}\n{ended.stdout}\n")
        if check and ended.returncode:
            raise Failed(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout[-3000:]}")
        return ended.stdout

    def apt(self, *arguments: str) -> str:
        """What apt-get says while it does something; settings that were changed stay as they are."""
        options = ("--option=Dpkg::Use-Pty=0", "--option=Dpkg::Options::=--force-confold")
        return self.run("apt-get", "--quiet", "--yes", *options, *arguments)

    def property(self, unit: str, name: str) -> str:
        """What systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def path(self, path: str) -> Path:
        """A file of the machine, seen from outside."""
        return self.root / path.lstrip("/")

    def keep_journal(self) -> None:
        """Add to the log what the services there have said, for whoever looks for what is wrong."""
        if self._leader:
            self.run("journalctl", "--no-pager", "--lines=300", "--unit=pushy*", check=False)

    def power_off(self) -> None:
        """Shut it down, as an operator would.

        :raise Failed: it does not go down
        """
        if self._container is None or self._container.poll() is not None:
            return
        # systemd's signal for it: systemctl would ask a bus that is not there.
        os.kill(self._leader, signal.SIGRTMIN + 4)
        try:
            if status := self._container.wait(120):
                raise Failed(f"the machine went down with {status}")
        except subprocess.TimeoutExpired:
            raise Failed("the machine does not go down") from None

    def destroy(self) -> None:
        """Remove it; whatever still runs in it is killed."""
        if self._container is not None and self._container.poll() is None:
            self._container.send_signal(signal.SIGTERM)
            try:
                self._container.wait(20)
            except subprocess.TimeoutExpired:
                self._container.kill()
                self._container.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def _do(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        with self._log.open("ab") as log:
            ended = subprocess.run(
                command,
                env={**(env or os.environ), "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
            )  # fmt: skip
        if ended.returncode:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise Failed(f"{command[0]} ended with {ended.returncode}:\n{tail}")


def _sources() -> list[str]:
    """Debian's entries of this machine's apt, in the form of sources.list; the release itself first."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = {
        f"deb {uri} {release} {component}"
        for uri, release, component, origin in (
            line.split(maxsplit=3) for line in said.splitlines() if line.count(" ") > 2
        )
        if origin == "Debian" and release.startswith(RELEASE)
    }
    if not any(line.split()[2:] == [RELEASE, "main"] for line in found):
        raise Failed(f"apt knows no source of Debian's {RELEASE}; is 'apt-get update' done?")
    return sorted(found, key=lambda line: (line.split()[2:] != [RELEASE, "main"], line))


def _apt_settings() -> str:
    """How this machine's apt fetches: through which proxy, how old its lists may be."""
    said = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    wanted = re.compile(r"Acquire::(http|https|Check-|Max-Valid|Retries)")
    return "".join(f"{line}\n" for line in said.splitlines() if wanted.match(line))


def _proxies() -> dict[str, str]:
    """The same proxies, as debootstrap takes them."""
    pattern = r'Acquire::(https?)::Proxy "(.+)";'
    return {f"{scheme}_proxy": proxy for scheme, proxy in re.findall(pattern, _apt_settings()) if proxy != "DIRECT"}
