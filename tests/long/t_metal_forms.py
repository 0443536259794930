#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The long forms of tests of the bare-metal hypervisor that ./test has in short: each machine, firmware and number of processors, each
network card, Debian's kernel and the suite of four processors by VMX, Debian's kernel translated. A quarter of an hour."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FORMS = (("t_metal.py", "--all"), ("t_metal_uplink.py", "--all"), ("t_metal_vmx.py", "--all"), ("t_metal_soft.py", "--linux"))

failed = []
for name, option in FORMS:
    env = {**os.environ, "PYTHONPATH": os.path.join(HERE, "..", "lib")}
    r = subprocess.run([sys.executable, os.path.join(HERE, "..", "boot", name), option], env=env, check=False)
    print(f"{name} {option}: exit status {r.returncode}", flush=True)
    if r.returncode not in (0, 77):
        failed.append(name)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
