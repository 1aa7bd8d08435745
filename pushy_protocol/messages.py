"""The bodies of the ZeroMQ messages: typed, tagged by ``type``, strictly decoded.

:func:`decode_from_node` and :func:`decode_from_server` take any bytes and give a message or raise
:class:`MessageError`, nothing else. Unknown keys are ignored (a later version may add some); unknown types, missing
keys and wrong shapes are refused (but the heartbeat channel has one type only, which may be left out). Neither
signatures (:mod:`envelope`) nor clocks are looked at here.

Server to node: `commit`, `run`, `abort`, `ack` on the command channel, `heartbeat` on the heartbeat channel.
Node to server: `heartbeat`, `ack_commit`, `nack_commit`, `ack_run`, `nack_run`, `succeeded`, `failed`, `aborted` and,
where both sides speak 3.0, `output`.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from pushy_protocol.states import AgentState
from pushy_protocol.timestamps import parse_rfc1123

PROTOCOL_VERSION = "2.0"
PROTOCOL_VERSION_3 = "3.0"

JOB_ID_BYTES = 64
"""The longest job id that a message may carry."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
JobId = Annotated[str, msgspec.Meta(max_length=JOB_ID_BYTES)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
ExitStatus = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Signal = Annotated[int, msgspec.Meta(ge=1, le=127)]
OutputLimit = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Channel = Literal["stdout", "stderr"]

CHUNK_BYTES = 32 * 1024
"""The most bytes of output that a message carries, before they are encoded."""


class MessageError(ValueError):
    """A body that is no message of the protocol; the text says what was expected."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every body has: when it was made (RFC 1123) and its place in the sender's order."""

    timestamp: str
    sequence: Counter


# Server to node


ALIVE_INTERVALS = 10
"""A server that offers `alive` says something to each node that it hears at least so often, in heartbeat intervals."""


class ServerHeartbeat(_Message, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """Published in clear on the heartbeat channel; `incarnation_id` changes when the server restarts."""

    server: str
    incarnation_id: str


class Commit(_Message, frozen=True, kw_only=True, tag_field="type", tag="commit"):
    """Will you run `command`? The optional keys are there only where the job gave them.

    To nodes that were offered `output` only: `output_limit`, bytes of each channel, and `live`, as soon as they come.
    """

    job_id: JobId
    server: str = ""
    command: str
    user: str | None = None
    dir: str | None = None
    env: dict[str, str] | None = None
    file: str | None = None
    capture: bool = False
    output_limit: OutputLimit | None = None
    live: bool = False


class Run(_Message, frozen=True, kw_only=True, tag_field="type", tag="run"):
    """Start the command that was committed to."""

    job_id: JobId


class Abort(_Message, frozen=True, kw_only=True, tag_field="type", tag="abort"):
    """End what you are doing and say `aborted`; without a job id (2.x) whatever it is."""

    job_id: JobId | None = None


class Ack(_Message, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """Your channel works; with a job id (3.0) its result, or its output up to `offsets`, is safely stored."""

    job_id: JobId | None = None
    offsets: dict[Channel, Counter] | None = None


# Node to server


class _FromNode(_Message, frozen=True, kw_only=True):
    """What every body of a node has. `client` is its host name, `incarnation_id` that of the agent's process."""

    node: Name
    client: str
    org: Name
    protocol_version: str
    incarnation_id: Annotated[str, msgspec.Meta(max_length=64)]
    job_id: JobId | None = None


class NodeHeartbeat(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """I am here, and this is what I am doing."""

    job_state: AgentState


class AckCommit(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="ack_commit"):
    """Yes, I will."""


class NackCommit(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="nack_commit"):
    """No, I will not; `reason` where both speak 3.0."""

    reason: str | None = None


class AckRun(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="ack_run"):
    """The command has been started."""


class NackRun(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="nack_run"):
    """The command could not be started."""

    reason: str | None = None


class OutputTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Of a channel that was captured, in bytes: the final length of what is kept, and what its middle lacks."""

    bytes: Counter
    dropped: Counter = 0


class Succeeded(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="succeeded"):
    """The command ended with status 0. When capturing `stdout` and `stderr`, or, where both speak 3.0, `output`."""

    stdout: str | None = None
    stderr: str | None = None
    output: dict[Channel, OutputTotal] | None = None


class Failed(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="failed"):
    """The command ended otherwise; 3.0 says how: `exit_status` or `signal`, and a `reason`."""

    stdout: str | None = None
    stderr: str | None = None
    output: dict[Channel, OutputTotal] | None = None
    reason: str | None = None
    exit_status: ExitStatus | None = None
    signal: Signal | None = None


class Aborted(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="aborted"):
    """I do nothing (any more)."""


class Output(_FromNode, frozen=True, kw_only=True, tag_field="type", tag="output"):
    """A piece of a running command's output (3.0); `data` is at most 32 KB, base64 on the wire."""

    job_id: JobId
    channel: Channel
    offset: Counter
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)]


ServerCommand = Commit | Run | Abort | Ack
NodeMessage = NodeHeartbeat | AckCommit | NackCommit | AckRun | NackRun | Succeeded | Failed | Aborted | Output

T = TypeVar("T")

# A union of types is no `type` to mypy, hence Any.
_node_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(NodeMessage)
_command_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ServerCommand)
_heartbeat_decoder = msgspec.json.Decoder(ServerHeartbeat)
_encoder = msgspec.json.Encoder()


def encode(message: ServerCommand | ServerHeartbeat | NodeMessage) -> bytes:
    """The JSON body of a message; keys that are None or False are left out, but for a node's `job_id`."""
    body = _encoder.encode(message)
    if isinstance(message, _FromNode) and message.job_id is None:
        return body[:-1] + b',"job_id":null}'
    return body


def decode_from_node(body: bytes) -> NodeMessage:
    """The message in a node's body.

    :raise MessageError: it is none.
    """
    message: NodeMessage = _decode(_node_decoder, body)
    _check(message.timestamp, message.job_id)
    return message


def decode_from_server(body: bytes) -> ServerCommand:
    """The message in a body from the server's command channel.

    :raise MessageError: it is none.
    """
    message: ServerCommand = _decode(_command_decoder, body)
    _check(message.timestamp, message.job_id)
    return message


def decode_heartbeat(body: bytes) -> ServerHeartbeat:
    """The message in a body from the server's heartbeat channel.

    :raise MessageError: it is none.
    """
    message = _decode(_heartbeat_decoder, body)
    _check(message.timestamp, None)
    return message


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(str(error) or type(error).__name__) from None


def _check(timestamp: str, job_id: str | None) -> None:
    try:
        parse_rfc1123(timestamp)
    except ValueError as error:
        raise MessageError(f"{error} - at `$.timestamp`") from None
    if job_id is not None and not job_id.isascii() and len(job_id.encode()) > JOB_ID_BYTES:
        raise MessageError(f"Expected `str` of at most {JOB_ID_BYTES} bytes - at `$.job_id`")
