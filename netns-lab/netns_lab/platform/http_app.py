"""The platform's HTTP application: the bootstrap URL of user devices, and whatever else is mounted.

It runs on the platform's own event loop, so a handler may use the platform as an action does, as long
as it does not await between two steps that belong together.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from netns_lab.platform.core import Platform
from netns_lab.platform.http_bootstrap import HEADERS, PATH, Bootstrap


@dataclass(frozen=True, slots=True)
class Mounted:
    """Another application under `path` ("/mcp"; "" is everything that nothing else answers). `running`
    is entered before the first request and left after the last; an application's own lifespan is not
    run when it is mounted."""

    path: str
    app: ASGIApp
    running: Callable[[], contextlib.AbstractAsyncContextManager[object]] = contextlib.nullcontext


def make_app(platform: Platform, mounted: Sequence[Mounted] = ()) -> Starlette:
    """The application."""
    bootstrap = Bootstrap(platform)
    routes: list[BaseRoute] = [
        Route(PATH, bootstrap.show, methods=["GET"]),
        Route(PATH, bootstrap.use, methods=["POST"]),
        *(Mount(each.path, app=each.app) for each in mounted),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for each in mounted:
                await stack.enter_async_context(each.running())
            yield

    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _say_no_more}
    )


async def _say_no_more(_: Request, error: Exception) -> Response:
    """Unknown paths and methods: the status in words."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "error"
    more = (error.headers or {}) if isinstance(error, HTTPException) else {}
    return PlainTextResponse(f"{detail}\n", status, {**HEADERS, **more})
