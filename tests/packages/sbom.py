"""Prints the software bill of materials of an artefact, in CycloneDX 1.6:

    tests/packages/sbom.py c|python|nodejs [TARGET]

It is the same in each run and on each machine: it has no time, no random number and no path.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from crates import ARTEFACTS, TARGETS, Crate, dependencies, linked, version

REPOSITORY = "https://github.com/aukilabs/posemesh-node-registration"

# How the package of each artefact is found. The C library is in no registry.
PURLS = {
    "c": "pkg:github/aukilabs/posemesh-node-registration@v{version}#ffi-c",
    "python": "pkg:pypi/posemesh-node@{version}",
    "nodejs": "pkg:npm/posemesh-node@{version}",
}


def document(artefact: str, target: str) -> dict[str, Any]:
    crates = linked(artefact, [target])
    used = dependencies(crates)
    main = {
        "type": "library",
        "bom-ref": PURLS[artefact].format(version=version()),
        "name": "libposemesh_node" if artefact == "c" else "posemesh-node",
        "version": version(),
        "licenses": [{"expression": "MIT"}],
        "purl": PURLS[artefact].format(version=version()),
        "externalReferences": [{"type": "vcs", "url": REPOSITORY}],
        "properties": [{"name": "target", "value": target}],
    }
    tree = [(crate.purl if crate else main["bom-ref"], used[crate]) for crate in (None, *crates)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": [_component(crate) for crate in crates],
        "dependencies": [{"ref": ref, "dependsOn": [crate.purl for crate in uses]} for ref, uses in tree],
    }


def text(artefact: str, target: str) -> str:
    return json.dumps(document(artefact, target), indent=2)


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", choices=ARTEFACTS)
    parser.add_argument("target", choices=TARGETS, nargs="?", default="x86_64-unknown-linux-gnu")
    arguments = parser.parse_args()
    print(text(arguments.artefact, arguments.target))
