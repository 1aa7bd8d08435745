"""The JSON shapes of the HTTP API: the job request and its checks, and what is answered.

Responses are msgspec Structs, encoded by :func:`encode`; both the server and the CLI use them. Paths, status codes
and headers belong to `pushyd.web`.
"""

import base64
import binascii
import json
import re
from collections import Counter
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar

import msgspec

MAX_BODY_BYTES = 1_000_000
"""The largest request body, in bytes."""

MAX_FILE_BYTES = 100_000
"""The largest decoded `file` of a job."""

MAX_NUMBER = 2**31 - 1
"""The largest number of seconds or nodes that a request may name; every timer and database holds it."""

_Number = int | float


class InvalidRequest(ValueError):
    """A request body that is refused; its arguments are texts that name the key and what was expected."""


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``POST pushy/jobs``; once checked, its node names are unique, in the order given.

    `run_timeout` is in seconds, None for the server's default; `quorum` counts nodes and is None for all of them;
    `output_limit` is in bytes of each channel. Output that is captured ``live`` is sent as it comes. Null is as good as
    not given.
    """

    command: Annotated[str, msgspec.Meta(min_length=1)]
    nodes: Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=255)], ...], msgspec.Meta(min_length=1)]
    run_timeout: _Number | None = None
    quorum: _Number | None = None
    user: str | None = None
    dir: str | None = None
    env: dict[str, str] | None = None
    file: str | None = None
    capture_output: bool | Literal["live"] = False
    output_limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class JobCreated(msgspec.Struct, frozen=True):
    """The answer to a job request: where the job is."""

    uri: str


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node's part in a job. Times are RFC 1123; `duration` is in seconds, from the start to the end."""

    status: str
    reason: str | None = None
    exit_status: int | None = None
    signal: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    duration: float | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as the API shows it: `nodes` maps a node status to sorted names; times are RFC 1123."""

    id: str
    command: str
    status: str
    run_timeout: _Number
    created_at: str
    updated_at: str
    nodes: dict[str, list[str]] | None = None
    user: str | None = None
    dir: str | None = None
    env: dict[str, str] | None = None
    capture_output: bool = False
    output: Literal["live"] | None = None
    output_limit: int | None = None
    file_specified: bool = False
    file: str | None = None
    reasons: dict[str, str] | None = None
    node_details: dict[str, NodeDetail] | None = None


class NodeState(msgspec.Struct, frozen=True):
    """What the server knows of a node's presence."""

    node_name: str
    status: Literal["online", "offline"]
    availability: Literal["available", "unavailable"]


class ServerStatus(msgspec.Struct, frozen=True):
    """The answer of ``_status``."""

    status: str
    incarnation_id: str
    node_fsm_count: int
    job_processes: list[str]


class HeartbeatConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how often heartbeats go; `interval` is in seconds, the thresholds in intervals."""

    out_addr: str
    command_addr: str
    interval: float
    offline_threshold: int = 3
    online_threshold: int = 2


class PushJobsConfig(msgspec.Struct, frozen=True):
    """The one section of a node's configuration."""

    heartbeat: HeartbeatConfig


class EncodedSessionKey(msgspec.Struct, frozen=True):
    """A session key, encrypted with the requestor's RSA public key (PKCS#1 v1.5), in base64."""

    method: str
    key: str


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="config"):
    """The answer of ``config/NODE``: all that an agent needs to speak with this server. Times are in seconds."""

    host: str
    node: str
    organization: str
    push_jobs: PushJobsConfig
    public_key: str
    curve_public_key: str
    encoded_session_key: EncodedSessionKey
    lifetime: int
    max_message_skew: int
    max_body_size: int
    incarnation_id: str
    extensions: list[str] | None = None


class NewClient(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST clients``; without a public key the server makes a pair."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,255}\Z")]
    public_key: str | None = None


class ClientCreated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a new client; `private_key` only where the server made the pair."""

    uri: str
    private_key: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error's body: a list of texts, or (413) one."""

    error: list[str] | str


T = TypeVar("T")


def encode(value: object) -> bytes:
    """The JSON of an answer."""
    return msgspec.json.encode(value)


def decode(body: bytes, shape: type[T]) -> T:
    """A JSON body as `shape`.

    :raise InvalidRequest: it is not JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidRequest(*_explain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"invalid JSON: {error}") from None


def decode_job_request(body: bytes) -> JobRequest:
    """The job request in a body, its nodes made unique.

    :raise InvalidRequest: it is none; nothing else is raised, whatever the bytes are.
    """
    request = decode(body, JobRequest)
    if request.run_timeout is not None and not 0 < request.run_timeout <= MAX_NUMBER:
        raise InvalidRequest(f"run_timeout: expected a number of seconds greater than 0, at most {MAX_NUMBER}")
    if request.quorum is not None and not 0 <= request.quorum <= MAX_NUMBER:
        raise InvalidRequest(f"quorum: expected a number of nodes from 0 to {MAX_NUMBER}")
    if request.env is not None:
        _check_env(request.env, body)
    if request.file is not None:
        decode_file(request.file)
    # No command line, environment or database holds a NUL.
    for key, texts in {
        "command": [request.command],
        "nodes": request.nodes,
        "user": [request.user or ""],
        "dir": [request.dir or ""],
        "env": chain.from_iterable((request.env or {}).items()),
    }.items():
        if "\0" in "".join(texts):
            raise InvalidRequest(f"{key}: expected no NUL characters")
    return msgspec.structs.replace(request, nodes=tuple(dict.fromkeys(request.nodes)))


def decode_file(text: str) -> bytes:
    """The content of a job's `file`: ``raw:TEXT`` or ``base64:…``.

    :raise InvalidRequest: it is neither, or is over :data:`MAX_FILE_BYTES`.
    """
    kind, colon, content = text.partition(":")
    if kind + colon == "raw:":
        data = content.encode()
    elif kind + colon == "base64:":
        try:
            data = base64.b64decode(re.sub(r"\s", "", content), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest("file: expected base64 after 'base64:'") from None
    else:
        raise InvalidRequest("file: expected a string that begins with 'raw:' or 'base64:'")
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(f"file: expected at most {MAX_FILE_BYTES} bytes, got {len(data)}")
    return data


def _check_env(env: dict[str, str], body: bytes) -> None:
    if any(not name or "=" in name for name in env):
        raise InvalidRequest("env: expected names of environment variables, without '='")
    # msgspec keeps the last of two equal keys without a word, so the standard library looks for them: with this hook
    # an object is the list of its pairs.
    request: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=list)
    for key, pairs in request:
        if key == "env" and pairs:
            name, times = Counter(name for name, _ in pairs).most_common(1)[0]
            if times > 1:
                raise InvalidRequest(f"env: expected every key once, got {name!r} {times} times")


_CHOICES = {"capture_output": 'true, false or "live"'}
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`", re.DOTALL)
_AT = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_QUOTED = re.compile(r"`([^`]*)`")
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _explain(error: msgspec.ValidationError) -> list[str]:
    """Msgspec's words in JSON's, with the key in front: ``nodes: expected a list, got a string``."""
    text = str(error)
    if unknown := _UNKNOWN_FIELD.search(text):
        return ["invalid key supplied", f"{unknown[1]}: expected no such key"]
    for key, choices in _CHOICES.items():
        if text.endswith(f" - at `$.{key}`"):
            return [f"{key}: expected {choices}"]
    at = _AT.search(text)
    said = text[: at.start()] if at else text
    if said.startswith("Object missing required field"):
        at, said = _QUOTED.search(said), "Expected it to be given, got nothing"
    said = _QUOTED.sub(_in_words, said)
    said = said[:1].lower() + said[1:]
    return [f"{at[1]}: {said}" if at and at[1] else said]


def _in_words(quoted: re.Match[str]) -> str:
    kinds = quoted[1].replace("int | float", "float").removesuffix(" | null").split(" | ")
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds)
