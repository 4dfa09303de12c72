"""Whatever strangers send: no crash, no hang, and no more memory than stated. The corpus is run in CI, an hour of each in `soak`.

    pytest tests/fuzz -m soak -k link_headers            one target, for FUZZ_SECONDS (3600)

What a run finds is written to tests/fuzz/corpus/TARGET/, and from then on is run each time.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, Target
from tests.patience import patience

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 1 << 16  # of one input
MOST_MEMORY = 512 << 20  # that a target may add to the process
ONE_SECONDS = 2.0  # CPU of one input, on a fast machine
TOKENS = (
    b"", b"\0", b"\xff", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"<", b">", b"&", b"%", b"#", b"/", b"..", b"\r\n", b"\n", b" ", b"*",
    b"null", b"true", b"false", b"-1", b"1e999", b"9" * 40, b"0.1", b"NaN", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"next", b"//evil", b"{row.id}", b"[" * 300, b'{"a":' * 300,
)  # fmt: skip


def mutated(seeds: tuple[bytes, ...], dice: random.Random) -> bytes:
    """A seed with up to eight changes: pieces cut out, doubled, moved, replaced, or taken from another seed."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.randint(1, 8)):
        at = dice.randint(0, len(data))
        end = min(len(data), at + dice.choice((1, 1, 2, 4, 16, 64)))
        match dice.randrange(7):
            case 0:
                del data[at:end]
            case 1:
                data[at:at] = dice.choice(TOKENS)
            case 2:
                data[at:end] = dice.choice(TOKENS)
            case 3:
                data[at:at] = data[at:end] * dice.choice((1, 2, 50))
            case 4 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 5:
                data[at:end] = dice.randbytes(end - at)
            case _:
                other = dice.choice(seeds)
                data[at:] = other[dice.randint(0, len(other)) :]
    return bytes(data[:MOST_BYTES])


def corpus(name: str) -> Iterator[bytes]:
    yield from TARGETS[name].seeds
    yield b""
    for file in sorted((CORPUS / name).glob("*")):
        yield file.read_bytes()


def tried(name: str, target: Target, data: bytes) -> None:
    began = time.process_time()
    try:
        target.run(data)
        assert time.process_time() - began < patience(ONE_SECONDS), "it takes too long"
    except BaseException as error:
        digest = hashlib.sha256(data).hexdigest()[:12]
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        (CORPUS / name / digest).write_bytes(data)
        error.add_note(f"{name}, tests/fuzz/corpus/{name}/{digest}: {data[:300]!r}")
        raise


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_stays_mended(name: str) -> None:
    before = peak()
    for data in corpus(name):
        tried(name, TARGETS[name], data)
    assert peak() - before < MOST_MEMORY


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_end_nothing(name: str, chance: random.Random) -> None:
    target, before = TARGETS[name], peak()
    for _ in range(6 if target.slow else 400):
        tried(name, target, mutated((*corpus(name),), chance))
    assert peak() - before < MOST_MEMORY


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("name", TARGETS)
def test_an_hour_of_changed_seeds_ends_nothing(name: str, chance: random.Random) -> None:
    target, before = TARGETS[name], peak()
    until, count, seeds = (
        time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "3600")),
        0,
        (*corpus(name),),
    )
    while time.monotonic() < until:
        tried(name, target, mutated(seeds, chance))
        count += 1
    print(f"{name}: {count} inputs, {(peak() - before) >> 20} MiB more")
    assert count and peak() - before < MOST_MEMORY
