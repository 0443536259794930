#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vigia image: what qemu-img makes of each format is read right, what is made is right for qemu-img;
images that are damaged, in use, or do not fit; a VM that reads a VMDK."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import vigia_test as vt

if not shutil.which("qemu-img"):
    vt.skip("qemu-img is missing: apt-get install qemu-utils")
MIB = 1 << 20
SIZE = 24 * MIB
rnd = random.Random(7)


def image(*args, status=0):
    got, out, err = vt.vigia("image", *args)
    if got != status:
        vt.fail(f"vigia image {' '.join(args)}: status {got}: {err.strip()}")
    return out


def refused(says, *args):
    status, _, err = vt.vigia("image", *args)
    lines = err.strip().splitlines()
    vt.check(status == 1 and len(lines) == 1 and says in lines[0], f"refused: {' '.join(lines)}")


def qemu_img(*args):
    subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL)


def content(path):
    """A disk of data, zeros and things in between, up to its last sector."""
    with open(path, "wb") as f:
        f.truncate(SIZE)
        for _ in range(50):
            f.seek(rnd.randrange(SIZE - 200 * 1024) // 512 * 512)
            f.write((rnd.randbytes(3000) * 40)[:rnd.randrange(1, 200) * 512])
        f.seek(SIZE - 512)
        f.write(b"the end " * 64)


# name, options of qemu-img, name of the format
FOREIGN = [(f"{s}.vmdk", ["-O", "vmdk", "-o", f"subformat={s}"], "vmdk")
           for s in ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                     "streamOptimized")] + [
    ("grows.vdi", ["-O", "vdi"], "vdi"), ("fixed.vdi", ["-O", "vdi", "-o", "static=on"], "vdi"),
    ("grows.vhd", ["-O", "vpc", "-o", "force_size=on"], "vhd"),
    ("fixed.vhd", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"], "vhd"),
    ("grows.vhdx", ["-O", "vhdx"], "vhdx"), ("fixed.vhdx", ["-O", "vhdx", "-o", "subformat=fixed,block_size=1M"], "vhdx"),
    ("v2.qcow2", ["-O", "qcow2", "-o", "compat=0.10"], "qcow2"), ("zip.qcow2", ["-O", "qcow2", "-c"], "qcow2"),
    ("zstd.qcow2", ["-O", "qcow2", "-c", "-o", "compression_type=zstd,cluster_size=4k"], "qcow2")]


def both_ways(f):
    src, back = f("src.raw"), f("back.raw")
    content(src)
    for name, options, kind in FOREIGN:
        path = f(name)
        qemu_img("convert", "-f", "raw", *options, src, path)
        info = json.loads(image("info", "--json", path))
        if (info["format"], info["size"]) != (kind, SIZE):
            vt.fail(f"{name}: {info}")
        image("convert", "--force", path, back)
        with open(src, "rb") as a, open(back, "rb") as b:
            vt.check(a.read() == b.read(), f"{name} is read")
    # The size that a geometry says, in which QEMU rounds up.
    qemu_img("create", "-q", "-f", "vpc", f("chs.vhd"), "10M")
    want = json.loads(subprocess.run(["qemu-img", "info", "--output=json", f("chs.vhd")], check=True,
                                     capture_output=True).stdout)["virtual-size"]
    vt.check(json.loads(image("info", "--json", f("chs.vhd")))["size"] == want != 10 * MIB, "VHD sizes by geometry")
    for name, options in (("out.qcow2", []), ("out.img", ["--format", "raw"]), ("outz.qcow2", ["--compress", "zlib"]),
                          ("outs.qcow2", ["--compress", "zstd"])):
        path = f(name)
        image("convert", *options, f("monolithicSparse.vmdk"), path)
        qemu_img("compare", src, path)
        taken = os.stat(path).st_blocks * 512
        if path.endswith("qcow2"):
            vt.qemu_img_check(path, leaks=False)
            image("check", path)
        vt.check(taken < os.stat(src).st_blocks * 512 * 3, f"{name} is right, and sparse: {taken >> 10} KiB")
    vt.check(os.path.getsize(f("outz.qcow2")) < os.path.getsize(f("out.qcow2")) / 2, "compressed is smaller")
    image("convert", f("outs.qcow2"), f("again.raw"))
    qemu_img("compare", src, f("again.raw"))


def changes(f):
    path, top = f("new.qcow2"), f("top.qcow2")
    image("create", path, "64M")
    refused("exists already", "create", path, "64M")
    image("resize", path, "+1G")
    image("create", top, "--backing", "new.qcow2")
    vt.check(json.loads(image("info", "--json", top))["size"] == 1088 * MIB, "created, resized, put over another")
    refused("--shrink", "resize", path, "1M")
    refused("larger", "resize", "--shrink", path, "1M")
    image("create", "--force", f("small.img"), "3M")
    image("resize", "--shrink", f("small.img"), "1M")
    vt.check(os.path.getsize(f("small.img")) == MIB, "a raw image shrinks")
    refused("only read", "resize", f("grows.vdi"), "1G")
    refused("only qcow2 images are checked", "check", f("grows.vdi"))
    # A count too many is a leak, one too few an error; --repair makes both right.
    bad = f("bad.qcow2")
    image("convert", f("src.raw"), bad)
    with open(bad, "r+b") as b:
        b.seek(2 * 65536)
        counts = bytearray(b.read(65536))
        b.seek(2 * 65536)
        used = [i for i in range(0, 64, 2) if counts[i + 1]]
        counts[used[-1] + 1] = 0
        b.write(counts)
    image("check", bad, status=2)
    image("check", "--repair", bad)
    vt.qemu_img_check(bad, leaks=False)


def atomic(f):
    """Nothing appears, and nothing stays, of what is not complete."""
    src, out, d = f("big.raw"), f("never.qcow2"), os.path.dirname(f("x"))
    with open(src, "wb") as s:
        for _ in range(24):
            s.write(os.urandom(MIB))
    refused("No such file", "convert", f("nothing.raw"), out)
    refused("exists already", "convert", src, f("out.qcow2"))
    before = sorted(os.listdir(d))
    for _ in range(3):
        p = subprocess.Popen([vt.VIGIA, "image", "convert", src, out])
        time.sleep(rnd.uniform(0.005, 0.03))
        p.send_signal(rnd.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
        if p.wait() == 0:
            os.unlink(out)
    vt.check(sorted(os.listdir(d)) == before, "a conversion that is killed leaves nothing")


def in_use(f):
    """A VM has a VMDK under an overlay, reads it, and is alone with what it writes."""
    vmdk, disk = f("streamOptimized.vmdk"), f("used.qcow2")
    image("create", disk, "16M")
    status, _, err = vt.vigia("run", "--net", "none", "--serial", "none", "--disk", vmdk, *vt.busybox())
    vt.check(status == 1 and "vigia image convert" in err, f"refused: {err.strip()}")
    with open(f("src.raw"), "rb") as s:
        want = subprocess.run(["md5sum"], stdin=s, check=True, capture_output=True, text=True).stdout.split()[0]
    env = {"XDG_RUNTIME_DIR": os.path.dirname(f("x"))}
    with vt.VM("--net", "none", "--name", "image", "--disk", vmdk + ",snapshot", "--disk", disk,
               "--disk", f("grows.vhdx") + ",ro", *vt.busybox("quiet vigia.end=shell"), env=env) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.send("while read -r ko; do insmod /lib/modules/$(uname -r)/$ko; done </etc/modules\n")
        vm.send("md5sum </dev/vda; md5sum </dev/vdc; echo read''it\n")
        vm.expect(rf"{want}[^$]*{want}[^$]*readit", 60)
        print("ok: a guest reads a VMDK and a VHDX")
        for args in (("resize", disk, "1G"), ("check", disk), ("convert", disk, f("copy.raw")),
                     ("convert", "--force", f("src.raw"), disk), ("create", "--force", disk, "1G")):
            refused("is in use by vigia", *args)
        image("info", disk)
        vm.send("poweroff -f\n")
        vm.wait(60)


def full_disk(f):
    small = f("small")
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "none", small], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        print("not tried: a full disk, for which root is needed to mount one")
        return
    try:
        for args in ((), ("--compress", "zlib"), ("--format", "raw")):
            refused("no space left", "convert", *args, f("big.raw"), os.path.join(small, "out"))
        vt.check(os.listdir(small) == [], "a full disk leaves nothing")
    finally:
        subprocess.run(["umount", small], check=True)


def main():
    if os.environ.get("VIGIA_IMAGE") != "inside" and subprocess.run(
            ["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        sys.exit(subprocess.run(["unshare", "-m", sys.executable, __file__], check=False,
                                env={**os.environ, "VIGIA_IMAGE": "inside"}).returncode)
    with vt.Workdir() as w:
        both_ways(w.file)
        changes(w.file)
        atomic(w.file)
        in_use(w.file)
        if os.environ.get("VIGIA_IMAGE") == "inside":
            full_disk(w.file)
        else:
            print("not tried: a full disk, for which root is needed to mount one")


if __name__ == "__main__":
    main()
