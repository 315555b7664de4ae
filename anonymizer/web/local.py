"""For pages that are this machine's alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


@web.middleware
async def by_own_name(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuses who asks by another name than this machine's own and the port that is served: a site can turn its name
    to 127.0.0.1 and would read, as its own, what is served there (DNS rebinding)."""
    assert request.transport is not None
    served = request.transport.get_extra_info("sockname")[1]
    name, _, port = request.host.partition(":")
    if name not in ("127.0.0.1", "localhost") or (port or "80") != str(served):
        raise web.HTTPForbidden(text="ask by the address that was announced")
    return await handler(request)
