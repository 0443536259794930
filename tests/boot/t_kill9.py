#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""kill -9 in mid-write, again and again: the image stays sound, and all that the guest had flushed is
there. The guest (do_stream in tests/boot/init) writes blocks that hold their own number and says
after each sync how far it has come."""
import os
import random
import signal
import subprocess
import time

import vigia_test as vt

ROUNDS = int(os.environ.get("VIGIA_KILL_ROUNDS", "5"))
seed = int(os.environ.get("VIGIA_SEED", "20261120"))
print(f"seed {seed}")
rng = random.Random(seed)

with vt.Workdir() as d:
    for n in range(ROUNDS):
        image, raw = d.file(f"disk{n}.qcow2"), d.file("disk.raw")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
        with vt.VM("--net", "none", "--disk", image, *vt.busybox("quiet vigia.run=stream")) as vm:
            flushed = int(vm.expect(r"VIGIA flushed (\d+)\r?\n", 180).group(1))
            end = time.monotonic() + rng.uniform(0.5, 4)
            while time.monotonic() < end:
                vm._read(0.05)
            vm.signal(signal.SIGKILL)
            vm.wait(20, status=None)
            while (m := __import__("re").compile(rb"VIGIA flushed (\d+)\r?\n").search(vm.output, vm.position)):
                flushed, vm.position = int(m.group(1)), m.end()
        vt.qemu_img_check(image)
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
        with open(raw, "rb") as f:
            data = f.read()
        for number in range(max(0, flushed - 4000), flushed + 1):
            at = number * 17 % 4096 * 4096
            found = data[at:at + 4096].split(b" ", 1)[0].rstrip(b"\0") or b"nothing"
            # A later block may have come to the same place.
            if not (found.isdigit() and int(found) >= number and (int(found) - number) % 4096 == 0):
                vt.fail(f"round {n}: block {number} was flushed, but {found!r} is there")
        print(f"ok: round {n}: {flushed + 1} blocks flushed, all there")
        os.unlink(image)
