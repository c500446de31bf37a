"""Ports for servers that tests start."""

import socket


def free_port() -> int:
    """Returns a port of 127.0.0.1 that is free right now; another program may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listen_on(port: int) -> socket.socket:
    """Returns a socket that listens on this port of 127.0.0.1; 0 chooses a free one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    return listener
