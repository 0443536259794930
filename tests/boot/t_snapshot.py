#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""snapshots of memory and disks together: a guest that writes to two disks and checks them against what it
remembers goes back and forth between snapshots while it works, on 1 and 4 CPUs, is started from them, and
commands and VMs are killed in between: there is always the old or the new, and the images are sound.

VIGIA_SNAPSHOT_ROUNDS: how many rounds of each kind (2)."""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import time

import vigia_test as vt

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="vigia-state-")
HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("VIGIA_SNAPSHOT_ROUNDS", "2"))
seed = int(os.environ.get("VIGIA_SAVE_SEED", str(random.randrange(1 << 30))))
rnd = random.Random(seed)
print(f"seed {seed}")

# What is on the disks is what the guest's memory says: a counter, on both, which also says in which life.
WORK = r"""
work() { n=0; last=0; a=$(dd if=/dev/urandom bs=64k count=4 2>/dev/null | tee /tmp/r | sha256sum)
while true; do n=$((n+1)); echo "$1 $n" | dd of=/dev/vda bs=64k conv=sync,fsync 2>/dev/null
echo "$1 $n" | dd of=/dev/vdb bs=64k seek=$((n%100)) conv=sync,fsync 2>/dev/null
dd if=/tmp/r of=/dev/vda bs=64k seek=$((n%50*8+1)) conv=fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
b=$(dd if=/dev/vda bs=64k count=1 2>/dev/null | tr -d '\0'); [ "$b" = "$1 $n" ] || echo WRONG''DISKA "$b" not $n
b=$(dd if=/dev/vdb bs=64k skip=$((n%100)) count=1 2>/dev/null | tr -d '\0'); [ "$b" = "$1 $n" ] || echo WRONG''DISKB "$b" not $n
b=$(dd if=/dev/vda bs=64k skip=$((n%50*8+1)) count=4 2>/dev/null | sha256sum); [ "$a" = "$b" ] || echo WRONG''DATA $n
b=$(sha256sum < /tmp/r); [ "$a" = "$b" ] || echo WRONG''SUM; t=$(cut -d. -f1 /proc/uptime)
[ $t -ge $last ] || echo WRONG''CLOCK; last=$t; echo al''ive $1 $n; done; }
"""


def snapshot(*args, good=True):
    status, out, err = vt.vigia("snapshot", *args)
    if good and status:
        vt.fail(f"snapshot {' '.join(args)}: {err.strip()}")
    return status, out, err.strip()


def names():
    return {s["name"]: s for s in json.loads(snapshot("list", "snap", "--json")[1])}


def alive(vm):
    return int(vm.expect(r"alive \w+ (\d+)\r?\n", 60).group(1))


def now(vm):
    """What it says from here on."""
    vm.drain()
    vm.position = len(vm.output)
    return alive(vm)


def returned(vm, to):
    """Goes back or forth; the first number that the guest says then, however late we look."""
    now(vm)
    start = vm.position
    snapshot("restore", "snap", to)
    now(vm)
    said = [int(n) for n in re.findall(rb"alive \w+ (\d+)\r?\n", vm.output[start:])]
    jumps = [b for a, b in zip(said, said[1:]) if b != a + 1]
    return jumps[-1] if jumps else said[0]


def counted(vm, good, what):
    if not good:
        vm.dump()
    vt.check(good, what)


def right(vm, what):
    bad = re.search(rb"(WRONG[A-Z]|BUG:|I/O error|stall).*", vm.output)
    if bad:
        vm.dump()
        vt.fail(f"{what}: {bad.group()}")
    print(f"ok: {what}")


def start(cpus, disks, *args):
    vm = vt.VM("--net", "user", "--name", "snap", "--cpus", cpus, "--memory", "128M", "--disk", disks[0], "--disk", disks[1],
               *args, *vt.busybox("vigia.end=shell"))
    vm.expect(r"VIGIA shell", 120)
    for line in WORK.strip().splitlines():
        vm.send(line + "\n")
    vm.send("ping -f 10.0.2.2 >/dev/null 2>&1 &\n")
    vm.send("work first &\n")
    alive(vm)
    return vm


def there_and_back(cpus, disks):
    with start(cpus, disks) as vm:
        snapshot("save", "snap", "one")
        at_one = now(vm)
        time.sleep(rnd.uniform(0.5, 2))
        snapshot("save", "snap", "two", *(["--compress"] if cpus == "4" else []))
        at_two = now(vm)
        for i in range(ROUNDS):
            time.sleep(rnd.uniform(0, 1))
            n = returned(vm, "one")
            counted(vm, n <= at_one + 3, f"{cpus} CPUs: back at one, {n} of {at_one}")
            time.sleep(rnd.uniform(0, 1))
            n = returned(vm, "2")
            counted(vm, at_one <= n <= at_two + 3, f"{cpus} CPUs: forth to two, {n} of {at_two}")
            snapshot("save", "snap", f"three{i}")
        right(vm, f"{cpus} CPUs: disks, sums and the clock are right")
        tree = names()
        vt.check(tree["two"]["parent"] == 1 and tree["three0"]["parent"] == 2 and tree[f"three{ROUNDS - 1}"]["current"],
                 "the tree says who came from whom")
        snapshot("delete", "snap", "two")
        vt.check(names()["three0"]["parent"] == 1, "children of what was deleted hang on its parent")
        now(vm)
        snapshot("restore", "snap", "three0")
        now(vm)
        right(vm, "the rest is still there")
        vm.process.kill()
        vm.process.wait()
    for d in disks:
        vt.qemu_img_check(d)


def started(disks, name="one"):
    with vt.VM(command=[vt.VIGIA, "snapshot", "restore", "snap", name]) as vm:
        alive(vm)
        alive(vm)
        right(vm, f"started from {name}")
        vm.process.kill()
        vm.process.wait()


def killed_commands(vm, disks):
    """kill -9 of the command, in the midst of each verb. The VM goes on, or is what it was to be."""
    for _ in range(3 * ROUNDS):
        for verb in ("save", "restore", "delete"):
            which = {"save": "x", "restore": "one", "delete": "x"}[verb]
            p = subprocess.Popen([vt.VIGIA, "snapshot", verb, "snap", which], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, 0.15))
            p.kill()
            p.wait()
            now(vm)
    snapshot("delete", "snap", "x", good=False)
    snapshot("save", "snap", "x")
    snapshot("restore", "snap", "x")
    now(vm)
    snapshot("delete", "snap", "x")
    right(vm, "killed commands leave the VM and what there was")
    leftover = [f for f in os.listdir(os.path.join(os.environ["XDG_STATE_HOME"], "vigia", "snap.snapshots"))
                if f.endswith(".tmp")]
    vt.check(not leftover, "and nothing of theirs")


def killed_vms(cpus, disks):
    """kill -9 of the VM, while it goes back and while a snapshot is taken."""
    for i in range(2 * ROUNDS):
        with vt.VM(command=[vt.VIGIA, "snapshot", "restore", "snap", "one"]) as vm:
            alive(vm)
            alive(vm)
            verb = ("restore", "save")[i % 2]
            p = subprocess.Popen([vt.VIGIA, "snapshot", verb, "snap", "one" if verb == "restore" else f"late{i}"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, 0.08))
            vm.process.kill()
            vm.process.wait()
            p.wait(30)
        for d in disks:
            vt.qemu_img_check(d)
        snapshot("list", "snap")
        for d in disks:
            tags = subprocess.run(["qemu-img", "snapshot", "-l", d], capture_output=True, text=True, check=True).stdout
            vt.check(tags.count("vigia-") == len(names()), "disks have the snapshots that the list has")
    started(disks)


def half_back(disks):
    """The VM was killed between its two disks: they are put back before it runs again, or another VM has one of them."""
    folder = os.path.join(os.environ["XDG_STATE_HOME"], "vigia", "snap.snapshots")
    file = [f for f in os.listdir(folder) if f.endswith(".one.state")][0]
    tag = file.split(".")[2]
    for name in (("--name", "snap"), ("--name", "other"), ()):
        for d in disks:
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 77 0 1M", d], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "snapshot", "-a", tag, disks[0]], check=True)
        with open(os.path.join(folder, file), "r+b") as f:
            f.seek((64 << 20) - 4096)
            f.write(b"disks are being reverted\0")
        theirs = disks if "snap" in name else disks[1:]
        vm = vt.VM("--net", "none", *name, *(x for d in theirs for x in ("--disk", d)), *vt.busybox("vigia.end=shell"))
        with vm:
            vm.expect(r"VIGIA shell", 120)
            _, out = vm.shell(f"dd if=/dev/vd{'ab'[len(theirs) - 1]} bs=1M count=1 2>/dev/null | grep -c MMMMMMMM")
            vt.check(out.split()[-1] == "0" and "had been interrupted" in vm.stderr(),
                     f"the second disk follows the first, in a VM {name[1] if name else 'without a name'}")
            vm.process.kill()
            vm.process.wait()


def pc(work):
    """A PC with each kind of disk, under SeaBIOS, and one with UEFI variables."""
    if not shutil.which("nasm") or not os.path.exists("/usr/share/seabios/bios-256k.bin"):
        print("without the PC: needs the packages nasm and seabios")
        return
    boot, raw = work.file("boot.bin"), work.file("boot.raw")
    subprocess.run(["nasm", "-f", "bin", "-o", boot, os.path.join(HERE, "ticker.asm")], check=True)
    with open(boot, "rb") as f:
        work.file("boot.raw", f.read() + b"".join(struct.pack("<H", n) * 256 for n in range(1, 64)), 1 << 20)
    for kind in ("ide", "ahci", "virtio", "nvme"):
        disk = work.file(f"{kind}.qcow2")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
        with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--name", f"pc-{kind}", "--boot", "disk",
                   "--disk", f"{disk},if={kind}") as vm:
            vm.expect(r"alive [0-9A-F]{4}", 60)
            snapshot("save", f"pc-{kind}", "first")
            for _ in range(2 * ROUNDS):
                vm.drain()
                for _ in range(2):
                    vm.expect(r"alive [0-9A-F]{4}", 60)
                time.sleep(rnd.uniform(0, 0.3))
                snapshot("restore", f"pc-{kind}", "first")
            vm.drain()
            vm.expect(r"alive [0-9A-F]{4}", 60)
            right(vm, f"a PC with {kind} goes back")
            vm.process.kill()
    uefi(work)


def uefi(work):
    if not os.path.exists("/usr/share/OVMF/OVMF_CODE.fd"):
        print("without OVMF: the package ovmf is not there")
        return
    with vt.VM("--board", "pc", "--net", "none", "--memory", "128M", "--name", "uefi", "--firmware", "uefi",
               "--vars", work.file("vars")) as vm:
        vm.expect(r"Press .*ESC.* in . seconds", 120)
        vm.send("\x1b")
        vm.expect(r"Shell>", 60)
        vm.send("set vigia before\r")
        vm.expect(r"Shell>", 30)
        snapshot("save", "uefi", "before")
        vm.send("set vigia after\r")
        vm.expect(r"Shell>", 30)
        snapshot("restore", "uefi", "before")
        vm.drain()
        vm.send("set vigia\r")
        vm.expect(r"vigia .*= .*before", 30)
        vt.check(True, "UEFI's variables go back too")
        vm.process.kill()


def refused(work):
    raw = work.file("raw", size=1 << 20)
    with vt.VM("--net", "none", "--name", "raw", "--disk", raw + ",format=raw", *vt.busybox("vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        status, _, err = snapshot("save", "raw", good=False)
        vt.check(status == 1 and "vigia image convert" in err, f"refused: {err}")
        vt.check(not [f for f in os.listdir(os.path.join(os.environ["XDG_STATE_HOME"], "vigia", "raw.snapshots"))
                      if f.endswith(".tmp")], "and nothing is left")
        vm.process.kill()
    for args, word in ((("save", "nobody"), "runs"), (("restore", "snap"), "which one"), (("undo", "snap"), "say save"),
                       (("restore", "snap", "nothing"), "has no snapshot")):
        status, _, err = snapshot(*args, good=False)
        vt.check(status == 1 and word in err, f"refused: {err}")


def main():
    if not os.path.exists("/usr/bin/qemu-img"):
        vt.skip("qemu-img is missing: apt-get install qemu-utils")
    with vt.Workdir() as work:
        disks = [work.file("a.qcow2"), work.file("b.qcow2")]
        for d in disks:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", d, "64M"], check=True)
        for cpus in ("1", "4"):
            there_and_back(cpus, disks)
            started(disks)
            if cpus == "1":
                for name in names():
                    snapshot("delete", "snap", name)
                for d in disks:
                    vt.qemu_img_check(d, leaks=False)
        with vt.VM(command=[vt.VIGIA, "snapshot", "restore", "snap", "one"]) as vm:
            alive(vm)
            killed_commands(vm, disks)
            vm.process.kill()
            vm.process.wait()
        killed_vms("4", disks)
        half_back(disks)
        _, out, _ = vt.vigia("history", "snap")
        vt.check("snapshot by uid" in out, "the history says who did it")
        pc(work)
        refused(work)


if __name__ == "__main__":
    main()
