"""The network between a server and its agents, in the test's hands: it cuts, stalls, refuses and slows down.

A server that listens on one address of this machine is reached at another, through a :class:`Link` on the same ports.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

SERVER_ADDRESS = "127.0.0.2"
AGENT_ADDRESS = "127.0.0.1"

_PIECE = 16 * 1024


class Link:
    """Carries TCP connections, in a thread of its own. Its methods may be called from any other."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._is_up = True
        self.rate = float("inf")
        """Bytes a second from agents to the server, of all of them together."""

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        self._call(self._abort_all)

    def down(self) -> None:
        """Reset every connection, and each new one at once."""
        self._is_up = False
        self.cut()

    def up(self) -> None:
        self._is_up = True

    def stall(self) -> None:
        """Carry nothing, and say nothing."""
        self._call(self._flows.clear)

    def go_on(self) -> None:
        self._call(self._flows.set)

    def _call(self, work: Callable[[], None]) -> None:
        async def call() -> None:
            work()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _listen(self) -> None:
        self._flows.set()
        for port in self._ports:
            await asyncio.start_server(
                lambda reader, writer, port=port: self._carry(port, reader, writer), AGENT_ADDRESS, port
            )

    async def _carry(self, port: int, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        self._writers.add(to_agent)
        try:
            if not self._is_up:
                to_agent.transport.abort()
                return
            server, to_server = await asyncio.open_connection(SERVER_ADDRESS, port)
            self._writers.add(to_server)
            try:
                await asyncio.gather(self._pump(agent, to_server, slow=True), self._pump(server, to_agent, slow=False))
            finally:
                self._writers.discard(to_server)
                to_server.transport.abort()
        except OSError:  # the server is away, or a connection was reset
            pass
        finally:
            self._writers.discard(to_agent)
            to_agent.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await reader.read(_PIECE):
            await self._flows.wait()
            if slow and self.rate != float("inf"):
                await asyncio.sleep(len(data) / self.rate)
            writer.write(data)
            await writer.drain()
        # Either side's end is the end of both.
        raise ConnectionResetError


@contextmanager
def linked(ports: Sequence[int]) -> Iterator[Link]:
    link = Link(ports)
    link.start()
    try:
        yield link
    finally:
        with suppress(RuntimeError):
            link.stop()
