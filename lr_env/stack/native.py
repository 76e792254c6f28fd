"""C++ of the project's own, compiled where it is needed by the compiler that is at hand."""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from lr_env.errors import CompilerError

_FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp",
    "-shared", "-fPIC",
)  # fmt: skip


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """Compile `source` and load it, once a process; headers are those beside this module.

    Raises:
        CompilerError: there is no compiler that can.
    """
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        written, built = Path(folder) / "source.cpp", Path(folder) / "library.so"
        written.write_text(source, encoding="utf-8")
        headers = f"-I{Path(__file__).parent}"
        try:
            subprocess.run(  # noqa: S603 - the compiler is the user's own
                [*compiler, *_FLAGS, headers, str(written), "-o", str(built)],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
            )
            return ctypes.CDLL(str(built))
        except (OSError, subprocess.CalledProcessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise CompilerError(
                f"{compiler[0]} does not build what compiled perceptrons need ({said[0][:160]}): "
                "install GCC or name it in CXX, or leave `compile` off."
            ) from error
