"""What each role may do, and in which workspaces an account may do it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from asgard_assets.errors import ConfigError


class May(StrEnum):
    """A kind of action. Every route names one."""

    read = "read"
    run = "run"
    edit = "edit"
    train = "train"
    admin = "admin"


ROLES: dict[str, frozenset[May]] = {
    "viewer": frozenset({May.read}),
    "operator": frozenset({May.read, May.run}),
    "editor": frozenset({May.read, May.run, May.edit}),
    "trainer": frozenset({May.read, May.run, May.train}),
    "admin": frozenset(May),
}
EVERYWHERE = "*"


class NotAllowedError(ConfigError):
    """The account's role or workspaces do not allow it."""


@dataclass(frozen=True)
class Caller:
    """Who sends a request. `workspaces`: names, or `*` for all."""

    name: str
    role: str
    workspaces: tuple[str, ...] = (EVERYWHERE,)

    def must(self, action: May) -> None:
        """Raises NotAllowedError."""
        if action not in ROLES[self.role]:
            able = ", ".join(role for role, actions in ROLES.items() if action in actions)
            raise NotAllowedError(f"the account {self.name} is {self.role}, but this needs one of: {able}")

    def sees(self, workspace: str) -> bool:
        return EVERYWHERE in self.workspaces or workspace in self.workspaces

    def enter(self, workspace: str) -> str:
        """The workspace; raises NotAllowedError where the account does not belong to it."""
        if not self.sees(workspace):
            raise NotAllowedError(f"the account {self.name} does not belong to the workspace {workspace}")
        return workspace


LOCAL = Caller("local", "admin")
"""Who uses a gateway without accounts: somebody on this machine."""
NOBODY = Caller("", "viewer", ())
"""Who asks whether the gateway lives."""
