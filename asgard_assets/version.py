"""The platform's version: of the package, its images and its chart."""

VERSION = "0.1.0"
