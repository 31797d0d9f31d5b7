"""Runs a program whose node registers with a local DDS: ``program.py COMMAND...``"""

import os
import subprocess
import sys

from posemesh_node.testing import PRIVATE_KEY, LocalDds

with LocalDds() as dds:
    environment = {
        "DDS_BASE_URL": dds.url,
        "REG_SECRET": dds.options()["reg_secret"],
        "SECP256K1_PRIVHEX": PRIVATE_KEY,
    }
    sys.exit(subprocess.run(sys.argv[1:], env=os.environ | environment).returncode)
