"""Jobs in the words of the command channel: what a commit says, and what a node's answer means."""

from collections.abc import Mapping
from typing import Any

from pushy_protocol import messages
from pushyd.domain.job import JobSpec
from pushyd.domain.tables import NodeEvent
from pushyd.store.interface import NO_DETAIL, NodeDetail

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
        **({"output_limit": spec.output_limit} if spec.output_limit is not None else {}),
        **({"live": True} if spec.live else {}),
    }


_SUCCEEDED = NodeDetail(exit_status=0)


def detail_of(message: messages.NodeMessage) -> NodeDetail:
    """How a command ended, or why a node refused, as far as it says; without times."""
    match message:
        case messages.AckCommit() | messages.AckRun():
            return NO_DETAIL
        case messages.Succeeded():
            return _SUCCEEDED
        case messages.NackCommit(reason=str(reason)) | messages.NackRun(reason=str(reason)) if reason:
            return NodeDetail(reason=reason[:_REASON_LENGTH])
        case messages.Failed(reason=reason, exit_status=status, signal=signal):
            return NodeDetail(reason=_reason_of_end(reason, status, signal), exit_status=status, signal=signal)
    return NO_DETAIL


def _reason_of_end(reason: str | None, exit_status: int | None, signal: int | None) -> str | None:
    if reason:
        return reason[:_REASON_LENGTH]
    if signal is not None:
        return f"signal {signal}"
    return None if exit_status is None else f"exit status {exit_status}"
