"""What is left of many changes."""

from hypothesis import given
from hypothesis import strategies as st

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.store.changes import coalesce
from pushyd.store.interface import AbortRequest, Change, FeedText, JobStatusChange, NodeStatusChange
from pushyd.store.output_interface import OutputCaptured

few_jobs = st.sampled_from(["j1", "j2"])
few_nodes = st.sampled_from(["n1", "n2", "j1"])
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(JobStatusChange, job_id=few_jobs, status=st.sampled_from(JobStatus), at=st.integers(0, 9)),
    st.builds(NodeStatusChange, job_id=few_jobs, node=few_nodes, status=st.sampled_from(NodeStatus)),
    st.builds(OutputCaptured, job_id=few_jobs, node=few_nodes, stdout=st.binary(max_size=2), stderr=st.none()),
    st.builds(AbortRequest, job_id=few_jobs),
    st.builds(FeedText, job_id=few_jobs, first=st.integers(1, 9), text=st.binary(max_size=2)),
)


def left_behind(all_changes: list[Change]) -> tuple[dict[object, Change], dict[object, Change], dict[str, bytes]]:
    """The plain way: the last change of each thing, the first output of each node, the whole of each feed."""
    statuses: dict[object, Change] = {}
    outputs: dict[object, Change] = {}
    feeds: dict[str, bytes] = {}
    for change in all_changes:
        if isinstance(change, OutputCaptured):
            outputs.setdefault((change.job_id, change.node), change)
        elif isinstance(change, FeedText):
            feeds[change.job_id] = feeds.get(change.job_id, b"") + change.text
        else:
            statuses[type(change), change.job_id, getattr(change, "node", None)] = change
    return statuses, outputs, feeds


@given(st.lists(changes))
def test_it_leaves_the_same_behind(all_changes: list[Change]) -> None:
    assert left_behind(coalesce(all_changes)) == left_behind(all_changes)


@given(st.lists(changes))
def test_no_status_twice(all_changes: list[Change]) -> None:
    left = [change for change in coalesce(all_changes) if not isinstance(change, OutputCaptured)]
    assert len(left) == len({(type(change), change.job_id, getattr(change, "node", None)) for change in left})


@given(st.lists(changes))
def test_one_piece_of_each_feed_which_begins_where_the_first_did(all_changes: list[Change]) -> None:
    left = [change for change in coalesce(all_changes) if isinstance(change, FeedText)]
    firsts = {change.job_id: change.first for change in reversed(all_changes) if isinstance(change, FeedText)}
    assert {piece.job_id: piece.first for piece in left} == firsts
    assert len(left) == len(firsts)


@given(st.lists(changes))
def test_again_changes_nothing(all_changes: list[Change]) -> None:
    assert coalesce(coalesce(all_changes)) == coalesce(all_changes)
