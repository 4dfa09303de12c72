"""The platform at a glance, for pages."""
