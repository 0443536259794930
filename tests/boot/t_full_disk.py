#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A full host disk: the VM pauses and says so, goes on when there is room, and loses nothing. Wants a
small file system: a tmpfs in a mount namespace of our own, for which root is needed."""
import json
import os
import subprocess
import sys
import time

import vigia_test as vt

if os.environ.get("VIGIA_ENOSPC") != "inside":
    # The second way is for roots that are no mount points (a chroot).
    for unshare in (["unshare", "-m"], ["unshare", "-m", "--propagation", "unchanged"]):
        if subprocess.run([*unshare, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            sys.exit(subprocess.run([*unshare, sys.executable, __file__], check=False,
                                    env={**os.environ, "VIGIA_ENOSPC": "inside"}).returncode)
    vt.skip("a mount namespace needs root")

with vt.Workdir() as d:
    small = os.path.join(d.path, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160M", "none", small], check=True)
    image, ballast = os.path.join(small, "disk.qcow2"), os.path.join(small, "ballast")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1G"], check=True)
    with open(ballast, "wb") as f:
        f.write(bytes(140 << 20))
    env = {"XDG_RUNTIME_DIR": d.path}
    with vt.VM("--net", "none", "--name", "full", "--disk", image, *vt.busybox("quiet vigia.end=shell"), env=env) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.send("while read -r ko; do insmod /lib/modules/$(uname -r)/$ko; done </etc/modules\n")
        # A compressible pattern would do for the guest's side too; 48 MiB do not fit into 20.
        vm.send("dd if=/dev/urandom of=/tmp/r bs=1M count=48 2>/dev/null; md5sum /tmp/r; "
                "dd if=/tmp/r of=/dev/vda bs=1M conv=fsync 2>/dev/null; echo wri''tten=$?\n")
        vm.expect(r"[0-9a-f]{32}", 120)
        for _ in range(60):
            vm._read(0.5)
            status, out, _ = vt.vigia("list", "--json", env=env)
            state = json.loads(out)[0]
            if state["state"] == "paused":
                break
        vt.check(state["state"] == "paused" and "no space" in state.get("reason", ""), f"it pauses: {state}")
        vt.check("room" in vm.stderr(), "and says so: " + (vm.stderr().strip().splitlines() or [""])[-1])
        vt.check(b"written" not in vm.output, "the guest waits")
        time.sleep(2)
        os.unlink(ballast)
        vm.expect(r"written=0", 60)
        print("ok: it goes on when there is room")
        status, out = vm.shell("echo 3 >/proc/sys/vm/drop_caches; md5sum </tmp/r; dd if=/dev/vda bs=1M count=48 "
                               "2>/dev/null | md5sum", 120)
        sums = [line.split()[0] for line in out.splitlines() if len(line.split()) == 2 and len(line.split()[0]) == 32]
        vt.check(len(sums) == 2 and sums[0] == sums[1], "nothing is lost")
        vm.send("poweroff -f\n")
        vm.wait(60)
    vt.qemu_img_check(image)
    subprocess.run(["umount", small], check=False)
