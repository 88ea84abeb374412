import asyncio
import gc
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.local.connections import close_server

LARGE = b"x" * 30_000_000  # more than the sockets' buffers hold


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def respond(request: web.BaseRequest) -> web.Response:  # noqa: ARG001
    return web.Response(body=LARGE)


async def start_server() -> tuple[web.ServerRunner, socket.socket]:
    runner = web.ServerRunner(web.Server(respond, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    return runner, listening


def is_closed(client: socket.socket) -> bool:
    """Whether the server closed the connection. What it had sent is read and dropped."""
    try:
        while client.recv(1_000_000):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_accepted_while_the_server_closes_is_closed(
    loop: asyncio.AbstractEventLoop, turns: int
) -> None:
    async def connect_and_close() -> list[socket.socket]:
        runner, listening = await start_server()
        clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await close_server(runner, listening)
        return clients

    clients = loop.run_until_complete(connect_and_close())
    gc.collect()  # an open connection is reported as a ResourceWarning, which is an error
    for client in clients:
        with client:
            assert is_closed(client)


def test_a_connection_whose_client_does_not_read_is_closed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def request_and_close() -> socket.socket:
        runner, listening = await start_server()
        client = socket.create_connection(listening.getsockname())
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not await asyncio.to_thread(client.recv, 1, socket.MSG_PEEK):
            pass
        await close_server(runner, listening)
        return client

    client = loop.run_until_complete(request_and_close())
    gc.collect()
    with client:
        assert is_closed(client)
