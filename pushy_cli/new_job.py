"""The request for a new job, made from what the command line says. Nothing is sent from here."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from attrs import frozen

from pushy_protocol.api import MAX_FILE_BYTES, MAX_NUMBER, InvalidRequest, JobRequest, decode_job_request, encode

_QUORUM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(%?)")


class UsageProblem(ValueError):
    """An option or argument that is wrong; the text names it and says what was expected."""


@frozen(kw_only=True)
class Draft:
    """A job but for its nodes, which may have to be asked for."""

    body: Mapping[str, Any]
    quorum: str | None = None

    @property
    def command(self) -> str:
        """What will be run."""
        return str(self.body["command"])

    def request(self, nodes: Sequence[str]) -> JobRequest:
        """The request, checked by the rules that the server has too; nodes that are named twice count once.

        :raise UsageProblem: something of it is wrong.
        """
        unique = tuple(dict.fromkeys(nodes))
        body = {**self.body, "nodes": unique}
        if self.quorum is not None:
            body["quorum"] = parse_quorum(self.quorum, len(unique))
        try:
            return decode_job_request(encode(body))
        except InvalidRequest as error:
            raise UsageProblem("; ".join(error.args)) from None
        except UnicodeEncodeError as error:
            raise UsageProblem(f"expected text in UTF-8, got {error.object!r}") from None


def make_draft(
    *,
    command: str,
    quorum: str | None = None,
    timeout: float | None = None,
    capture: bool = False,
    live: bool = False,
    output_limit: int | None = None,
    user: str | None = None,
    directory: str | None = None,
    env_json: str | None = None,
    env: Sequence[str] = (),
    file: Path | None = None,
) -> Draft:
    """A job without nodes; `file` is read, once.

    :param timeout: of the run, in seconds; None leaves it to the server
    :param live: what the command writes is collected, and sent as it comes
    :param output_limit: bytes of each channel that are kept; None leaves it to the server
    :param env_json: a JSON object of strings
    :param env: more of it, each ``NAME=VALUE``
    :param file: is sent along
    :raise UsageProblem: something of it is wrong.
    """
    if output_limit is not None and not (capture or live):
        raise UsageProblem("--output-limit: expected --capture or --live with it")
    given = {
        "run_timeout": timeout,
        "output_limit": output_limit,
        "user": user,
        "dir": directory,
        "env": _environment(env_json, env) if env or env_json is not None else None,
        "file": None if file is None else _file(file),
    }
    body: dict[str, Any] = {"command": command, "capture_output": "live" if live else capture}
    body.update((name, value) for name, value in given.items() if value is not None)
    Draft(body=body).request(["any"])
    if quorum is not None:
        parse_quorum(quorum, MAX_NUMBER)
    return Draft(body=body, quorum=quorum)


def parse_quorum(text: str, node_count: int) -> int:
    """How many nodes ``3`` or ``50%`` is, of that many; a part of a node is a whole one.

    :raise UsageProblem: it is neither, or more than there are.
    """
    match = _QUORUM.fullmatch(text.strip())
    if not match or ("." in match[1] and not match[2]):
        raise UsageProblem(f"--quorum: expected a number of nodes or a percentage such as 50%, got {text!r}")
    amount = Fraction(match[1])
    if match[2]:
        if amount > 100:
            raise UsageProblem(f"--quorum: expected at most 100%, got {text!r}")
        return ceil(amount * node_count / 100)
    if amount > node_count:
        raise UsageProblem(f"--quorum: {text} can never be reached by {node_count} node{'s' * (node_count != 1)}")
    return int(amount)


def _environment(text: str | None, more: Sequence[str]) -> dict[str, str]:
    environment = {} if text is None else _environment_of_json(text)
    for pair in more:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageProblem(f"--env: expected NAME=VALUE, got {pair!r}")
        if name in environment:
            raise UsageProblem(f"--env: expected every name once, got {name!r} twice")
        environment[name] = value
    return environment


def _environment_of_json(text: str) -> dict[str, str]:
    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in items]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageProblem(f"--with-env: expected every name once, got {twice!r} twice")
        return dict(items)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageProblem(f'--with-env: expected a JSON object such as {{"A": "1"}}: {error}') from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise UsageProblem('--with-env: expected a JSON object of strings, such as {"A": "1"}')
    return value


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageProblem(f"--file: {path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageProblem(f"--file: expected at most {MAX_FILE_BYTES} bytes, {path} has more")
    return f"base64:{base64.b64encode(data).decode()}"
