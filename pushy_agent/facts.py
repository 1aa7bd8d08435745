"""What a node tells of itself, so that operators can search for it: by the names that Chef's ohai has for it.

Only what costs nothing to find out; nothing is asked of the network.
"""

import fcntl
import os
import platform
import socket
import struct
from contextlib import suppress
from typing import Any

from attrs import frozen

_SIOCGIFADDR = 0x8915


@frozen(kw_only=True)
class Labels:
    """What an operator says of a node in its settings."""

    tags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    environment: str | None = None


def collect(node_name: str, labels: Labels) -> dict[str, Any]:
    """The facts of this machine; what cannot be found out is left out."""
    hostname = socket.gethostname()
    machine = os.uname()
    facts: dict[str, Any] = {
        "name": node_name,
        "hostname": hostname.partition(".")[0],
        "os": machine.sysname.lower(),
        "kernel": {"name": machine.sysname, "release": machine.release, "machine": machine.machine},
        "cpu": {"total": os.cpu_count()},
        "tags": list(labels.tags),
        "roles": list(labels.roles),
    }
    if "." in hostname:
        facts["fqdn"] = hostname
    if labels.environment is not None:
        facts["environment"] = labels.environment
    with suppress(OSError):
        release = platform.freedesktop_os_release()
        facts |= {"platform": release["ID"], "platform_version": release.get("VERSION_ID", "")}
    with suppress(OSError, ValueError):
        facts["memory"] = {"total": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}kB"}
    if addresses := _addresses():
        facts |= {"ipaddress": addresses[0], "ipaddresses": addresses}
    return facts


def _addresses() -> list[str]:
    """The IPv4 addresses of this machine's interfaces, other than of the loopback, as the kernel has them."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not address.startswith("127.")]
