"""`python -I jail.py LIMITS SCRIPT`: run a stranger's script where it can read Python and its own folder, and nothing else.

Linux' Landlock closes the file system, a seccomp filter the network, other processes and new ones. Imports the standard
library alone: it runs by its path, before the rest of the environment may be read.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import runpy
import struct
import sys
from collections.abc import Sequence
from typing import Any

NOT_CLOSED = 97
"""Exit code where the script was not started, because this machine cannot close it in."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_LANDLOCK = {"create": 444, "add": 445, "restrict": 446}
_READ = 0b0000_0000_0000_1101  # execute, read a file, list a folder
_ALL_FILES = (1 << 15) - 1  # what Landlock's third version knows of files
# Of /proc its own folder: what libraries it has loaded.
_READABLE = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/dev/null",
    "/dev/zero",
    "/proc/self",
)
# Number of each system call on a machine, and the machine's own number. A thread may be made, a process may not.
_CALLS = {
    "x86_64": (0xC000003E, {
        "socket": 41, "kill": 62, "tkill": 200, "ptrace": 101, "fork": 57, "vfork": 58, "clone": 56, "clone3": 435,
        "process_vm_readv": 310, "process_vm_writev": 311, "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438,
        "pidfd_send_signal": 424, "bpf": 321, "userfaultfd": 323, "keyctl": 250, "unshare": 272, "setns": 308, "mount": 165,
        "shmget": 29,
    }),
    "aarch64": (0xC00000B7, {
        "socket": 198, "kill": 129, "tkill": 130, "ptrace": 117, "clone": 220, "clone3": 435, "process_vm_readv": 270,
        "process_vm_writev": 271, "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
        "bpf": 280, "userfaultfd": 282, "keyctl": 219, "unshare": 97, "setns": 268, "mount": 40, "shmget": 194,
    }),
}  # fmt: skip
_EPERM, _ENOSYS = 1, 38
_THREAD = 0x10000


class NotClosedError(Exception):
    """This machine cannot close a script in."""


def close(folder: str, memory: int, seconds: int) -> None:
    """From here on this process reads Python, writes `folder`, and reaches nothing else. Raises NotClosedError."""
    for kind, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds * 2), (resource.RLIMIT_FSIZE, 2 << 30),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 256),
    ):  # fmt: skip
        resource.setrlimit(kind, (most, most))
    if _LIBC.prctl(38, 1, 0, 0, 0):  # no new privileges
        raise NotClosedError("this kernel gives new privileges")
    _close_files(folder)
    _close_calls()


def _close_files(folder: str) -> None:
    version = _LIBC.syscall(_LANDLOCK["create"], None, 0, 1)
    if version < 3:
        raise NotClosedError(
            f"this machine's kernel cannot keep the script from other files: Landlock has version {max(version, 0)}, not 3. "
            "Train on a machine with Linux 6.2 or newer"
        )
    network = 3 if version >= 4 else 0  # TCP: bind and connect
    scoped = 3 if version >= 6 else 0  # abstract sockets and signals
    told = struct.pack("=QQQ", _ALL_FILES, network, scoped)[
        : 24 if version >= 6 else 16 if version >= 4 else 8
    ]
    rules = _LIBC.syscall(_LANDLOCK["create"], told, len(told), 0)
    if rules < 0:
        raise NotClosedError(f"Landlock makes no rules: {os.strerror(ctypes.get_errno())}")
    _allow(rules, folder, _ALL_FILES)
    for path in dict.fromkeys((sys.prefix, sys.base_prefix, *_READABLE)):
        if os.path.exists(path):
            _allow(
                rules, path, _READ if os.path.isdir(path) else 0b100 | (0b10 if path == "/dev/null" else 0)
            )
    if _LIBC.syscall(_LANDLOCK["restrict"], rules, 0):
        raise NotClosedError(f"Landlock does not hold: {os.strerror(ctypes.get_errno())}")
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        told = struct.pack("=Qi", rights, place)
        if _LIBC.syscall(_LANDLOCK["add"], rules, 1, told, 0):
            raise NotClosedError(f"Landlock refuses {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(place)


def _close_calls() -> None:
    machine = platform.machine()
    if machine not in _CALLS:
        raise NotClosedError(f"scripts run on {' and '.join(_CALLS)}, and this is {machine}")
    number, calls = _CALLS[machine]
    refused = {name: call for name, call in calls.items() if name not in ("clone", "clone3")}
    # Programs of the kernel's filter: load a word, jump if equal, return.
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, number), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    if machine == "x86_64":  # the other way to count system calls there
        program += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x00050000 | _EPERM)]
    program += [(0x15, 0, 1, calls["clone3"]), (0x06, 0, 0, 0x00050000 | _ENOSYS)]
    for call in refused.values():
        program += [(0x15, 0, 1, call), (0x06, 0, 0, 0x00050000 | _EPERM)]
    program += [
        (0x15, 0, 3, calls["clone"]),
        (0x20, 0, 0, 16),
        (0x45, 1, 0, _THREAD),
        (0x06, 0, 0, 0x00050000 | _EPERM),
    ]
    program += [(0x06, 0, 0, 0x7FFF0000)]
    _filter(program)


def _filter(program: Sequence[tuple[int, int, int, int]]) -> None:
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    told = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    if _LIBC.prctl(22, 2, told, 0, 0):
        raise NotClosedError(f"the kernel takes no filter of system calls: {os.strerror(ctypes.get_errno())}")


def _leave(found: dict[str, Any]) -> None:
    """Write what the script left in its variables, where it has not written it itself."""
    model, path = found.get("model"), os.environ["ASGARD_MODEL"]
    if model is not None and not os.path.exists(path):
        import skops.io

        skops.io.dump(model, path)
    metrics, path = found.get("metrics"), os.environ["ASGARD_METRICS"]
    if isinstance(metrics, dict) and not os.path.exists(path):
        with open(path, "w") as file:
            json.dump({str(name): float(value) for name, value in metrics.items()}, file)


def main() -> None:
    limits, script = sys.argv[1:]
    try:
        close(**json.loads(limits))
    except (NotClosedError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(NOT_CLOSED)
    sys.argv = [script]
    _leave(runpy.run_path(script, run_name="__main__"))


if __name__ == "__main__":
    main()
