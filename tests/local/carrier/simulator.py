"""The simulator as one object: its own thread, its own event loop, one port."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from tests.local.clock import Clock
from tests.local.connections import close_server

from . import noise
from .exchange import Exchange, Listener
from .rest import Rest
from .scripts import Scripts
from .settings import Settings
from .simapi import SimApi

Result = TypeVar("Result")

_BACKLOG = 1024  # connections that wait to be accepted


class CarrierSimulator:
    """A small Twilio on 127.0.0.1.

    >>> sim = CarrierSimulator("AC" + "0" * 32, "token", clock=Clock(speed=10))
    >>> sim.start()                        # returns once it listens at sim.url
    >>> client.api.base_url = sim.url      # any twilio.rest.Client
    >>> sim.stop()

    `settings` are the account's limits and the switches for undocumented behaviour, `scripts`
    the behaviour of each called party; `seed` makes SIDs and faults repeatable. Read state through
    /sim or, from other threads, with `call(function)`.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: Settings | None = None,
        scripts: Scripts | None = None,
        seed: int | None = None,
    ):
        self.host = host
        self.port = port
        self.clock = clock or Clock()
        self.exchange = Exchange(
            account_sid,
            auth_token,
            clock=self.clock,
            settings=settings,
            scripts=scripts,
            seed=seed,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Where it listens; port 0 is a free one, known once started."""
        return self.exchange.url

    def subscribe(self, listener: Listener) -> None:
        """Receive every event as a dict; see Exchange.subscribe. Call before `start`."""
        self.exchange.subscribe(listener)

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._thread = threading.Thread(target=self._run, name="carrier-simulator", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Drop every call and stop listening; fine to repeat."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._thread = None

    def __enter__(self) -> "CarrierSimulator":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a plain function in the simulator's thread, and return what it returns."""

        async def work() -> Result:
            return function(*arguments)

        return self.run(work())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the simulator's loop from another thread."""
        assert self._loop is not None, "start() comes first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def advance(self, seconds: float) -> None:
        """Step a stepped clock from another thread."""
        self.run(self.clock.advance(seconds))

    async def serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        """Listen in the running loop until `stopping` is set."""
        self.clock.attach(asyncio.get_running_loop())
        listening = self._listen()
        app = web.Application(client_max_size=1024**2)
        app.add_routes(Rest(self.exchange).routes())
        app.add_routes(SimApi(self.exchange).routes())
        await self.exchange.webhooks.open()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, logger=noise.logger)
        await runner.setup()
        try:
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()
            self.port = listening.getsockname()[1]
            self.exchange.url = f"http://{self.host}:{self.port}"
            ready()
            await stopping.wait()
        finally:
            await close_server(runner, listening)
            await self.exchange.close()

    def _listen(self) -> socket.socket:
        try:
            return socket.create_server((self.host, self.port), backlog=_BACKLOG)
        except OSError as error:  # the library's message shows a tuple
            reason = os.strerror(error.errno) if error.errno else error
            raise OSError(error.errno, f"port {self.port} of {self.host}: {reason}") from error

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stopping = asyncio.Event()
            await self.serve(self._stopping, self._ready.set)

        try:
            asyncio.run(main())
        except OSError as error:  # the port is taken: start() raises it
            self._failure = error
        finally:
            self._ready.set()
