"""The account of a request, for routes: each names what its caller must be allowed to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from asgard_assets.gateway.accounts.roles import Caller, May


def needs(action: May) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the caller, or refuses."""

    async def caller(request: Request) -> Caller:  # no thread of its own: it waits for nothing
        found: Caller = request.state.caller
        found.must(action)
        request.state.action = action
        return found

    caller.__dict__["action"] = action
    return caller


Reader = Annotated[Caller, Depends(needs(May.read))]
Operator = Annotated[Caller, Depends(needs(May.run))]
Editor = Annotated[Caller, Depends(needs(May.edit))]
Trainer = Annotated[Caller, Depends(needs(May.train))]
Admin = Annotated[Caller, Depends(needs(May.admin))]
