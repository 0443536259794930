#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The KVM engine where KVM executes: in the rig (tests/rig) the Debian kernel boots to a shell under --engine
kvm, moves to soft and back while it runs, and is saved. Some minutes."""
import os
import re
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

SCRIPT = r"""
mkfifo /tmp/in /tmp/in2 /tmp/in3
sleep 1000 >/tmp/in & sleep 1000 >/tmp/in2 & sleep 1000 >/tmp/in3 &
wait_for() { i=0; while [ $i -lt 90 ] && ! grep -q "$1" $2; do sleep 1; i=$((i+1)); done; grep -q "$1" $2 && echo "RIG $3" || { echo "RIG failed: $3"; tail -5 $2; }; }
vigia doctor | grep kvm
vigia run --engine kvm --sandbox off --name k --net none --memory 128M --kernel /g/vmlinuz --initrd /g/initramfs.cpio --append 'console=ttyS0 quiet vigia.end=shell' </tmp/in >/tmp/out 2>&1 &
wait_for 'VIGIA shell' /tmp/out 'booted on kvm'
echo 'a=41; echo k""vm $((a+1))' >/tmp/in
wait_for 'kvm 42' /tmp/out 'shell on kvm'
vigia stats k | grep exits
vigia move k --engine soft && echo RIG moved
echo 'echo s""oft $((a+2))' >/tmp/in
wait_for 'soft 43' /tmp/out 'shell on soft'
vigia move k --engine kvm && echo RIG moved
echo 'echo a""gain $((a+3))' >/tmp/in
wait_for 'again 44' /tmp/out 'shell on kvm again'
vigia save k /tmp/s && echo RIG saved
vigia kill k
"""

text = rig.Rig([vt.kernel(), vt.initramfs()], SCRIPT).run(240)
print("\n".join(line for line in text.splitlines() if "warning: TCG" not in line)[-4000:])
if "RIG kvm" not in text:
    vt.skip("this host's QEMU gives no nested virtualization")
vt.check(re.search(r"kvm\s+executes natively", text), "the probe finds that KVM executes")
for what in ("booted on kvm", "shell on kvm", "shell on soft", "shell on kvm again", "saved"):
    vt.check(f"RIG {what}" in text, what)
vt.check(text.count("RIG moved") == 2, "moved twice")
vt.check("BUG:" not in text and "Call Trace" not in text, "no kernel complains")
