"""Close an HTTP server with every connection that it has."""

import asyncio
import socket

from aiohttp import web

# An accepted connection reaches aiohttp in its third turn of the loop (asyncio.selector_events,
# `_accept_connection2`). One turn is a reserve.
_TURNS_TO_ACCEPT = 4


async def close_server(runner: web.BaseRunner, listening: socket.socket) -> None:
    """Stop listening, let requests in progress finish, then close every connection.

    `runner.cleanup` alone leaves two kinds of sockets open when the loop ends: of a connection that
    was accepted just before, and of one whose client does not read the rest of its response.
    """
    asyncio.get_running_loop().remove_reader(listening)  # accept no further connection
    for _ in range(_TURNS_TO_ACCEPT):
        await asyncio.sleep(0)
    server = runner.server
    transports = [each.transport for each in server.connections] if server else []
    await runner.cleanup()
    for transport in transports:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
    await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn
