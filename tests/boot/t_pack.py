#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vigia pack and definitions that are wrong, or hostile: one clear line, exit status 1, soon, and the image that was there stays as it was.
What several VMs share is in the image once."""
import os
import random
import time

import vigia_test as vt

SECONDS = 30  # at most, for any of them
SEED = 20261201


def vm(name, *keys):
    return "\n  ".join((f"- name: {name}", *keys)) + "\n"


def refused(work, what, text, says, *options):
    """text is no fleet, and says stands in the line that tells why."""
    out = work.file("fleet.cpio", b"as it was")
    began = time.monotonic()
    status, said, errors = vt.vigia("pack", work.file("fleet.yaml", text if isinstance(text, bytes) else text.encode()), "-o", out, *options)
    took = time.monotonic() - began
    lines = errors.splitlines()
    with open(out, "rb") as f:
        kept = f.read() == b"as it was"
    vt.check(status == 1 and len(lines) == 1 and says in lines[0] and lines[0].isprintable(),
             f"{what}: {lines[-1][:160] if lines else (status, said)}")
    if not kept or os.path.exists(out + ".part") or took > SECONDS * vt.PATIENCE:
        vt.fail(f"{what}: {'' if kept else 'what was there is gone, '}{took:.1f} s")


with vt.Workdir() as work:
    kernel = f"kernel: {work.file('kernel', bytes(5000))}"
    pipe = os.path.join(work.path, "pipe")
    os.mkfifo(pipe)
    laughs = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    for what, text, says in (
            ("nothing", "", "no VMs"),
            ("no list", "name: x\n", "SEQUENCE"),
            ("no YAML", "- name: [\n", "name"),
            ("another key", vm("a", kernel, "frobnicate: 1"), "frobnicate"),
            ("a key twice", vm("a", kernel, "memory: 16M", "memory: 32M"), "memory"),
            ("a name twice", vm("a", kernel) * 2, "two VMs have the name a"),
            ("a name too long", vm("a" * 5000, kernel), "name"),
            ("a name for terminals", vm(r'"a\e[2J"', kernel), "name"),
            ("a name with a folder", vm("../a", kernel), "name"),
            ("no memory", vm("a", kernel, "memory: 0"), "memory"),
            ("less than none", vm("a", kernel, "memory: -1"), "memory"),
            ("too much", vm("a", kernel, "memory: 99999999T"), "memory"),
            ("no processors", vm("a", kernel, "cpus: 0"), "cpus"),
            ("too many", vm("a", kernel, "cpus: 1000000"), "cpus"),
            ("a processor that is none", vm("a", kernel, "cpu: z80"), "z80"),
            ("no kernel", vm("a"), "kernel"),
            ("a kernel that is not there", vm("a", "kernel: none"), "none"),
            ("a folder", vm("a", f"kernel: {work.path}"), "not a regular file"),
            ("a device", vm("a", "kernel: /dev/zero"), "not a regular file"),
            ("a pipe that nobody writes to", vm("a", f"kernel: {pipe}"), "not a regular file"),
            ("an empty one", vm("a", f"kernel: {work.file('empty', b'')}"), "empty"),
            ("a disk that is not there", vm("a", kernel, 'disk: ["none.img"]'), "none.img"),
            ("too many disks", vm("a", kernel, f"disk: [{','.join([work.file('d', bytes(512))] * 40)}]"), "disk"),
            ("a network of Linux's", vm("a", kernel, 'net: ["tap:x"]'), "switch:NAME"),
            ("rules that are not there", vm("a", kernel, "policy: none"), "none"),
            ("too many VMs", "".join(vm(f"v{i}", kernel) for i in range(17)), "at most 16 VMs"),
            ("a command line too long", vm("a", kernel, "append: " + "x" * 100000), "append"),
            ("a command line of two lines", vm("a", kernel, r'append: "x\ny"'), "append"),
            ("a processor to be pinned to that cannot be", vm("a", kernel, "pin: 9999"), "pin"),
            ("another board", vm("a", kernel, "board: pc"), "board"),
            ("thousands of millions of aliases", laughs, "SEQUENCE"),
            ("an alias of itself", "- &a\n  name: x\n  <<: *a\n", "<<"),
            ("lists in lists", "[" * 200000, "SEQUENCE"),
            ("keys in keys", "- name: " + "{a: " * 100000, "name"),
            ("zeros", bytes(70000), "libyaml"),
            ("noise", random.Random(SEED).randbytes(70000), "libyaml")):
        refused(work, what, text, says)
    refused(work, "a state of nobody", vm("a", kernel), "nobody", "--state", "nobody=none")
    refused(work, "a history where a VM has its disk", vm("a", kernel, "disk: [host:virtio0/1]"), "history", "--history", "host:virtio0/1")
    large, other = work.file("large", os.urandom(1 << 20)), work.file("other", os.urandom(1 << 20))
    fleet = "".join(vm(name, f"kernel: {large}", f"initrd: {initrd}", 'net: ["none"]') for name, initrd in (("a", other), ("b", large), ("c", other)))
    status, said, errors = vt.vigia("pack", work.file("fleet.yaml", fleet.encode()), "-o", os.path.join(work.path, "shared.cpio"))
    size = os.path.getsize(os.path.join(work.path, "shared.cpio"))
    vt.check(status == 0 and 2 << 20 < size < 2.1 * (1 << 20) and "c/initrd is a/initrd" in said and "b/initrd is a/kernel" in said,
             f"a kernel and an initrd of three VMs are there once: {size} bytes {errors}")
    with open(os.path.join(work.path, "shared.cpio"), "rb") as f:
        conf = f.read()[-2000:].decode(errors="replace")
    vt.check(conf.count("kernel a/kernel\n") == 3 and conf.count("initrd a/initrd\n") == 2, "and each VM is told their names")
