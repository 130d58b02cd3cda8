"""Take the network from a process that reads what strangers wrote, whatever library would use it."""

import ctypes
import platform
import sys
from errno import EACCES

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # words of the kernel's packet filter
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | EACCES
_ARCH, _NUMBER = 4, 0  # where a system call's description has them
# The kernel's name for the machine, and its number of socket(2).
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def leave_network() -> None:
    """Refuse sockets for the rest of the process's life: in the kernel, or in Python where the kernel cannot."""
    if not _refuse_in_kernel():
        sys.addaudithook(_refuse_in_python)


def _refuse_in_kernel() -> bool:
    machine = _MACHINES.get(platform.machine())
    if _LIBC is None or machine is None:
        return False
    architecture, socket = machine
    steps = (
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 1, socket),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(steps), (_Instruction * len(steps))(*(_Instruction(*step) for step in steps)))
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(_LIBC.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _refuse_in_python(event: str, _: object) -> None:
    if event.startswith("socket."):
        raise PermissionError(EACCES, "a reader has no network")
    return
