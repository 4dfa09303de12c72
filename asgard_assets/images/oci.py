"""An OCI image archive from plain layer tars, without Docker and without a registry."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def digest(path: Path) -> str:
    """SHA-256 of a file, kept beside it: layers are large and do not change."""
    known = path.with_suffix(".sha256")
    if not known.is_file() or known.stat().st_mtime < path.stat().st_mtime:
        with path.open("rb") as file:
            known.write_text(hashlib.file_digest(file, "sha256").hexdigest())
    return known.read_text()


def write_archive(
    target: Path,
    name: str,
    config: Mapping[str, Any],
    layers: Sequence[Path],
    present: Collection[str] = (),
) -> None:
    """Write image `name` (with its tag) to `target`; layers whose digest is `present` already are only named."""
    with tarfile.open(target, "w") as archive:

        def put(path: str, body: bytes) -> None:
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(body), 0o644
            archive.addfile(info, io.BytesIO(body))

        def blob(body: bytes, media: str) -> dict[str, Any]:
            sha = hashlib.sha256(body).hexdigest()
            put(f"blobs/sha256/{sha}", body)
            return {"mediaType": media, "digest": f"sha256:{sha}", "size": len(body)}

        put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        described = []
        for layer in layers:
            sha, size = digest(layer), layer.stat().st_size
            if f"sha256:{sha}" not in present:
                info = tarfile.TarInfo(f"blobs/sha256/{sha}")
                info.size, info.mode = size, 0o644
                with layer.open("rb") as file:
                    archive.addfile(info, file)
            described.append({"mediaType": _LAYER, "digest": f"sha256:{sha}", "size": size})
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
        }
        settings = blob(json.dumps(image).encode(), _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": settings, "layers": described}
        entry = blob(json.dumps(manifest).encode(), _MANIFEST)
        entry["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1],
        }
        put("index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
