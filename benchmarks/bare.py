"""What a message costs with nothing but ZeroMQ: the floor under every figure, on the machine that they are taken on.

A ROUTER with CURVE receives messages of two frames, as large as heartbeats, in a process of its own, and does nothing
with them: from one peer that sends as fast as it can, and from many that send one each in turn, as a fleet does.
"""

import json
import subprocess
import sys
import time

import zmq

_FRAMES = (b"h" * 92, b"b" * 300)
_OF_ONE = 50_000
_ROUNDS = 10  # of the many: a message of each


def measure(peers: int) -> dict[str, float]:
    """Processor time of the receiving process for a message, in microseconds: of one peer, and of `peers`."""
    return {"us, one peer": _cost(1, _OF_ONE), "us, many peers": _cost(peers, _ROUNDS)}


def _cost(peers: int, rounds: int) -> float:
    public, secret = zmq.curve_keypair()
    command = [sys.executable, "-m", "benchmarks.bare"]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, peers + 8)
    sockets = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as receiver:
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        receiver.stdin.write(json.dumps({"secret": secret.decode(), "first": peers, "messages": peers * rounds}) + "\n")
        address = receiver.stdout.readline().strip()
        for _ in range(peers):
            socket = context.socket(zmq.DEALER)
            socket.set(zmq.SNDHWM, 0)
            socket.curve_serverkey = public
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.connect(address)
            sockets.append(socket)
        for number in range(1 + rounds):  # the first one of each is before its clock runs
            if number == 1:
                receiver.stdout.readline()
            for socket in sockets:
                socket.send_multipart(_FRAMES)
        cost = float(receiver.stdout.readline())
    context.destroy(linger=0)
    return cost


def main() -> None:
    """Be the receiver: told what to do, and telling what it took, a line each."""
    plan = json.loads(sys.stdin.readline())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.RCVHWM, 0)
    socket.set(zmq.BACKLOG, 4096)
    socket.curve_server = True
    socket.curve_secretkey = plan["secret"].encode()
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    for _ in range(plan["first"]):
        socket.recv_multipart()
    began = time.process_time()
    print("all are connected", flush=True)
    for _ in range(plan["messages"]):
        socket.recv_multipart()
    print((time.process_time() - began) / plan["messages"] * 1e6, flush=True)
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
