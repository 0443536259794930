#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vhost-net: in the rig (tests/rig), whose kernel has it, the host's kernel runs a virtio card's queues between the guest's memory and a tap
interface, and interrupts by itself; a guest fetches and sends files meanwhile, whose sums are right, while the VM is saved,
restored, moved to soft, which does without, and back; rules about frames take the queues back at once. Where there is no /dev/vhost-net,
auto goes without and on says how to get it. VIGIA_VHOST_WAYS: chips and sandbox (split:on); the moves are in "full:off", which takes two minutes (tests/long/t_vhost.py)."""
import os
import re
import sys

import vigia_test as vt

sys.path.insert(0, os.path.join(vt.ROOT, "tests/rig"))
import rig  # noqa: E402

MODULES = ["drivers/vhost/vhost_iotlb.ko", "drivers/net/tun.ko", "drivers/net/tap.ko", "drivers/vhost/vhost.ko", "drivers/vhost/vhost_net.ko"]
WAIT = int(240 * vt.PATIENCE)

SCRIPT = r"""
dmesg -n 1
mkfifo /tmp/in /tmp/in2; sleep 1000000 >/tmp/in & sleep 1000000 >/tmp/in2 &
wait_for() { i=0; while [ $i -lt WAIT ] && ! grep -q "$1" $3; do sleep 0.5; i=$((i+1)); done; grep -q "$1" $3 && echo "RIG $2" || { echo "RIG failed: $2"; tail -5 $3 /tmp/err; }; }
wired() { i=0; while [ $i -lt 100 ] && ! ip link show vg0 >/dev/null 2>&1; do sleep 0.1; i=$((i+1)); done; ip addr add 10.9.0.1/24 dev vg0; ip link set vg0 up; }
VIGIA_LOG=debug vigia run --engine kvm --kvm-irqchip CHIP --sandbox SANDBOX --history none --name v --net tap:vg0,vhost=on --memory 128M --kernel /g/vmlinux \
    --initrd /g/initramfs.cpio --append 'console=ttyS0 quiet vigia.end=shell' </tmp/in >/tmp/out 2>/tmp/err &
wait_for 'VIGIA shell' booted /tmp/out
wired
mkdir /w; dd if=/dev/urandom of=/w/data bs=64k count=16 2>/dev/null; sum=$(sha256sum </w/data | cut -c1-20)
httpd -p 10.9.0.1:80 -h /w
echo 'while read -r ko; do insmod /lib/modules/$(uname -r)/$ko; done </etc/modules; ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; get() { echo "g""ot $1 $(wget -q -O - http://10.9.0.1/data | sha256sum | cut -c1-20)"; }; get one' >/tmp/in
wait_for "got one $sum" 'fetched' /tmp/out
grep -h 'runs the queues' /tmp/err | tail -1 | sed 's/^/RIG at first /'
grep -h 'queues' /tmp/err | wc -l | sed 's/^/RIG changes /'
echo 'mkdir /up; dd if=/dev/urandom of=/up/data bs=64k count=16 2>/dev/null; httpd -p 10.9.0.2:80 -h /up; echo s""erves' >/tmp/in
wait_for serves serves /tmp/out
up=$(wget -q -O - http://10.9.0.2/data | sha256sum | cut -c1-20)
echo "[ $up = \$(sha256sum </up/data | cut -c1-20) ] && echo s\"\"ent" >/tmp/in
wait_for sent sent /tmp/out
if [ SANDBOX = off ]; then
    vigia move v --engine soft && echo RIG moved
    echo 'get two' >/tmp/in; wait_for "got two $sum" 'fetched on soft' /tmp/out
    vigia move v --engine kvm && echo RIG moved
    echo 'get three' >/tmp/in; wait_for "got three $sum" 'fetched on kvm again' /tmp/out
fi
echo '(while true; do wget -q -O - http://10.9.0.1/data | sha256sum | cut -c1-20 | sed s/^/lo""op\ /; done) &' >/tmp/in
i=0; while [ $i -lt 4 ]; do vigia save --keep v /tmp/s >/dev/null && echo RIG kept; sleep 1; i=$((i+1)); done
wait_for "loop $sum" 'fetches while it is saved' /tmp/out
vigia save v /tmp/s >/dev/null && echo RIG saved
VIGIA_LOG=debug vigia restore /tmp/s </tmp/in2 >/tmp/out2 2>/tmp/err2 & wired
wait_for "loop $sum" 'fetches when it is restored' /tmp/out2
grep -h 'runs the queues' /tmp/err2 | tail -1 | sed 's/^/RIG restored /'
echo "RIG wrong $(cat /tmp/out /tmp/out2 | grep 'loop ' | grep -v "$sum\|echo" | wc -l)"
echo 'deny net any' >/tmp/rules; vigia policy set v /tmp/rules && echo RIG rules
grep -h queues /tmp/err2 | tail -1 | sed 's/^/RIG with rules /'
sleep 2; a=$(grep -c "loop $sum" /tmp/out2); sleep 5; [ $a = $(grep -c "loop $sum" /tmp/out2) ] && echo RIG denied
vigia kill v
"""


def here():
    """This machine's, whatever it has."""
    status, _, err = vt.vigia("run", "--net", "tap:vgx0,vhost=on", "--kernel", vt.kernel())
    if os.path.exists("/dev/vhost-net"):
        return
    vt.check(status == 1 and "modprobe vhost_net" in err, f"vhost=on without vhost-net is refused: {err.strip()}")
    status, _, err = vt.vigia("run", "--net", "tap:vgx0,vhost=maybe", "--kernel", vt.kernel())
    vt.check(status == 1 and "vhost is auto, on or off" in err, f"refused: {err.strip()}")
    status, _, err = vt.vigia("run", "--net", "user,vhost=on", "--kernel", vt.kernel())
    vt.check(status == 1 and "unknown network option" in err, f"refused: {err.strip()}")
    status, out, _ = vt.vigia("doctor")
    vt.check(re.search(r"vhost-net +there is no /dev/vhost-net", out), "vigia doctor says so")


def in_rig(chip, sandbox):
    script = SCRIPT.replace("WAIT", str(WAIT)).replace("CHIP", chip).replace("SANDBOX", sandbox)
    text = rig.Rig([vt.unpacked_kernel(), vt.initramfs()], script).run(900)
    print("\n".join(line for line in text.splitlines() if "RIG" in line) or text[-2000:])
    if "RIG kvm" not in text:
        vt.skip("this host's QEMU gives no nested virtualization")
    words = ["booted", "fetched", "sent", "fetches while it is saved", "saved", "fetches when it is restored", "wrong 0", "rules", "denied"]
    if sandbox == "off":
        words += ["fetched on soft", "fetched on kvm again"]
    for what in words:
        vt.check(re.search(f"RIG {what}[\r\n]", text), f"{what} (chips: {chip}, sandbox {sandbox})")
    vt.check(re.search("RIG at first .*the host's kernel runs the queues, and interrupts", text), "the kernel runs the queues, and interrupts")
    vt.check(re.search("RIG restored .*the host's kernel runs the queues", text), "also of a restored VM")
    vt.check(text.count("RIG kept") == 4, "saved while it goes on")
    vt.check(re.search("RIG with rules .*run here again", text), "rules take them back at once")
    vt.check(sandbox == "on" or text.count("RIG moved") == 2, "moved there and back")


here()
rig.MODULES += MODULES
for way in os.environ.get("VIGIA_VHOST_WAYS", "split:on").split():
    in_rig(*way.split(":"))
