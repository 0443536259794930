#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks: raw and qcow2 written and read back by the guest, read-only, snapshot, backing file; several
at once; images pass qemu-img check."""
import hashlib
import subprocess

import vigia_test as vt


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def guest(*disks, run="disk", expect=r"VIGIA disk ok"):
    args = [a for d in disks for a in ("--disk", d)]
    with vt.VM("--net", "none", *args, *vt.busybox(f"vigia.run={run}")) as vm:
        vm.expect(expect, 180)
        vm.wait(60)


with vt.Workdir() as d:
    raw = d.file("disk.raw", size=64 << 20)
    guest(f"{raw},format=raw")
    print("ok: raw")
    q = d.file("disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", q, "64M"], check=True)
    guest(q)
    vt.qemu_img_check(q)
    print("ok: qcow2")

    before = digest(q)
    guest(f"{q},snapshot")
    vt.check(digest(q) == before, "snapshot leaves the image as it was")
    before = digest(raw)
    guest(f"{raw},format=raw,ro", expect=r"VIGIA disk differs")
    vt.check(digest(raw) == before, "ro leaves the image as it was")

    top = d.file("top.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", q, top], check=True)
    before = digest(q)
    guest(top, f"{raw},format=raw")
    vt.check(digest(q) == before, "the backing file is as it was")
    vt.qemu_img_check(top)
