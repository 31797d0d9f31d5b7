"""Prints the software bill of materials of an artefact, in CycloneDX 1.6:

    tests/packages/sbom.py c|python|nodejs [TARGET]

It is the same in each run and on each machine: it has no time, no random number and no path.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import runtimes
from crates import ARTEFACTS, STANDARD_LIBRARY, TARGETS, Crate, Package, rust_version, version

REPOSITORY = "https://github.com/aukilabs/posemesh-node-registration"

# How the package of each artefact is found. The C library is in no registry.
PURLS = {
    "c": "pkg:github/aukilabs/posemesh-node-registration@v{version}#ffi-c",
    "python": "pkg:pypi/posemesh-node@{version}",
    "nodejs": "pkg:npm/posemesh-node@{version}",
}

STD = f"pkg:github/rust-lang/rust@{rust_version()}#library/std"


def document(artefact: str, target: str) -> dict[str, Any]:
    package = ARTEFACTS[artefact]
    purl = PURLS[artefact].format(version=version())
    main = {
        "type": "library",
        "bom-ref": purl,
        "name": "libposemesh_node" if artefact == "c" else "posemesh-node",
        "version": version(),
        "licenses": [{"expression": "MIT"}],
        "purl": purl,
        "externalReferences": [{"type": "vcs", "url": REPOSITORY}],
        "properties": [{"name": "target", "value": target}],
    }
    std = {
        "type": "library",
        "bom-ref": STD,
        "name": "std",
        "version": rust_version(),
        "licenses": [{"expression": "(MIT OR Apache-2.0) AND Unicode-3.0"}],
        "purl": STD,
    }
    # The standard library may use a crate in the version that this project uses too.
    crates = sorted({*package.crates([target]), *STANDARD_LIBRARY.crates([target])})
    linked = runtimes.linked(target)
    used = _dependencies(STANDARD_LIBRARY, STD, target) | _dependencies(package, purl, target)
    used[purl] += [STD, *(runtime.purl for runtime in linked)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": [std, *map(_runtime, linked), *map(_component, crates)],
        "dependencies": [{"ref": ref, "dependsOn": uses} for ref, uses in used.items()],
    }


def text(artefact: str, target: str) -> str:
    return json.dumps(document(artefact, target), indent=2)


def _dependencies(package: Package, purl: str, target: str) -> dict[str, list[str]]:
    used = package.dependencies(target)
    return {crate.purl if crate else purl: [one.purl for one in uses] for crate, uses in used.items()}


def _component(crate: Crate) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": crate.purl,
        "name": crate.name,
        "version": crate.version,
        "hashes": [{"alg": "SHA-256", "content": crate.sha256}],
        # The slash is an older way to say OR.
        "licenses": [{"expression": crate.license.replace("/", " OR ")}],
        "purl": crate.purl,
    }


def _runtime(runtime: runtimes.Runtime) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": runtime.purl,
        "name": runtime.name,
        **({"version": runtime.version} if runtime.version else {}),
        "licenses": [{"expression": runtime.license}],
        "purl": runtime.purl,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", choices=ARTEFACTS)
    parser.add_argument("target", choices=TARGETS, nargs="?", default="x86_64-unknown-linux-gnu")
    arguments = parser.parse_args()
    print(text(arguments.artefact, arguments.target))
