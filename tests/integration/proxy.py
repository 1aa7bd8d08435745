"""A TCP proxy whose connections a test can hold up, lose, reset and corrupt, for one process behind it at a time."""

import contextlib
import socket
import struct
import threading
from enum import Enum, auto
from pathlib import Path

_CHUNK = 64 * 1024
_LOOKS = 5
Address = tuple[str, int]


class Fault(Enum):
    """What happens to all that a process says and hears."""

    STALL = auto()
    """Nothing passes; it does once this is over."""
    SWALLOW = auto()
    """Everything is taken and nothing passed on; when this is over, the connections are reset: nobody learned of it."""
    RESET = auto()
    """Connections are reset, and new ones too."""
    CORRUPT = auto()
    """Bits are flipped."""


class Proxy:
    """Passes connections to `listen` on to `upstream`, in threads; :meth:`close` ends them."""

    def __init__(self, listen: Address, upstream: Address) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(listen, reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        self._change = threading.Condition()
        self._faults: dict[int, Fault] = {}
        self._links: list[_Link] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End."""
        # A thread that waits in accept() is not woken by close().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._change:
            self._faults.clear()
            for link in self._links:
                link.reset()
            self._change.notify_all()

    def begin(self, pid: int, fault: Fault) -> None:
        """Have this happen to what a process says and hears from now on."""
        with self._change:
            self._faults[pid] = fault
            if fault is Fault.RESET:
                self._reset(pid)

    def end(self, pid: int) -> None:
        """Have it be over."""
        with self._change:
            if self._faults.pop(pid) is Fault.SWALLOW:
                self._reset(pid)
            self._change.notify_all()

    def pass_on(self, pid: int, data: bytes) -> bytes:
        """What becomes of bytes on their way; this waits as long as they are held up."""
        with self._change:
            while self._faults.get(pid) is Fault.STALL:
                self._change.wait()
            match self._faults.get(pid):
                case Fault.SWALLOW:
                    return b""
                case Fault.CORRUPT:
                    return bytes(byte ^ (0x55 if place % 7 == 3 else 0) for place, byte in enumerate(data))
        return data

    def _reset(self, pid: int) -> None:
        for link in self._links:
            if link.pid == pid:
                link.reset()
        self._links = [link for link in self._links if link.pid != pid]

    def _accept(self) -> None:
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            pid = _process_at(peer[1], self.port)
            is_reset = False
            try:
                upstream = socket.create_connection(self._upstream)
            except OSError:
                is_reset, upstream = True, socket.socket()
            link = _Link(self, pid, client, upstream)
            # Whatever begins from here on finds it among the links.
            with self._change:
                is_reset = is_reset or self._faults.get(pid) is Fault.RESET
                if not is_reset:
                    self._links.append(link)
            if is_reset:
                link.reset()
            else:
                link.start()


class _Link:
    """One connection and its other half."""

    def __init__(self, proxy: Proxy, pid: int, client: socket.socket, upstream: socket.socket) -> None:
        self.pid = pid
        self._proxy = proxy
        self._sides = (client, upstream)

    def start(self) -> None:
        for source, target in (self._sides, self._sides[::-1]):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def reset(self) -> None:
        """End it so that both peers see a reset."""
        for side in self._sides:
            with contextlib.suppress(OSError):  # closed already
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the thread that reads; closing alone would leave the connection as it is until that returns.
                side.shutdown(socket.SHUT_RD)
                side.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(self._proxy.pass_on(self.pid, data))
        for side in self._sides:
            side.close()


def _process_at(port: int, to: int) -> int:
    """The process that has connected from this port to that one, on this machine; 0 for none."""
    # The kernel's table changes while it is read, and one look can miss a connection that is there.
    return next((pid for _ in range(_LOOKS) if (pid := _look_for(port, to))), 0)


def _look_for(port: int, to: int) -> int:
    inode = _inode(port, to)
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it ended
                for descriptor in (process / "fd").iterdir():
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        return int(process.name)
    return 0


def _inode(port: int, to: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if [int(end.rpartition(":")[2], 16) for end in (local, remote)] == [port, to] and inode != "0":
            return inode
    return None
