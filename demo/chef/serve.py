"""The double as a process of its own: ``python -m demo.chef.serve DIRECTORY PORT``, with TLS on loopback.

In DIRECTORY are `world.json` (see :func:`world_from`), `tls-cert.pem` and `tls-key.pem`.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.python import log
from twisted.web.server import Site

from demo.chef.data import World
from demo.chef.server import ChefDouble

READY = "The Chef Server's double is ready"


def world_from(described: Mapping[str, Any]) -> World:
    """A world from its description: ``{"organizations": {NAME: {"clients": {NAME: PEM}, "nodes": [NODE, …],
    "groups": {NAME: {"users": […], …}}}}, "users": {NAME: {"key": PEM, "organizations": […], "admin": true}}}``.
    """
    world = World()
    for name, organization in described["organizations"].items():
        made = world.make_organization(name)
        for client, pem in organization["clients"].items():
            world.make_client(name, client, pem)
        made.nodes = {node["name"]: node for node in organization["nodes"]}
        for group, members in organization["groups"].items():
            world.make_group(name, group, **members)
    for name, user in described["users"].items():
        world.make_user(name, user["key"], member_of=tuple(user["organizations"]), admin=user["admin"])
    return world


def main(arguments: Sequence[str]) -> None:
    """Serve until it is ended."""
    from twisted.internet import reactor as the_reactor

    directory, port = Path(arguments[0]), int(arguments[1])
    log.startLogging(sys.stdout)
    world = world_from(json.loads((directory / "world.json").read_text(encoding="utf-8")))
    reactor: Any = the_reactor
    site = Site(ChefDouble(world, reactor=reactor, now=time.time))
    tls = ssl.DefaultOpenSSLContextFactory(str(directory / "tls-key.pem"), str(directory / "tls-cert.pem"))
    reactor.listenSSL(port, site, tls, interface="127.0.0.1")
    reactor.callWhenRunning(log.msg, READY)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
