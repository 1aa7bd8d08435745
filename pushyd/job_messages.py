"""Jobs in the words of the command channel: what a commit says, and what a node's answer means."""

from collections.abc import Mapping
from typing import Any

from pushy_protocol import messages
from pushyd.domain.job import JobSpec
from pushyd.domain.tables import NodeEvent

_REASON_LENGTH = 500

NODE_EVENTS: Mapping[type[messages.NodeMessage], NodeEvent] = {
    messages.AckCommit: NodeEvent.ACK_COMMIT,
    messages.NackCommit: NodeEvent.NACK_COMMIT,
    messages.AckRun: NodeEvent.ACK_RUN,
    messages.NackRun: NodeEvent.NACK_RUN,
    messages.Succeeded: NodeEvent.SUCCEEDED,
    messages.Failed: NodeEvent.FAILED,
    messages.Aborted: NodeEvent.ABORTED,
}


def commit_fields(spec: JobSpec) -> dict[str, Any]:
    """The fields of a job's commit."""
    return {
        "job_id": spec.id,
        "command": spec.command,
        "user": spec.user,
        "dir": spec.dir,
        "env": spec.env,
        "file": spec.file,
        "capture": spec.capture,
    }


def reason_of(message: messages.NodeMessage) -> str | None:
    """Why a node refused or failed, as far as it says."""
    match message:
        case messages.NackCommit() | messages.NackRun():
            said = message.reason
        case messages.Failed(reason=None, signal=int(signal)):
            said = f"signal {signal}"
        case messages.Failed(reason=None, exit_status=int(status)):
            said = f"exit status {status}"
        case messages.Failed():
            said = message.reason
        case _:
            said = None
    return said[:_REASON_LENGTH] if said else None
