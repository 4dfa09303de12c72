"""The demo's own settings, with their defaults; the platform knows none of them."""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class DemoSettings(BaseSettings):
    """Where the demo's REST API is, and how to log in there."""

    model_config = SettingsConfigDict(env_prefix="ASGARD_DEMO_", frozen=True, hide_input_in_errors=True)

    api_url: str = Field(default="http://127.0.0.1:8765", description="Address of the demo's REST API.")
    token: str = Field(
        default="demo-token",
        repr=False,
        description="Bearer token of the demo's REST API; it guards nothing.",
    )


def use_demo_settings() -> DemoSettings:
    """Give them to this process and those that it starts: the demo's YAML names them as variables."""
    settings = DemoSettings()
    os.environ.setdefault("ASGARD_DEMO_API_URL", settings.api_url)
    os.environ.setdefault("ASGARD_DEMO_TOKEN", settings.token)
    return settings
