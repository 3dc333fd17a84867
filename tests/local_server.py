"""A server of a test's own that listens for as long as a block lasts, however that ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from socketserver import BaseServer
from typing import TypeVar

Server = TypeVar("Server", bound=BaseServer)

LOOK_SECONDS = 0.01
"""How often it looks whether the block is over."""


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Answer in a thread within the block; afterwards the port is free and the thread is gone.

    Answers that still run are left to threads that keep no process: a test ends them itself.
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(LOOK_SECONDS,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
