"""The application: one table of routes, served under what `guard` checks."""

import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from camfleet.errors import CamfleetError
from camfleet.gateway import guard, openapi, sessions
from camfleet.gateway.access.crowd import HELD, Held, refusal
from camfleet.gateway.access.turns import WHO
from camfleet.gateway.calls import Call, Route, Services, reply
from camfleet.gateway.endpoints import (
    about,
    dry_runs,
    explain,
    fleet,
    jobs,
    reviews,
    uploads,
    watching,
)
from camfleet.gateway.endpoints.label_studio import backend
from camfleet.gateway.endpoints.results import (
    comparisons,
    exports,
    gallery,
    originals,
    pictures,
    reports,
    results,
    rows,
)
from camfleet.gateway.page import Page
from camfleet.gateway.pipe import in_pieces
from camfleet.gateway.problems import Outages, Problem, answer_to, known, with_reason
from camfleet.gateway.prometheus import Seen

logger = logging.getLogger(__name__)


async def _describe(_call: Call) -> Response:
    return reply(DESCRIPTION)


ROUTES: tuple[Route, ...] = (
    *explain.ROUTES,
    *jobs.ROUTES,
    *about.ROUTES,
    *watching.ROUTES,
    *results.ROUTES,
    *gallery.ROUTES,
    *originals.ROUTES,  # before the pictures of any kind
    *pictures.ROUTES,
    *rows.ROUTES,
    *reports.ROUTES,
    *comparisons.ROUTES,
    *exports.ROUTES,
    *reviews.ROUTES,
    *uploads.ROUTES,
    *dry_runs.ROUTES,
    *fleet.ROUTES,
    *sessions.ROUTES,
    *backend.ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        summary="This description",
        handler=_describe,
        answers={200: "application/json"},
    ),
)
DESCRIPTION = openapi.describe(ROUTES)


class App:
    """The gateway as an ASGI application. It keeps no state but what was read a moment ago."""

    def __init__(self, services: Services, routes: Sequence[Route] = ROUTES) -> None:
        self._services = services
        self._page = Page()
        self._outages = Outages()
        self._routes = [(compile_path(route.path)[0], route) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway speaks HTTP, not {scope['type']}")
        prefix = self._services.root_path
        if prefix and scope["path"].startswith(f"{prefix}/"):  # unless the proxy took it off
            scope = {**scope, "path": scope["path"][len(prefix) :]}
        held = _held(scope)
        if held and held.has_ended:  # before its request began: nobody waits for an answer
            return
        async with AsyncExitStack() as ending:
            if held:
                ending.enter_context(self._services.crowd.request(held))
            seen = ending.enter_context(self._services.metrics.request(scope["method"]))
            try:
                response = await self._answer(scope, Request(scope, receive), seen, ending)
            except Exception as caught:  # the caller is told, whatever it was
                error = known(caught)
                response = answer_to(error)
                if scope["path"].startswith(backend.START):  # Label Studio shows nothing else
                    response = with_reason(response, error)
                self._services.metrics.problem(error)
                self._outages.note(error)
                if response.status_code == 500 or error is not caught:
                    logger.exception("%s %r failed", scope["method"], scope["path"])
            for name, value in guard.HEADERS.items():
                response.headers.setdefault(name, value)
            seen.status, seen.began = response.status_code, time.monotonic()
            await self._send(response, scope, receive, send)

    async def _send(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an answer; where it's too late to tell that something is wrong, break it off."""
        try:
            await response(scope, receive, in_pieces(send))
        except (Problem, CamfleetError) as error:
            logger.warning("%s %r was broken off: %s", scope["method"], scope["path"], error)
            self._services.metrics.problem(error)
            if held := _held(scope):
                held.close()
            while (await receive())["type"] != "http.disconnect":
                pass

    async def _answer(
        self, scope: Scope, request: Request, seen: Seen, ending: AsyncExitStack
    ) -> Response:
        headers, held = Headers(scope=scope), _held(scope)
        if held and held.by is None:
            raise refusal()
        WHO.set(held and held.by)
        guard.check_host(headers, self._services)
        if page := self._page.answer(scope["method"], scope["path"], headers):
            seen.route = "page"
            return page
        route, parameters = self._find(scope)
        seen.route = route.path if route else "none"
        if route and route.public:
            return await route.handler(Call(request, self._services, None))
        method, services = scope["method"], self._services
        if route and route.basic:
            token, session = await guard.check_basic(headers, services), None
        else:
            token, session = await sessions.authenticate(method, headers, services)
        if held:
            services.crowd.claim(held, token.owner)
        WHO.set(("owner", token.owner))
        if route is None:  # who has no token needn't know which paths there are
            raise self._no_route(scope["path"])
        guard.check_scopes(route, token)
        scope["path_params"] = parameters
        return await route.handler(Call(request, services, token, session, ending))

    def _find(self, scope: Scope) -> tuple[Route | None, dict[str, str]]:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for pattern, route in self._routes:
            found = pattern.fullmatch(scope["path"])
            if found and route.method == method:
                return route, found.groupdict()
        return None, {}

    def _no_route(self, path: str) -> Problem:
        allowed = {route.method for pattern, route in self._routes if pattern.fullmatch(path)}
        if not allowed:
            return Problem(404, "not_found", "no such path; /openapi.json lists them all")
        methods = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
        return Problem(405, "method_not_allowed", f"allowed are {methods}", {"Allow": methods})


def _held(scope: Scope) -> Held | None:
    """Return the connection that a request came on."""
    found: Held | None = scope.get("state", {}).get(HELD)
    return found
