"""Many readers of one feed, in one process: each has a connection of its own and sees every event.

``python -m benchmarks.readers`` reads what :mod:`benchmarks.rows` tells it on its standard input: one line of JSON
with the address and, of each reader, the request as it is sent. It says ``connected`` when every reader has been
answered with the headers, and at the end how many events each saw.
"""

import json
import selectors
import socket
import sys

_PIECE = 256 * 1024
_EVENT_END = b"\n\n"
_HEAD_END = b"\r\n\r\n"


class _Reader:
    """One connection; counts the ends of events, also where one is cut in two."""

    def __init__(self, address: tuple[str, int], request: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.sendall(request.encode())
        self.events = 0
        self.is_answered = False
        self._rest = b""

    def read(self) -> bool:
        """Take what is there; whether more may come."""
        data = self.socket.recv(_PIECE)
        if not data:
            return False
        data = self._rest + data
        if not self.is_answered:
            head, end, data = data.partition(_HEAD_END)
            if not end:
                self._rest = head
                return True
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise RuntimeError(repr(head))
            self.is_answered = True
        # An event is the text between two ends, a keep-alive comment is none; the body is chunked, and a chunk's
        # length ends with one newline, so it makes no end.
        self.events += data.count(b"event: ")
        self._rest = data[-6:] if not data.endswith(b"event: ") else b""
        self.events -= self._rest.count(b"event: ")
        return True


def main() -> int:
    """Read until the server closes every feed."""
    plan = json.loads(sys.stdin.readline())
    readers = [_Reader(tuple(plan["address"]), request) for request in plan["requests"]]
    selector = selectors.DefaultSelector()
    for reader in readers:
        reader.socket.setblocking(False)
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    answered = not readers
    if answered:
        print("connected", flush=True)
    while selector.get_map():
        for key, _ in selector.select():
            reader = key.data
            if not reader.read():
                selector.unregister(reader.socket)
                reader.socket.close()
        if not answered and all(reader.is_answered for reader in readers):
            answered = True
            print("connected", flush=True)
    print(json.dumps([reader.events for reader in readers]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
