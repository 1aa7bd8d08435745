"""What ``knife push`` does on the API, and the reading of feeds: sections 3 and 7 of protocol.md.

Written from that page alone. An answer that is not the one of a success is an AssertionError that shows it.
"""

import http.client
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from tests.integration.signed_http_2x import Answer, Api, Principal

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z")
PATIENCE_SECONDS = 8.0


@frozen(kw_only=True)
class Event:
    """An event of a feed; `data` without its `timestamp`, which the feed has checked."""

    name: str
    id: str
    data: dict[str, Any]


@frozen(kw_only=True)
class Comment:
    """A line that only keeps the connection alive."""

    text: str


@frozen(kw_only=True)
class End:
    """The feed is over: closed by the server, or (`error`) not what the contract says."""

    error: Exception | None = None


class Feed:
    """A feed, read by a thread of its own from the moment that its headers are there, until it is closed."""

    def __init__(self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse) -> None:
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._connection = connection
        self._response = response
        assert isinstance(connection.sock, socket.socket)
        self._socket = connection.sock
        self._socket.settimeout(None)
        self._read: queue.SimpleQueue[Event | Comment | End] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._thread.is_alive():
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
        self._response.close()
        self._connection.close()

    def take(self, within: float = PATIENCE_SECONDS) -> Event | Comment | End:
        """Whatever comes next; AssertionError when nothing comes `within` so many seconds."""
        try:
            return self._read.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"the feed said nothing within {within} s") from None

    def next(self, within: float = PATIENCE_SECONDS) -> Event:
        """The next event."""
        end = time.monotonic() + within
        while isinstance(taken := self.take(max(0.0, end - time.monotonic())), Comment):
            pass
        assert isinstance(taken, Event), f"the feed ended: {taken}"
        return taken

    def until(self, name: str, within: float = PATIENCE_SECONDS, **data: object) -> list[Event]:
        """The next events up to the one called `name` that has `data` in it."""
        seen: list[Event] = []
        while True:
            try:
                event = self.next(within)
            except AssertionError as error:
                raise AssertionError(f"no {name} with {data} after {seen}: {error}") from None
            seen.append(event)
            if event.name == name and data.items() <= event.data.items():
                return seen

    def rest(self, within: float = PATIENCE_SECONDS) -> list[Event]:
        """The events from here until the server closes the feed."""
        seen = []
        while not isinstance(taken := self.take(within), End):
            if isinstance(taken, Event):
                seen.append(taken)
        assert taken.error is None, f"{taken.error!r} after {seen}"
        return seen

    def _run(self) -> None:
        error: Exception | None = None
        try:
            for block in self._blocks():
                self._read.put(block)
        except Exception as raised:  # told to the test, whatever it is
            error = raised
        self._read.put(End(error=error))

    def _blocks(self) -> Iterator[Event | Comment]:
        last = ""
        lines: list[str] = []
        while raw := self._response.readline():
            line = raw.decode()
            assert line.endswith("\n"), f"the feed was cut off after {line!r}"
            line = line.removesuffix("\n")
            if line:
                lines.append(line)
            elif len(lines) == 1 and lines[0].startswith(":"):
                yield Comment(text=lines.pop())
            elif lines:
                event, timestamp = _event(lines)
                assert timestamp > last, f"{timestamp!r} comes after {last!r}"
                last = timestamp
                lines = []
                yield event
        assert not lines, f"the feed ended within an event: {lines}"


def _event(lines: Sequence[str]) -> tuple[Event, str]:
    fields = dict(line.split(": ", 1) for line in lines)
    assert list(fields) == ["event", "id", "data"], lines
    data = json.loads(fields["data"])
    timestamp = data.pop("timestamp")
    assert _TIMESTAMP.fullmatch(timestamp), timestamp
    return Event(name=fields["event"], id=fields["id"], data=data), timestamp


class Knife:
    """A user at a workstation."""

    def __init__(self, api: Api, principal: Principal, organization: str) -> None:
        self.api = api
        self.principal = principal
        self.prefix = f"/organizations/{organization}"

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A signed request below the organization; the answer, whichever it is."""
        encoded = b"" if body is None else json.dumps(body).encode()
        return self.api.request(self.principal, method, self.prefix + path, encoded, headers)

    def get(self, path: str) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json()

    def start(self, command: str, nodes: Sequence[str], **options: object) -> str:
        """Start a job (`options` as the request has them); its id."""
        answer = self.ask("POST", "/pushy/jobs", {"command": command, "nodes": list(nodes), **options})
        assert answer.status == 201, answer
        uri = answer.json()["uri"]
        assert answer.headers["location"] == uri
        assert uri.startswith(f"https://{self.api.host}:{self.api.port}{self.prefix}/pushy/jobs/")
        job = uri.rpartition("/")[2]
        assert re.fullmatch("[0-9a-f]{32}", job), uri
        return str(job)

    def job(self, job: str) -> dict[str, Any]:
        """A job as the API shows it."""
        shown: dict[str, Any] = self.get(f"/pushy/jobs/{job}")
        return shown

    def node_state(self, node: str) -> tuple[str, str]:
        """The status and the availability of a node."""
        shown = self.get(f"/pushy/node_states/{node}")
        assert shown.keys() == {"node_name", "status", "availability"}
        assert shown["node_name"] == node
        return shown["status"], shown["availability"]

    def output(self, job: str, node: str, channel: str) -> Answer:
        """What a node said on ``stdout`` or ``stderr``."""
        return self.ask(
            "GET", f"/pushy/jobs/{job}/output/{node}/{channel}", headers={"Accept": "application/octet-stream"}
        )

    def feed(self, job: str | None = None, *, last_event_id: str | None = None, query: str = "") -> Feed:
        """The feed of a job, or of the organization."""
        path = f"{self.prefix}/pushy/job_status_feed" + (f"/{job}" if job else "") + query
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        connection = self.api.connect()
        try:
            response = self.api.send(connection, self.principal, "GET", path, headers=headers)
            assert response.status == 200, response.read()
        except BaseException:
            connection.close()
            raise
        return Feed(connection, response)
