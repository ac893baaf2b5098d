"""The web server: the port that it takes, whom it lets in, and how it ends."""

import errno
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from threading import Thread
from typing import Final

import uvicorn
from fastapi import FastAPI

from ..contracts.errors import UserError

_CONNECTIONS: Final = 256
"""Connections at once; further ones are answered with 503."""

_MOMENT: Final = 0.1
"""Seconds between two looks at whether the end is asked for."""


def bound(host: str, port: int, token: str | None) -> socket.socket:
    """Take the port. Raises `UserError` for one in use, for no address of this machine, and for an open door.

    Others than this machine are let in with a token alone.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        fix = "give an address of this machine, such as 127.0.0.1"
        raise UserError(
            f"is no address ({getattr(error, 'strerror', None) or error})", where=f"--host {host}", fix=fix
        ) from None
    if token is None and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        fix = "give --token, which clients must then send, or leave --host out"
        raise UserError("lets every machine of the network in, and there is no token", where=f"--host {host}", fix=fix)
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it takes a port from whoever has it
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise _not_taken(host, port, error) from None
    return taken


def _not_taken(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError("another program uses it", where=f"port {port}", fix="end that, or give another --port")
    fix = "give an address of this machine, and a port that you may use, such as 8000"
    return UserError(f"cannot be used ({error.strerror})", where=f"{host}, port {port}", fix=fix)


def listen(taken: socket.socket) -> str:
    """Let requests in, and return the service's address. Raises `UserError` where another program was faster."""
    host, port = taken.getsockname()[:2]
    try:
        taken.listen()
    except OSError as error:
        raise _not_taken(host, port, error) from None
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: FastAPI, taken: socket.socket, is_ended: Callable[[], bool], seconds: float) -> None:
    """Serve until `is_ended` says so; then answer what was accepted, for which there are that many seconds."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, http="h11", ws="none", lifespan="off",
        limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=max(1, round(seconds)),
    )  # fmt: skip
    server = uvicorn.Server(config)
    # Signals are for the main thread, which looks at them here.
    serving = Thread(target=server.run, args=([taken],), name="server", daemon=True)
    serving.start()
    while serving.is_alive():
        server.should_exit = server.should_exit or is_ended()
        serving.join(_MOMENT)
