"""Whether a store keeps what commits rely on: of two writers that create one object at once, exactly one wins."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from asgard_assets.errors import LakeError

if TYPE_CHECKING:
    from asgard_assets.lake.store import Store

log = logging.getLogger(__name__)
ROUNDS = 3


def winners(put: Callable[[str, bytes], bool], rounds: int = ROUNDS) -> int:
    """How many of two racing writers won, in the first round in which it was not one; 1 where it always was.

    `put` creates an object of that name, or returns False because it is there.
    """
    for number in range(rounds):
        together = threading.Barrier(2)

        def write(content: bytes, name: str = f"{number}", together: threading.Barrier = together) -> bool:
            together.wait()
            return put(name, content)

        with ThreadPoolExecutor(2) as pool:
            won = sum(pool.map(write, (b"first", b"second")))
        if won != 1:
            return won
    return 1


def prove(store: Store) -> None:
    """Race conditional puts in the store, and remove what they made. A local folder needs no proof.

    Raises LakeError where not exactly one of two writers won: the store would lose commits, and every run would be
    green. Raises the store's own error where it cannot be written.
    """
    if not store.remote:
        return
    folder, made = f"_races/{uuid.uuid4().hex}", set[str]()

    def put(name: str, content: bytes) -> bool:
        made.add(name)
        return store.put_new(f"{folder}/{name}", content)

    won = winners(put)
    for name in made:
        store.delete(f"{folder}/{name}")
    if won != 1:
        raise LakeError(
            f"{store.root}: {won} of two racing conditional puts won. This store ignores If-None-Match and would "
            "lose commits: use one that honours it (AWS S3, MinIO, Ceph)"
        )


def refuse_careless(store: Store) -> None:
    """`prove`, but a store that cannot be asked now is not refused: an outage at the start of a step may be over
    when it commits."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        prove(store)
    except (BotoCoreError, ClientError, OSError) as error:
        log.warning("%s: conditional puts could not be raced: %s", store.root, error)
