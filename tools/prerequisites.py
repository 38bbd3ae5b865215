"""What this machine lacks for `make demo` or `make test`, in one line with the Debian packages.

Runs before anything is installed, on the standard library alone: `python tools/prerequisites.py
demo|test`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path


def _venv() -> bool:
    return importlib.util.find_spec("ensurepip") is not None


def _compiler() -> bool:
    return shutil.which("g++") is not None and shutil.which("c++") is not None


def _make() -> bool:
    return shutil.which("make") is not None


def _libpython() -> bool:
    """Looks where cocotb does: known to the loader, or beside the interpreter."""
    name = sysconfig.get_config_var("INSTSONAME")
    if (Path(sysconfig.get_config_var("LIBDIR")) / name).is_file():
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _perl() -> bool:
    """Perl with the modules that Verilator's wrapper needs; Debian's perl-base lacks them."""
    modules = ["-MFindBin", "-MGetopt::Long", "-MPod::Usage"]
    perl = shutil.which("perl")
    return (
        perl is not None
        and not subprocess.run([perl, *modules, "-e", "1"], capture_output=True).returncode
    )


def _tcl() -> bool:
    return shutil.which("tclsh") is not None


Check = tuple[str, str, Callable[[], bool]]  # Debian package, what of it is needed, is it there
DEMO: tuple[Check, ...] = (
    ("python3-venv", "Python's ensurepip", _venv),
    ("g++", "a C++ compiler", _compiler),
    ("make", "GNU make", _make),
)
TEST: tuple[Check, ...] = (
    *DEMO,
    ("libpython3-dev", "Python's shared library", _libpython),
    ("perl", "Perl with its standard modules", _perl),
    ("tcl", "a Tcl interpreter", _tcl),
)


def missing(checks: tuple[Check, ...]) -> str | None:
    """One line that names everything absent and its packages; None where nothing is."""
    absent = [(package, what) for package, what, present in checks if not present()]
    if not absent:
        return None
    packages = " ".join(package for package, _ in absent)
    return (
        f"missing: {', '.join(what for _, what in absent)}; on Debian and Ubuntu: "
        f"apt-get install {packages}"
    )


if __name__ == "__main__":
    sys.exit(missing({"demo": DEMO, "test": TEST}[sys.argv[1]]))
