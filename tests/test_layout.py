"""The layout of the design, held over the syntax trees: who imports whom, and what is packaged.

A rule says what the modules below some name may not import. An import inside a function counts as one at the top, but
for the reactor's, which is wrong only where it is installed by the mere import of a module.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import field, frozen

ROOT = Path(__file__).parent.parent
PROGRAMS = ("pushyd", "pushy_agent", "pushy_cli")
PACKAGES = ("pushy_protocol", *PROGRAMS)


@frozen(kw_only=True)
class Import:
    """One name that a module imports, in full: ``from a.b import c`` is ``a.b.c``."""

    name: str
    line: int
    is_at_top: bool


@frozen(kw_only=True)
class Rule:
    """What modules may not import. Each name stands for itself and for what is below it; ``*`` for everything."""

    why: str
    who: tuple[str, ...]
    may_not: tuple[str, ...]
    but: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    only_at_top: bool = field(default=False)

    def breaches(self, module: str, imports: list[Import]) -> Iterator[str]:
        if not is_below(module, self.who) or is_below(module, self.exempt):
            return
        for found in imports:
            if self.only_at_top and not found.is_at_top:
                continue
            if is_below(found.name, self.may_not) and not is_below(found.name, self.but):
                yield f"{module}:{found.line} imports {found.name}: {self.why}"


def is_below(name: str, parents: tuple[str, ...]) -> bool:
    return any(parent == "*" or name == parent or name.startswith(f"{parent}.") for parent in parents)


STANDARD_LIBRARY = tuple(sys.stdlib_module_names)
COMPOSITION = ("pushyd.app", "pushyd.ctl", "pushyd.identity_backend")

RULES = [
    Rule(
        why="the contract imports none of the programs",
        who=("pushy_protocol",),
        may_not=PROGRAMS,
    ),
    *(
        Rule(
            why="the programs never import each other",
            who=(program,),
            may_not=tuple(other for other in PROGRAMS if other != program),
        )
        for program in PROGRAMS
    ),
    Rule(
        why="of the contract, only what connects imports Twisted",
        who=("pushy_protocol",),
        may_not=("twisted", "txzmq"),
        exempt=("pushy_protocol.https", "pushy_protocol.tls", "pushy_protocol.zeromq"),
    ),
    Rule(
        why="the domain imports the standard library, attrs and the names of statuses",
        who=("pushyd.domain",),
        may_not=("*",),
        but=(*STANDARD_LIBRARY, "attr", "attrs", "pushy_protocol.states", "pushyd.domain"),
    ),
    Rule(
        why="the store imports of the server the domain",
        who=("pushyd.store",),
        may_not=("pushyd",),
        but=("pushyd.domain", "pushyd.store"),
    ),
    Rule(
        why="identity imports of the server the domain and the store's interface",
        who=("pushyd.identity",),
        may_not=("pushyd",),
        but=("pushyd.domain", "pushyd.identity", "pushyd.store.interface"),
    ),
    Rule(
        why="only the composition root sees concrete classes",
        who=("pushyd",),
        may_not=("pushyd.store", "pushyd.identity.local", "pushyd.identity.chef_server"),
        but=("pushyd.store.interface", "pushyd.store.output_interface"),
        exempt=(*COMPOSITION, "pushyd.store"),
    ),
    Rule(
        why="web and broker import services, and neither each other nor what is above them",
        who=("pushyd.web",),
        may_not=("pushyd.broker", "pushyd.tap", *COMPOSITION),
    ),
    Rule(
        why="web and broker import services, and neither each other nor what is above them",
        who=("pushyd.broker",),
        may_not=("pushyd.web", "pushyd.identity", "pushyd.tap", *COMPOSITION),
    ),
    Rule(
        why="services import the domain and Protocols",
        who=("pushyd.jobs", "pushyd.nodes", "pushyd.feeds"),
        may_not=("pushyd.web", "pushyd.broker", "pushyd.identity", "pushyd.tap", *COMPOSITION),
    ),
    Rule(
        why="the reactor is a parameter",
        who=("*",),
        may_not=("twisted.internet.reactor",),
        only_at_top=True,
    ),
    Rule(
        why="coroutines return values, and twisted.logger logs",
        who=("*",),
        may_not=("twisted.internet.defer.returnValue", "twisted.internet.defer.inlineCallbacks", "twisted.python.log"),
    ),
]


def imports_of(module: str, source: str, *, is_package: bool = False) -> list[Import]:
    """What a module's source imports, relative imports resolved."""
    found: list[Import] = []

    def visit(node: ast.AST, is_at_top: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
            base = ".".join([*(parent if node.level else []), *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, is_at_top and not is_function)
            return
        found.extend(Import(name=name, line=node.lineno, is_at_top=is_at_top) for name in names)

    visit(ast.parse(source), is_at_top=True)
    return found


def breaches(module: str, source: str, *, is_package: bool = False) -> list[str]:
    imports = imports_of(module, source, is_package=is_package)
    return [breach for rule in RULES for breach in rule.breaches(module, imports)]


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the packages and every plugin, by its name."""
    for package in (*PACKAGES, "twisted"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = list(modules())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_the_imports_keep_the_rules(module: str, path: Path) -> None:
    assert breaches(module, path.read_text(), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pushy_protocol.api", "import pushyd"),
        ("pushy_protocol.api", "from pushy_cli import main"),
        ("pushy_protocol.api", "from twisted.logger import Logger"),
        ("pushyd.jobs", "import pushy_agent.job"),
        ("pushy_agent.app", "from pushyd.app import make"),
        ("pushy_cli.main", "from pushyd import config"),
        ("pushy_cli.main", "def f():\n    from pushy_agent import app"),
        ("pushyd.domain.job", "import msgspec"),
        ("pushyd.domain.job", "from twisted.internet.defer import Deferred"),
        ("pushyd.domain.job", "from pushy_protocol.messages import Commit"),
        ("pushyd.domain.job", "from pushy_protocol import messages"),
        ("pushyd.domain.job", "from pushyd.store.interface import Store"),
        ("pushyd.domain.job", "from ..store import interface"),
        ("pushyd.store.sql", "from pushyd.jobs import JobService"),
        ("pushyd.store.sql", "from ..config import Settings"),
        ("pushyd.store.sql", "if TYPE_CHECKING:\n    from pushyd.config import Settings"),
        ("pushyd.identity.local", "from pushyd.store.sql import SqlStore"),
        ("pushyd.identity.local", "from pushyd.store import sql"),
        ("pushyd.web.jobs", "from pushyd.store.sql import SqlStore"),
        ("pushyd.web.jobs", "from pushyd.identity import local"),
        ("pushyd.web.jobs", "from pushyd.broker.command import CommandChannel"),
        ("pushyd.broker.command", "from pushyd.identity.local import LocalIdentity"),
        ("pushyd.broker.command", "from pushyd.app import make"),
        ("pushyd.jobs", "from pushyd.store.schema import jobs"),
        ("pushyd.nodes", "from pushyd.broker.command import CommandChannel"),
        ("pushyd.tap", "from pushyd.store.sql import SqlStore"),
        ("pushyd.app", "from twisted.internet import reactor"),
        ("pushyd.app", "try:\n    import twisted.internet.reactor\nfinally:\n    pass"),
        ("pushy_cli.main", "class A:\n    from twisted.internet import reactor"),
        ("pushy_cli.main", "from twisted.internet.defer import returnValue"),
        ("pushy_agent.app", "from twisted.python import log"),
        ("pushy_agent.app", "def f():\n    import twisted.python.log"),
        ("twisted.plugins.pushyd_plugin", "from twisted.internet import reactor"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(breaches(module, source)) >= 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pushy_protocol.zeromq", "from twisted.logger import Logger\nimport txzmq"),
        ("pushy_protocol.api", "from pushy_protocol.timestamps import format_rfc1123"),
        ("pushyd.domain.job", "import enum\nfrom attrs import frozen\nfrom collections.abc import Mapping"),
        ("pushyd.domain.job", "from pushy_protocol.states import JobStatus\nfrom .effects import Send"),
        ("pushyd.store.sql", "from pushyd.domain.job import Job\nfrom .interface import Store\nimport sqlalchemy"),
        ("pushyd.identity.local", "from pushyd.store.interface import Store\nfrom pushyd.store import interface"),
        ("pushyd.web.jobs", "from pushyd.jobs import JobService\nfrom pushyd.identity.interface import Caller"),
        ("pushyd.broker.command", "from pushyd.store.interface import Store"),
        ("pushyd.app", "from pushyd.store.sql import SqlStore\nfrom pushyd.identity.local import LocalIdentity"),
        ("pushyd.tap", "def main():\n    from twisted.internet import reactor"),
        ("pushyd.jobs", "from twisted.python.logfile import LogFile\nfrom twisted.internet import defer"),
        ("pushyd_extras.jobs", "import pushyd_other"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert breaches(module, source) == []


@pytest.mark.parametrize(
    ("module", "is_package", "source", "name"),
    [
        ("a.b", False, "import c.d as e", "c.d"),
        ("a.b", False, "from c import d as e", "c.d"),
        ("a.b", False, "from . import c", "a.c"),
        ("a.b", False, "from .c import d", "a.c.d"),
        ("a.b.c", False, "from ..d import e", "a.d.e"),
        ("a.b", True, "from . import c", "a.b.c"),
        ("a.b", True, "from .c import d", "a.b.c.d"),
        ("a.b", True, "from .. import c", "a.c"),
    ],
)
def test_what_an_import_names(module: str, is_package: bool, source: str, name: str) -> None:
    assert [found.name for found in imports_of(module, source, is_package=is_package)] == [name]


def test_the_packages_are_found() -> None:
    assert {module.partition(".")[0] for module, _ in MODULES} == {*PACKAGES, "twisted"}


def test_twisted_is_not_hidden() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def test_every_package_is_installed() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = metadata["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for _, path in MODULES}
    assert sorted(listed) == sorted(found)
