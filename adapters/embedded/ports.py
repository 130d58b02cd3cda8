"""Whether the ports that we are about to use are free, said so that a person can act on it."""

import contextlib
import socket
from collections.abc import Mapping

import psutil


def conflicts(ports: Mapping[str, int]) -> list[str]:
    """One sentence for each port that is taken or named twice; `ports` is keyed by the setting's name."""
    found = []
    seen: dict[int, str] = {}
    for setting, port in ports.items():
        if port in seen:
            found.append(f"{setting} and {seen[port]} are both {port}: give each a port of its own.")
        elif is_taken(port):
            found.append(
                f"Port {port} is in use by {_owner(port)}. Stop that, or choose another port: {setting}=<port> make up"
            )
        seen.setdefault(port, setting)
    return found


def is_taken(port: int) -> bool:
    """Tell whether somebody listens on a port, of whatever address, or it cannot be had."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) == 0:  # seen also where another address is bound
            return True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that just ended is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):  # some systems tell only root
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"
