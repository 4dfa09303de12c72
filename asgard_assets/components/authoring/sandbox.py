"""What Dagster's `{{ }}` in a YAML file may do: read its scope, and no Python behind it."""

from __future__ import annotations


def render_yaml_in_a_sandbox() -> None:
    """From now on, in this process. Dagster renders by a plain template, which runs any code that a YAML file writes."""
    from jinja2.nativetypes import NativeEnvironment, NativeTemplate
    from jinja2.sandbox import SandboxedEnvironment

    class SandboxedNative(SandboxedEnvironment, NativeEnvironment):
        """Values keep their types; what leads into Python's insides is a SecurityError."""

    if not issubclass(NativeTemplate.environment_class, SandboxedEnvironment):
        NativeTemplate.environment_class = SandboxedNative
