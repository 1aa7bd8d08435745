"""The network between a server and its agents, in the test's hands: it cuts, stalls, refuses and slows down.

A server that listens on one address of this machine is reached at another, through a :class:`Link` on the same port.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SERVER_ADDRESS = "127.0.0.2"
AGENT_ADDRESS = "127.0.0.1"

_PIECE = 16 * 1024
_UNLIMITED = float("inf")


class Link:
    """Carries the connections to one TCP port, in a thread of its own. Its methods may be called from any other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link to {port}")
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._is_up = True
        self.rate = _UNLIMITED
        """Bytes a second from agents to the server, of all of them together."""

    def start(self) -> None:
        self._flows.set()
        self._thread.start()
        listening = asyncio.start_server(self._carry, AGENT_ADDRESS, self._port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

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

    async def _stop(self) -> None:
        self._server.close()
        self._abort_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        self._writers.add(to_agent)
        try:
            if self._is_up:
                await self._carry_on(agent, to_agent)
        except (OSError, asyncio.CancelledError):  # the server is away, a connection was reset, or all of it ends
            pass
        finally:
            self._writers.discard(to_agent)
            to_agent.transport.abort()

    async def _carry_on(self, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(SERVER_ADDRESS, self._port)
        self._writers.add(to_server)
        directions = [
            asyncio.ensure_future(self._pump(agent, to_server, is_slow=True)),
            asyncio.ensure_future(self._pump(server, to_agent, is_slow=False)),
        ]
        try:
            # Either side's end is the end of both.
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            self._writers.discard(to_server)
            to_server.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_slow: bool) -> None:
        while data := await reader.read(_PIECE):
            await self._flows.wait()
            if is_slow and self.rate != _UNLIMITED:
                await asyncio.sleep(len(data) / self.rate)
            writer.write(data)
            await writer.drain()


@contextmanager
def linked(port: int) -> Iterator[Link]:
    link = Link(port)
    link.start()
    try:
        yield link
    finally:
        link.stop()
