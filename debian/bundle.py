#!/usr/bin/python3
"""Deals the virtual environment out to the packages: run by debian/rules, over what pip has installed.

First what no program needs is taken out: pip, tests, sources of C, what pip keeps for itself. Then every library goes
to the package of the one program that needs it, and to pushy-common if several do; which those are is read from the
imports of our packages and from what the libraries say that they require. The licences of a package's libraries are
written behind our own. It uses Debian's Python and the standard library only.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path("debian")
VENV = Path("usr/lib/pushy")
SITE = VENV / "lib/python3.11/site-packages"
COMMON = "pushy-common"
OWNERS = {"pushyd": "pushyd", "pushy_agent": "pushy-agent", "pushy_cli": "pushy-cli", "pushy_protocol": COMMON}
"""Whose package each of our own packages is."""

PROGRAMS = {
    "pushyd": ["pushyd", "pushyd-ctl"],
    "pushy-agent": ["pushy-agent", "pushy-client", "push-jobs-client"],
    "pushy-cli": ["pushy"],
}

# pycparser reads C; cffi wants it only where an extension is made.
NOT_RUN = {"pip", "setuptools", "pycparser"}
# Found by name while they run, and imported nowhere.
DYNAMIC = {"pushyd": {"psycopg-binary"}}
# Of Twisted, what speaks protocols that nobody here speaks, and what finds it by its name.
UNUSED = (
    *(f"twisted/{name}/" for name in ("conch", "mail", "pair", "positioning", "trial", "words")),
    *(f"twisted/plugins/{name}.py" for name in ("cred_sshkeys", "twisted_conch", "twisted_mail", "twisted_trial")),
    "twisted/plugins/twisted_words.py",
)
JUNK_DIRECTORIES = {"__pycache__", "test", "tests", "newsfragments"}
JUNK_SUFFIXES = {".c", ".h", ".pxd", ".pyi", ".pyx", ".exe"}
# Left in place: the machinery of tests that is imported by what is not.
NOT_JUNK = {"sqlalchemy/testing"}

WITHIN = {
    "cryptography": "It contains OpenSSL (Apache-2.0) and crates of Rust (MIT or Apache-2.0).",
    "psycopg-binary": "It contains libpq (PostgreSQL), OpenSSL (Apache-2.0), MIT Kerberos (MIT), OpenLDAP (OLDAP-2.8), "
    "Cyrus SASL (BSD-4-Clause), keyutils and libcom_err (LGPL-2.1, MIT), libselinux (public domain) and PCRE (BSD).",
    "pyyaml": "It contains libyaml (MIT).",
}
COMMON_LICENSES = [
    (r"Apache License\s+Version 2\.0", "Apache-2.0"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3", "LGPL-3"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 2\.1", "LGPL-2.1"),
    (r"Mozilla Public License,? [Vv]ersion 2\.0", "MPL-2.0"),
]


def canonical(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Distribution]:
    """What pip has installed, without ourselves."""
    found = {canonical(one.metadata["Name"]): one for one in distributions(path=[str(ROOT / COMMON / SITE)])}
    del found["pushy"]
    return found


def imported(package: Path) -> set[str]:
    """The names at the top of what a package imports."""
    names: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names


def files(distribution: Distribution) -> list[Path]:
    """The files of a distribution below site-packages."""
    return [Path(str(path)) for path in distribution.files or () if ".." not in path.parts]


def required(distribution: Distribution) -> Iterator[str]:
    """What a distribution requires here, without its extras."""
    for requirement in distribution.requires or ():
        if "extra ==" not in requirement.partition(";")[2]:
            yield canonical(re.match(r"[A-Za-z0-9._-]+", requirement)[0])


def needs() -> dict[str, set[str]]:
    """The libraries that each Debian package's own code needs, and what those need."""
    libraries = installed()
    modules = {path.parts[0].removesuffix(".py"): name for name, one in libraries.items() for path in files(one)}
    found: dict[str, set[str]] = {}
    for package, owner in OWNERS.items():
        wanted = {modules[name] for name in imported(Path(package)) if name in modules} | DYNAMIC.get(owner, set())
        closed: set[str] = set()
        while wanted:
            name = wanted.pop()
            closed.add(name)
            wanted |= {other for other in required(libraries[name]) if other in libraries} - closed - NOT_RUN
        found[owner] = closed
    return found


def deal() -> dict[str, str]:
    """The Debian package of each library."""
    needed = needs()
    owners: dict[str, str] = {}
    for name in installed():
        users = [owner for owner, names in needed.items() if name in names]
        if users:
            owners[name] = users[0] if len(users) == 1 else COMMON
    return owners


def move(path: Path, owner: str) -> None:
    """Move a file of the virtual environment into a package."""
    target = ROOT / owner / path
    target.parent.mkdir(parents=True, exist_ok=True)
    (ROOT / COMMON / path).rename(target)


def split() -> None:
    """Give each package its part of the virtual environment, and leave out what is nobody's."""
    owners = deal()
    for name, distribution in installed().items():
        owner = owners.get(name)
        for path in files(distribution):
            here = ROOT / COMMON / SITE / path
            if not here.exists():
                continue
            if owner is None or is_junk(path):
                here.unlink()
            elif owner != COMMON:
                move(SITE / path, owner)
    for package, owner in OWNERS.items():
        for path in sorted((ROOT / COMMON / SITE / package).rglob("*")) if owner != COMMON else ():
            if path.is_file() and not is_junk(path.relative_to(ROOT / COMMON / SITE)):
                move(path.relative_to(ROOT / COMMON), owner)
    for package, plugin in (("pushyd", "pushyd"), ("pushy-agent", "pushy_agent")):
        move(SITE / f"twisted/plugins/{plugin}_plugin.py", package)


def is_junk(path: Path) -> bool:
    """Whether no program needs a file of site-packages."""
    if any(str(path).startswith(f"{kept}/") for kept in NOT_JUNK) and path.suffix == ".py":
        return False
    if str(path).startswith(UNUSED):
        return True
    if path.parts[0].endswith(".dist-info"):
        return path.name not in {"METADATA", "entry_points.txt"}
    return bool(JUNK_DIRECTORIES & set(path.parts[:-1])) or path.suffix in JUNK_SUFFIXES


def clean() -> None:
    """Remove what is left of directories, caches and programs."""
    site = ROOT / COMMON / SITE
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name == "__pycache__" or (path.parent == site and re.match(r"(pip|setuptools)\b", path.name)):
                shutil.rmtree(path)
            elif not any(path.iterdir()):
                path.rmdir()
        elif is_junk(path.relative_to(site)) or (path.parent == site and path.suffix == ".pth"):
            path.unlink()
    (site / "distutils-precedence.pth").unlink(missing_ok=True)
    for path in (ROOT / COMMON / VENV).iterdir():
        if path.name not in {"bin", "lib", "pyvenv.cfg"}:
            path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)


def programs() -> None:
    """Put our programs into /usr/bin, and keep of the others Python and twistd."""
    binaries = ROOT / COMMON / VENV / "bin"
    for owner, names in PROGRAMS.items():
        directory = ROOT / owner / "usr/bin"
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            lines = (binaries / name).read_text().splitlines(keepends=True)
            (directory / name).write_text("".join([f"#!/{VENV}/bin/python -I\n", *lines[1:]]))
            (directory / name).chmod(0o755)
    for path in binaries.iterdir():
        if path.name not in {"python", "python3", "twistd"}:
            path.unlink()
    twistd = binaries / "twistd"
    twistd.write_text("".join([f"#!/{VENV}/bin/python\n", *twistd.read_text().splitlines(keepends=True)[1:]]))


def write_licenses() -> None:
    """Write the licence of each library into the copyright of its package, which dh_installdocs has put there."""
    libraries = installed()
    for name, owner in sorted(deal().items()):
        with (ROOT / owner / "usr/share/doc" / owner / "copyright").open("a", encoding="utf-8") as copyright_file:
            copyright_file.write(f"\n{stanza(name, libraries[name])}")


def stanza(name: str, distribution: Distribution) -> str:
    """A library's paragraph of debian/copyright."""
    tops = {path.parts[0] for path in files(distribution) if not re.search(r"\.dist-info$|^__", path.parts[0])}
    texts = license_texts(distribution)
    if not texts:
        raise SystemExit(f"{name}: no licence was found; see debian/bundle.py")
    copyrights = [
        line.strip(" #*.\t")
        for text in texts
        for line in text.splitlines()
        if re.match(r"[\s#*]*(copyright\b|\(c\)).*\d{4}", line, re.IGNORECASE)
    ]
    metadata = distribution.metadata
    said = metadata["License-Expression"] or next(
        (one.rpartition(":: ")[2] for one in metadata.get_all("Classifier") or () if one.startswith("License ::")), None
    )
    authors = metadata["Author"] or metadata["Author-email"] or metadata["Maintainer"] or f"The authors of {name}"
    short = re.sub(r"[^A-Za-z0-9.+-]+", "-", (said or "as-follows").replace(" OR ", " or ")).strip("-")
    lines = [
        "Files: " + "\n ".join(f"/{SITE}/{top}*" for top in sorted(tops)),
        "Copyright: " + "\n ".join(dict.fromkeys(copyrights or [authors])),
        *([f"Comment: {WITHIN[name]}"] if name in WITHIN else []),
        f"License: {short}-{name}",
        *(f" {line.rstrip()}" if line.strip() else " ." for text in texts for line in text.strip().splitlines()),
    ]
    return "\n".join(lines) + "\n"


def license_texts(distribution: Distribution) -> list[str]:
    """Its licence; what Debian has in /usr/share/common-licenses is only named."""
    site = ROOT / COMMON / SITE
    named = [path for path in files(distribution) if re.search(r"(?i)licen[cs]e|copying|notice", path.name)]
    texts = [(site / path).read_text(errors="replace") for path in named if path.suffix not in {".py", ".pyc"}]
    if not texts:  # it may stand at the head of its modules
        heads = ((site / path).read_text() for path in files(distribution) if path.suffix == ".py")
        texts = [match[0] for head in heads if (match := re.match(r"(#.*\n)+", head)) and "opyright" in match[0]][:1]
    return [shortened(text) for text in dict.fromkeys(texts)]


def shortened(text: str) -> str:
    """A licence's text, or where Debian has it."""
    for pattern, name in COMMON_LICENSES:
        if len(text) > 2000 and re.search(pattern, text[:2000]):
            return f"On Debian systems the complete text of this licence is in /usr/share/common-licenses/{name}.\n"
    return text


if __name__ == "__main__":
    write_licenses()
    split()
    programs()
    clean()
