# SPDX-License-Identifier: ISC
"""neighbours: a fleet of guests of different kinds on the bare-metal hypervisor, of which some make trouble, and what the others get done
meanwhile: alpha and bravo are Debian kernels with a disk and a network between them, sixteen one of 16 bits that counts ticks."""
import re
import time

import vigia_test as vt
from baremetal import assemble, linux, pack, small


def fleet(work, name, troubles):
    """troubles: (name, as trouble.asm calls its kind, weight in percent)."""
    text = "".join(linux(who, f"vigia.run={run} vigia.ip=10.9.0.{n} vigia.sleep=0", f'disk: ["{work.file(who, size=8 << 20)}"]', net="switch:lan")
                   for who, n, run in (("alpha", 1, "disk,lan"), ("bravo", 2, "disk,lan,serve")))
    text += small("sixteen", assemble(work.file("sixteen"), "boot/sixteen.asm"))
    for trouble, kind, weight in troubles:
        rules = work.file(f"weight{weight}", f"provide cpu any weight {weight}%".encode())
        text += small(trouble, assemble(work.file(trouble), "boot/trouble.asm", "-D" + kind), f"policy: {rules}")
    return pack(work.file(name), text)


def to_shells(vm, endless, troubles):
    """All have started, and who makes trouble has ended, endless ones as they are killed. The sum of what bravo serves."""
    for trouble in endless:
        vm.said(rf"{trouble}\| trouble begins", 400)
        vm.send(f"kill {trouble}\n")
    for name in ("alpha", "bravo"):
        vm.said(rf"{name}\| VIGIA disk ok", 400)
    md5 = vm.said(r"bravo\| VIGIA serves ([0-9a-f]{32})", 400)[1].decode()
    vm.said(r"alpha\| VIGIA shell", 400)
    for trouble in troubles:
        vm.said(rf"{trouble}: (killed|crashed)", 120)
    return md5


def serve(vm, blocks):
    """Bravo serves so many blocks of 64 KiB from now on. Their sum."""
    vm.to("bravo")
    _, text = vm.shell(f"dd if=/dev/urandom of=/tmp/www/file bs=64k count={blocks} 2>/dev/null; md5sum </tmp/www/file", 120)
    vm.to()
    return re.findall(r"[0-9a-f]{32}", text)[-1]  # what the console has kept comes before


def state(vm, name):
    vm.send("list\n")
    got = vm.expect(rf"\d +{name} +(\S+) +\d+ +\d+ MiB", 60)[1].decode()
    vm.expect(r"vigia> ", 60)
    return got


def second(vm):
    """Of the 16-bit guest: the one that it says next; and when."""
    vm.position = len(vm.output)
    return int(vm.expect(r"sixteen\| sixteen second (\d+)\r", 300)[1]), time.monotonic()


# Its clock, then rounds in so many seconds of the guest's own: a read of its disk, and a fetch of what its neighbour has on its disk
WORK = ("read a _ </proc/uptime; echo begunMARK=$a; n=0; while read b _ </proc/uptime; [ ${b%.*} -lt $((${a%.*} + SECONDS)) ]; do "
        "dd if=/dev/vda of=/dev/null bs=64k count=BLOCKS iflag=direct 2>/dev/null && "
        "wget -q -O /tmp/got http://10.9.0.2/file && n=$((n + 1)); done; echo didMARK=$n lasted=$a..$b sum=$(md5sum </tmp/got)")


def measure(vm, md5, seconds, blocks=16):
    """Rounds of alpha in so many of its seconds, each with so many blocks of its disk, and how its clock went beside ours."""
    vm.to("alpha")
    mark = str(time.monotonic_ns())  # what the console has kept is shown again
    vm.send(WORK.replace("MARK", mark).replace("SECONDS", str(seconds)).replace("BLOCKS", str(blocks)) + "\n")
    vm.expect(rf"begun{mark}=\d", 120)
    began = time.monotonic()
    said = vm.expect(rf"did{mark}=\d+ lasted=\S+ sum=\S+\s", 600)[0].decode()
    lasted = time.monotonic() - began
    m = re.search(r"did\d+=(\d+) lasted=([0-9.]+)\.\.([0-9.]+) sum=([0-9a-f]{32})", said)
    vt.check(m and m[4] == md5, f"what it fetched is what its neighbour has: {said.strip()}, {md5}")
    vm.to()
    return int(m[1]), (float(m[3]) - float(m[2])) / lasted
