"""Which nodes are meant: names, ranges (``web[001-120]``), globs (``db*``), ``@file``, ``@group``, and a search.

Reading them needs no server; :func:`resolve` asks it for what globs and the search match. Ranges and groups are
ClusterShell's, which is imported only for a word that has some.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from pushy_cli.errors import USAGE, CliError
from pushy_cli.folding import natural_key
from pushy_cli.new_job import UsageProblem
from pushy_protocol.api import NodeState

MAX_NODES = 100_000
"""The most nodes that one word stands for, so that a slip (``web[1-999999999]``) does not eat the memory."""

MAX_FILE_BYTES = 10_000_000

_NOTATION = re.compile(r"[\[\],!&^]|^@")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?(?:/[0-9]+)?")


class NoNodes(CliError):
    """Nothing is left to run on or to look at."""

    status = USAGE


class NodeSource(Protocol):
    """What knows the nodes; see :class:`pushy_cli.api.PushServer`."""

    async def node_states(self) -> list[NodeState]: ...

    async def search(self, query: str) -> list[str]: ...


@frozen(kw_only=True)
class Words:
    """Names, and globs that stand for some."""

    names: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()

    def match(self, name: str) -> bool:
        """Whether the words mean this node."""
        return name in self.names or any(fnmatchcase(name, glob) for glob in self.globs)


@frozen(kw_only=True)
class Targets:
    """What the command line says of nodes."""

    included: Words
    excluded: Words = field(factory=Words)
    search: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said at all."""
        return not (self.included.names or self.included.globs or self.search)

    @property
    def is_known(self) -> bool:
        """Whether the nodes are known without asking the server."""
        return not (self.included.globs or self.search or self.excluded.names or self.excluded.globs)


def parse_targets(words: Sequence[str], *, exclude: Sequence[str] = (), search: str | None = None) -> Targets:
    """Read node words.

    :raise UsageProblem: one cannot be read, or its file.
    """
    return Targets(included=parse_words(words), excluded=parse_words(exclude), search=search)


async def resolve(targets: Targets, server: NodeSource) -> list[str]:
    """The names of the nodes, each once: those named in their order, then those of globs, then those found.

    :raise NoNodes: there are none.
    :raise CliError: the server cannot be asked.
    """
    names = list(targets.included.names)
    if targets.included.globs:
        seen = sorted((state.node_name for state in await server.node_states()), key=natural_key)
        for glob in targets.included.globs:
            matching = [name for name in seen if fnmatchcase(name, glob)]
            if not matching:
                raise NoNodes(f"No node that the server has seen matches {glob}", "See them with: pushy node status")
            names += matching
    if targets.search is not None:
        names += sorted(await server.search(targets.search), key=natural_key)
    left = [name for name in dict.fromkeys(names) if not targets.excluded.match(name)]
    if not left:
        why = (
            "The search found none"
            if targets.search and not names
            else "All are excluded"
            if names
            else "None is named"
        )
        raise NoNodes(
            f"There are no nodes: {why.lower()}", "Name nodes, or look for them with: pushy node search QUERY"
        )
    return left


def parse_words(words: Sequence[str]) -> Words:
    """Names and globs of node words; ``@PATH`` takes words from a file, one or more a line.

    :raise UsageProblem: one cannot be read.
    """
    names: list[str] = []
    globs: list[str] = []
    for word in words:
        file = Path(word[1:]) if word.startswith("@") else None
        if file is not None and len(word) > 1 and (file.exists() or "/" in word):
            inner = parse_words(_words_of(file))
            names += inner.names
            globs += inner.globs
            continue
        for name in _expand(word) if _NOTATION.search(word) else (word,):
            (globs if "*" in name or "?" in name else names).append(check_name(name))
    return Words(names=tuple(dict.fromkeys(names)), globs=tuple(dict.fromkeys(globs)))


def check_name(name: str) -> str:
    """The name itself; one that would change a URL's path is none.

    :raise UsageProblem: it is none.
    """
    if not name or name in {".", ".."} or len(name) > 255 or not name.isprintable():
        raise UsageProblem(f"{name!r} is no name of a node")
    return name


def _expand(word: str) -> list[str]:
    for piece in re.split(r",(?![^\[]*\])", word):
        if prod(_width(bracket) for bracket in re.findall(r"\[([^\]]*)\]", piece)) > MAX_NODES:
            raise UsageProblem(f"{word}: expected at most {MAX_NODES} nodes")
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    try:
        # Reading the groups' configuration is spared where none is named; globs are ours.
        names = list(NodeSet(word) if "@" in word else NodeSet(word, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise UsageProblem(f"{word}: {error}") from None
    if not names:
        raise UsageProblem(f"{word}: no such file or group of nodes" if "@" in word else f"{word}: means no node")
    return names


def _width(bracket: str) -> int:
    """How many numbers a bracket's content stands for, at most."""
    return sum(
        int(found[2]) - int(found[1]) + 1 if found[2] and int(found[2]) >= int(found[1]) else 1
        for found in _RANGE.finditer(bracket)
    )


def _words_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise UsageProblem(f"@{path}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"@{path}: expected names of nodes in UTF-8") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageProblem(f"@{path}: expected at most {MAX_FILE_BYTES} bytes")
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    if nested := next((word for word in words if word.startswith("@")), None):
        raise UsageProblem(f"@{path}: expected names of nodes in a file, got {nested}")
    return words
