"""Serves the page: on which address, to whom, and what its answers allow a browser."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fastapi
import gradio as gr
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import temporary_folder
from t2l_cli.media.paths import reason, shown
from t2l_cli.web.page import STYLE

PORT, PORTS_TRIED = 7860, 20  # where no port is asked for: this one, or the next free one
MOST_UPLOAD = 500 * 2**20  # bytes of a file that the page may send
STARTS_WITHIN = 60.0  # s
LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def listening(address: str, port: int | None) -> socket.socket:
    """A socket that listens there; RequestError where none can. None: the first free port from PORT on; 0: any."""
    ports = range(PORT, PORT + PORTS_TRIED) if port is None else (port,)
    problem = OSError()
    for one in ports:
        try:
            kind, *_, place = socket.getaddrinfo(address, one, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            return socket.create_server(place[:2], family=kind, reuse_port=False)
        except (OSError, UnicodeError) as error:
            problem = error if isinstance(error, OSError) else OSError(str(error))
    tried = f"{ports[0]}" if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
    raise RequestError(f"cannot listen on {shown(address)}, port {tried}: {reason(problem)}.") from problem


class _Guard:
    """Answers only what the page itself asks for, and lets a browser load nothing from elsewhere.

    A page of another site may send requests here through the user's browser; its name is then in the header Origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            await PlainTextResponse("This page answers itself only.", 403)(scope, receive, send)
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = MutableHeaders(scope=message)
                more["content-security-policy"] = POLICY
                more["x-content-type-options"] = "nosniff"
                more["referrer-policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, with_policy)


@contextlib.contextmanager
def private_uploads() -> Iterator[None]:
    """Within the block gradio keeps what the page sends and shows in a folder of its own, which then goes."""
    variable = "GRADIO_TEMP_DIR"
    before = os.environ.get(variable)
    with temporary_folder() as folder:
        os.environ[variable] = str(folder)
        try:
            yield
        finally:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before


@contextlib.contextmanager
def serving(
    blocks: gr.Blocks, place: socket.socket, folder: Path, knows: Callable[[str, str], bool] | None
) -> Iterator[None]:
    """Within the block the page is served on the socket ``place``, and of the files those in ``folder``.

    knows: whether name and password are right; None: nobody is asked. OutputError where it does not start.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if is_local(place.getsockname()[0]):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_NAMES, "::1"])
    app.add_middleware(_Guard)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    how: dict[str, Any] = {"footer_links": [], "show_error": False, "ssr_mode": False, "pwa": False}
    how |= {"enable_monitoring": False, "mcp_server": False, "run_history": False}
    if knows is not None:
        how |= {"auth": knows, "auth_message": "The password that the studio was started with; the name may be any."}
    app = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=[str(folder.resolve())],
        max_file_size=MOST_UPLOAD,
        theme=theme,
        css=STYLE,
        **how,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, name="t2l-page", daemon=True)
    thread.start()
    try:
        end = time.monotonic() + STARTS_WITHIN
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise OutputError("the page could not be started.")
            time.sleep(0.05)
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(STARTS_WITHIN)
