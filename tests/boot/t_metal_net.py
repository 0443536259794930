#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Networks between VMs of the bare-metal hypervisor, under QEMU's SVM: two Debian kernels reach each other and copy
a file; one on another network hears nothing; one that floods theirs, and is killed meanwhile, does not stop them."""
import re
import time

import vigia_test as vt
from baremetal import QEMU, Machine, linux, need, pack

need(QEMU)

GUESTS = (("alpha", "lan", 1, "lan"), ("bravo", "lan,mac=52:54:00:00:00:0b", 2, "lan,serve"), ("carol", "dmz", 3, "lan"),
          ("mallory", "lan", 4, "lan"))

with vt.Workdir() as work:
    fleet = "".join(linux(name, f"vigia.run={run} vigia.ip=10.9.0.{n} vigia.sleep=100000", net="switch:" + net) for name, net, n, run in GUESTS)
    with Machine(pack(work.file("fleet.cpio"), fleet), memory=768, smp=2) as vm:
        def ask(command, timeout=120):
            return vm.shell(command, timeout)[1]

        def fetch(timeout=240):
            return md5 in ask("wget -q -O - http://10.9.0.2/file | md5sum", timeout)

        md5 = vm.said(r"bravo\| VIGIA serves ([0-9a-f]{32})", 400)[1].decode()
        for name, *_ in GUESTS:
            if name != "bravo":
                vm.said(rf"{name}\| VIGIA shell", 240)
        mac = vm.said(r"bravo\| VIGIA lan ([0-9a-f:]{17})", 10)[1].decode()
        vt.check(mac == "52:54:00:00:00:0b", f"a card {mac} has the address that it is given")
        vm.position = len(vm.output)
        vm.to("alpha")
        vt.check("5 packets received" in ask("ping -c 5 -w 60 10.9.0.2"), "one VM pings another")
        vt.check(fetch(), "and fetches a file of 4 MiB as it was")
        vm.to("carol")
        vt.check(" 0 packets received" in ask("ping -c 3 -W 2 -w 10 10.9.0.2"), "from another network nobody is reached")
        vm.to("mallory")
        # All over the network, as nobody has this address; in fragments
        ask("arp -s 10.9.0.99 02:00:00:00:00:99; for i in 1 2 3 4; do ping -s 60000 -i 0.001 10.9.0.99 >/dev/null & done; true")
        vm.to()
        vm.send("net\n")
        before = int(vm.expect(r"mallory +lan +\S+ +(\d+)\s", 30)[1])
        vm.to("alpha")
        begun = time.monotonic()
        vt.check(fetch(600), "a VM that floods the network does not stop them")
        vm.to()
        vm.send("net\n")
        sent = int(vm.expect(r"mallory +lan +\S+ +(\d+)\s", 30)[1]) - before
        lasted = time.monotonic() - begun
        vt.check(sent > 100 * lasted, f"which had {sent} frames in the {lasted:.1f} s of the copy")
        vm.to("alpha")
        ask("(wget -q -O - http://10.9.0.2/file | md5sum >/tmp/sum; echo done >>/tmp/sum) 2>/dev/null & true")
        vm.to()
        vm.send("kill mallory\n")
        vm.expect(r"mallory: killed", 60)
        vm.to("alpha")
        vt.check(md5 in ask("while ! grep -q done /tmp/sum; do sleep 1; done; cat /tmp/sum", 300), "nor does it, killed, take a copy along")
        vm.to()
        # Its memory is still being cleared, perhaps
        vm.send("start mallory\n")
        while vm.expect(r"runs already|mallory: started", 60)[0] == b"runs already":
            time.sleep(1)
            vm.send("start mallory\n")
        vm.expect(r"mallory\| VIGIA shell", 240)
        vm.to("mallory")
        vt.check("3 packets received" in ask("ping -c 3 -w 60 10.9.0.1"), "started again, it is on the network again")
        vm.to("carol")
        vt.check(re.search(r"(?m)^0\r?$", ask("cat /sys/class/net/eth0/statistics/rx_packets")),
                 "the other network has heard nothing of all this")
        vm.to()
        vm.poweroff()
