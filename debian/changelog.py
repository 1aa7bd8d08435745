#!/usr/bin/python3
"""Makes debian/changelog from CHANGELOG.md; what is released there has its version, what is not yet the next one.

An unreleased version is marked by the time of the commit, so that each build is newer than those before it, and older
than the release: 0.2.0~20260131.1200. Usage: changelog.py ROOT SECONDS, where SECONDS since the epoch are that time.
"""

import re
import sys
import textwrap
import tomllib
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?\s*$", re.MULTILINE)
ENTRY = re.compile(r"^(?P<indent> *)- (?P<text>.*(?:\n(?! *- |#|\n).*)*)", re.MULTILINE)
MAINTAINER = re.compile(r"^Maintainer: (.*)$", re.MULTILINE)


def entries(section: str) -> str:
    """The list of a section, as Debian writes it."""
    return "".join(
        textwrap.fill(
            re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", lambda match: match[1] or "", " ".join(entry["text"].split())),
            width=80,
            initial_indent=f"  {entry['indent']}{'-' if entry['indent'] else '*'} ",
            subsequent_indent=f"    {entry['indent']}",
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
        for entry in ENTRY.finditer(section)
    )


def make(text: str, version: str, moment: datetime, maintainer: str) -> str:
    """The changelog.

    :param version: the one in pyproject.toml
    :param moment: of the commit
    """
    found = list(HEADING.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    parts = []
    for match, end in zip(found, ends, strict=True):
        released = match["date"] is not None
        date = datetime.fromisoformat(match["date"]).replace(hour=12, tzinfo=UTC) if released else moment
        name = match["name"] if released else f"{version}~{moment:%Y%m%d.%H%M}"
        body = entries(text[match.end() : end])
        if body:
            where = "stable" if released else "UNRELEASED"
            parts.append(
                f"pushy ({name}) {where}; urgency=medium\n\n{body}\n -- {maintainer}  {format_datetime(date)}\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    sys.stdout.write(
        make(
            (root / "CHANGELOG.md").read_text(encoding="utf-8"),
            tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
            datetime.fromtimestamp(int(sys.argv[2]), UTC),
            MAINTAINER.search((root / "debian" / "control").read_text(encoding="utf-8"))[1],
        )
    )
