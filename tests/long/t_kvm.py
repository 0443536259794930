#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The KVM engine where KVM executes: in the rig (tests/rig) the Debian kernel boots to a shell under --engine
kvm, moves to soft and back while it runs, and is saved and restored on the other engine, again and again, while
it works (VIGIA_KVM_ROUNDS: 10), with local APICs in the kernel and with I/O APIC and PIC, too (VIGIA_KVM_CHIPS: split,full; "": not at all). Then it boots where the host's kernel calls its TSC unstable, so that KVM moves the
guest's at each entry. Some minutes."""
import os
import re
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

SCRIPT = r"""
mkfifo /tmp/in /tmp/in2 /tmp/in3
sleep 1000000 >/tmp/in & sleep 1000000 >/tmp/in2 & sleep 1000000 >/tmp/in3 &
wait_for() { i=0; while [ $i -lt WAIT ] && ! grep -q "$1" $2; do sleep 1; i=$((i+1)); done; grep -q "$1" $2 && echo "RIG $3" || { echo "RIG failed: $3"; tail -5 $2; }; }
vigia doctor | grep kvm
dd if=/dev/zero of=/tmp/disk bs=64k count=16 2>/dev/null
vigia run --engine kvm CHIPS --kvm-ioeventfd on --disk /tmp/disk,format=raw --sandbox off --name k --net none --memory 128M --kernel /g/vmlinuz --initrd /g/initramfs.cpio --append 'console=ttyS0 quiet vigia.end=shell' </tmp/in >/tmp/out 2>&1 &
wait_for 'VIGIA shell' /tmp/out 'booted on kvm'
echo 'a=41; echo k""vm $((a+1))' >/tmp/in
wait_for 'kvm 42' /tmp/out 'shell on kvm'
echo 'while read -r ko; do insmod /lib/modules/$(uname -r)/$ko; done </etc/modules; n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done' >/tmp/in
echo 'n=0; while [ $n -lt 5 ]; do n=$((n+1)); echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=4k 2>/dev/null; done; [ -b /dev/vda ] && echo di""sk' >/tmp/in
wait_for 'disk' /tmp/out 'disk on kvm'
vigia stats k | sed -n 's/^doorbells/RIG &/p'
vigia stats k | grep exits
vigia move k --engine soft && echo RIG moved
echo 'echo s""oft $((a+2))' >/tmp/in
wait_for 'soft 43' /tmp/out 'shell on soft'
vigia move k --engine kvm && echo RIG moved
echo 'echo a""gain $((a+3))' >/tmp/in
wait_for 'again 44' /tmp/out 'shell on kvm again'
vigia save k /tmp/s && echo RIG saved
# Sums over memory and disk and a clock that must not run back, through moves and restores from one engine to the other.
vigia restore --engine soft /tmp/s </tmp/in2 >/tmp/out2 2>&1 &
sleep 3
echo 'work() { a=$(dd if=/dev/urandom bs=64k count=8 2>/dev/null | tee /tmp/r | sha256sum); n=0; last=0; while true; do n=$((n+1)); b=$(sha256sum < /tmp/r); [ "$a" = "$b" ] || echo WRONG""SUM; dd if=/tmp/r of=/dev/vda bs=4k conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; b=$(dd if=/dev/vda bs=4k count=128 2>/dev/null | sha256sum); [ "$a" = "$b" ] || echo WRONG""DISK; t=$(cut -d. -f1 /proc/uptime); [ $t -ge $last ] || echo WRONG""CLOCK; last=$t; echo al""ive $n; done; }; work' >/tmp/in2
wait_for 'alive 3' /tmp/out2 'works on soft'
up() { n=0; while [ $n -lt 60 ] && ! vigia stats k >/dev/null 2>&1; do sleep 0.2; n=$((n+1)); done; }
back() { vigia restore --engine $1 /tmp/s </tmp/in2 >>/tmp/out2 2>&1 & up; }
i=0; while [ $i -lt ROUNDS ]; do
    vigia move k --engine kvm && vigia move k --engine soft && vigia move k --engine kvm || break
    vigia save k /tmp/s && back soft && vigia save k /tmp/s && back kvm && sleep 2 || break
    vigia save k /tmp/s && back kvm && sleep 1 && vigia move k --engine soft || break
    i=$((i+1)); echo RIG round
done
a=$(grep -c alive /tmp/out2); n=0; while [ $n -lt 60 ] && [ $(grep -c alive /tmp/out2) -le $a ]; do sleep 1; n=$((n+1)); done
[ $n -lt 60 ] && echo RIG still works || { vigia stats k; tail -5 /tmp/out2; }
grep -E 'WRONG(SUM|DISK|CLOCK)|BUG|stall|Call Trace' /tmp/out2
vigia kill k
"""

UNSTABLE = r"""
mkfifo /tmp/in; sleep 1000000 >/tmp/in &
vigia run --engine kvm --sandbox off --name k --net none --memory 128M --kernel /g/vmlinuz --initrd /g/initramfs.cpio --append 'console=ttyS0 quiet vigia.end=shell' </tmp/in >/tmp/out 2>&1 &
i=0; while [ $i -lt WAIT ] && ! grep -q 'VIGIA shell' /tmp/out; do sleep 1; i=$((i+1)); done
grep -q 'VIGIA shell' /tmp/out && echo "RIG booted" || tail -5 /tmp/out
vigia stats k | grep exits
vigia kill k
"""

ROUNDS = int(os.environ.get("VIGIA_KVM_ROUNDS", "10"))
WAIT = int(120 * vt.PATIENCE)  # on a busy machine
FILES = [vt.kernel(), vt.initramfs()]


def there_and_back(chips):
    text = rig.Rig(FILES, SCRIPT.replace("ROUNDS", str(ROUNDS)).replace("WAIT", str(WAIT)).replace("CHIPS", chips)).run(420 + 40 * ROUNDS)
    print("\n".join(line for line in text.splitlines() if "warning: TCG" not in line)[-4000:])
    if "RIG kvm" not in text:
        vt.skip("this host's QEMU gives no nested virtualization")
    vt.check(re.search(r"kvm\s+executes natively", text), "the probe finds that KVM executes")
    for what in ("booted on kvm", "shell on kvm", "shell on soft", "shell on kvm again", "disk on kvm", "saved"):
        vt.check(f"RIG {what}" in text, f"{what} {chips}")
    vt.check(text.count("RIG moved") == 2, "moved twice")
    vt.check(text.count("RIG round") == ROUNDS and "RIG still works" in text, f"{ROUNDS} rounds of moves and restores under load")
    vt.check(re.search(r"RIG doorbells +[1-9]", text), "the disk's doorbell was an eventfd")
    vt.check(not re.search("WRONG[SDC]", text) and "BUG:" not in text and "Call Trace" not in text, "no kernel complains")


for irqchip in filter(None, os.environ.get("VIGIA_KVM_CHIPS", "split,full").split(",")):
    there_and_back("--kvm-irqchip " + irqchip)
text = rig.Rig(FILES, UNSTABLE.replace("WAIT", str(WAIT)), append="tsc=unstable").run(300)
print("\n".join(line for line in text.splitlines() if "exits" in line))
kicks = re.search(r"kick (\d+)", text)
vt.check("RIG booted" in text and kicks and int(kicks.group(1)) < 20000, "booted where the TSC is unstable, without a storm of kicks")
