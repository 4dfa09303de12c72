"""Whether a store keeps what commits rely on: of two writers that create one object at once, exactly one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
