"""nats-py's client, which also lets go of a server that has fallen silent, and knows TLS whole.

nats-py waits, before it looks for another server and when it closes, until the old connection has
sent what it holds. A host that was cut off never takes it, and the kernel tries for a quarter of an
hour. What was not sent is unknown to whoever sent it, as after any other broken connection.
"""

from __future__ import annotations

from nats.aio.client import Client


class LettingGoClient(Client):
    """A client whose broken connections are dropped, not closed."""

    def let_go(self) -> None:
        """Drop the connection, and what it has not sent."""
        # Both are nats-py's own: it offers no way to the socket. With a websocket there is none.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        # nats-py changes over to TLS and does not say so to the reader: it would hold back nothing,
        # and asyncio complain of its last word.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            writer.transport.get_protocol().connection_made(writer.transport)

    async def _attempt_reconnect(self) -> None:
        self.let_go()
        await super()._attempt_reconnect()
