"""What `import posemesh_node` costs, compared with the import of an extension module that does nothing.

    python benchmarks/import_time.py [rounds]

Needs the installed package and a C compiler. Each import has a process of its own, the two in turn; the shell-out
and the start of the interpreter are not counted. Take the figures of a release wheel on a quiet machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

EMPTY = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "empty", NULL, 0, NULL};
PyMODINIT_FUNC PyInit_empty(void) { return PyModuleDef_Init(&module); }
"""
MEASURE = """
import sys, time
sys.path.insert(0, {directory!r})
began = time.perf_counter()
import {module}
print((time.perf_counter() - began) * 1e3)
"""


def build_empty(directory: str) -> None:
    source = Path(directory, "empty.c")
    source.write_text(EMPTY)
    target = Path(directory, "empty" + sysconfig.get_config_var("EXT_SUFFIX"))
    include = sysconfig.get_path("include")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(target)], check=True)


def import_ms(module: str, directory: str) -> float:
    program = MEASURE.format(directory=directory, module=module)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as directory:
        build_empty(directory)
        figures: dict[str, list[float]] = {"empty": [], "posemesh_node": []}
        for _ in range(rounds + 1):
            for module, times in figures.items():
                times.append(import_ms(module, directory))
    for module, times in figures.items():
        del times[0]  # the first one fills the system's caches
        print(f"{module:14} median {statistics.median(times):6.2f} ms  ({min(times):.2f} to {max(times):.2f})")
    more = statistics.median(figures["posemesh_node"]) - statistics.median(figures["empty"])
    print(f"the package costs {more:.2f} ms more")


if __name__ == "__main__":
    main()
