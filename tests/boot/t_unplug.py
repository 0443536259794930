#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Rules about devices that are set while a VM runs: the guest's disk fails, its cable is pulled, and both come back."""
import json
import os

import vigia_test as vt


def notes(name):
    status, out, err = vt.vigia("history", name, "--json", "--class", "device")
    vt.check(status == 0, f"history {err}")
    return [(r["text"], r["verdict"], r["rule"]) for r in map(json.loads, out.splitlines())]


def rules(name, path):
    status, _, err = vt.vigia("policy", "set", name, path)
    vt.check(status == 0, f"policy set {os.path.basename(path)} {err}")


def main():
    server = vt.WebServer(b"hello")
    name = f"unplug-{os.getpid()}"
    read = "dd if=/dev/vd{0} of=/dev/null bs=4096 count=1 skip={1} iflag=direct 2>/dev/null"
    fetch = f"timeout 5 wget -q -O - {server.guest_url}"
    with vt.Workdir() as w:
        disks = [w.file(f"disk{i}", b"x" * (1 << 20)) for i in range(2)]
        out = w.file("out.rules", b"# nothing of it is there\nprovide disk any\ndeny device disk0\ndeny device net\ndeny device rng\n")
        back = w.file("back.rules", b"deny device disk1\nprovide device any\n")
        with vt.VM("--name", name, "--net", "user", "--disk", f"{disks[0]},format=raw", "--disk", f"{disks[1]},format=raw",
                   *vt.busybox("vigia.run=modules,net vigia.end=shell")) as vm:
            vm.expect(r"VIGIA shell", 120)
            vt.check("1" in vm.shell("cat /sys/class/net/eth0/carrier")[1].split(), "the cable is in")
            vt.check("hello" in vm.shell(fetch)[1], "the guest reaches its host")
            vt.check(vm.shell(read.format("a", 1))[0] == 0, "its disk is there")
            rules(name, out)
            vt.check("0" in vm.shell("sleep 1; cat /sys/class/net/eth0/carrier")[1].split(), "the cable is out")
            vt.check("hello" not in vm.shell(fetch, 90)[1], "nothing comes")
            vt.check(vm.shell(read.format("a", 2))[0] != 0, "the disk fails, whatever rules of its own say")
            vt.check(vm.shell(read.format("b", 2))[0] == 0, "the other one is there")
            rules(name, back)
            vt.check("1" in vm.shell("sleep 1; cat /sys/class/net/eth0/carrier")[1].split(), "the cable is in again")
            vt.check(vm.shell("n=0; until " + fetch +
                              "; do n=$((n+1)); [ $n = 20 ] && break; sleep 1; done; [ $n != 20 ]", 120)[0] == 0,
                     "the guest reaches its host again")
            vt.check(vm.shell(read.format("a", 3))[0] == 0, "the disk is there again")
            vt.check(vm.shell(read.format("b", 3))[0] != 0, "the other one is not")
            vm.send("poweroff -f\n")
            vm.wait(60)
        vt.check(notes(name) == [("disk0 is unplugged", 2, 3), ("net0 is unplugged", 2, 4), ("rng0 is unplugged", 2, 5),
                                 ("disk0 is plugged in again", 0, 2), ("disk1 is unplugged", 2, 1),
                                 ("net0 is plugged in again", 0, 2), ("rng0 is plugged in again", 0, 2)],
                 f"the history tells of it: {notes(name)}")


if __name__ == "__main__":
    main()
