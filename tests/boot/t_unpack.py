#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The host unpacks a Linux kernel, whatever it is packed with, and places it at random, also when the guest starts
again; what it does not understand it leaves to the kernel's own code, which says so on the console."""
import gzip
import hashlib
import lzma
import os
import struct
import subprocess

import vigia_test as vt

NOT_MINE = "Input is not in the XZ format"
TEXT = r"([0-9a-f]{16}) T _text\s"


def text_at(vm):
    vm.expect(r"VIGIA shell", 60)
    vm.send("grep ' _text$' /proc/kallsyms\n")
    return int(vm.expect(TEXT, 30).group(1), 16)


def places(kernel, cmdline, starts, *args):
    """Where the kernel is, in so many starts of one machine"""
    seen = []
    with vt.VM("--net", "none", "--kernel", kernel, "--initrd", vt.initramfs(), "--append",
               f"console=ttyS0 quiet vigia.end=shell {cmdline}", *args) as vm:
        for i in range(starts):
            seen.append(text_at(vm))
            vm.send("reboot -f\n" if i + 1 < starts else "poweroff -f\n")
        vm.wait(60)
    return seen


def early(kernel, what, *args):
    """The kernel's own code says this."""
    with vt.VM("--net", "none", "--kernel", kernel, "--append", "earlyprintk=serial,ttyS0,115200 console=ttyS0", *args) as vm:
        vm.expect(what, 60)


def blake2bp(data):
    """In four lanes; the first 32 bytes of it"""
    tree = {"digest_size": 64, "fanout": 4, "depth": 2, "inner_size": 64}
    lanes = [b"".join(data[at:at + 128] for at in range(128 * i, len(data), 512)) for i in range(4)]
    sums = b"".join(hashlib.blake2b(lane, node_offset=i, last_node=i == 3, **tree).digest() for i, lane in enumerate(lanes))
    return hashlib.blake2b(sums, node_depth=1, last_node=True, **tree).hexdigest()[:64]


class Image:
    """A bzImage whose payload can be replaced"""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.file = f.read()
        self.at = (self.file[0x1f1] + 1) * 512 + struct.unpack_from("<I", self.file, 0x248)[0]
        self.size = struct.unpack_from("<I", self.file, 0x24c)[0]
        self.elf = lzma.LZMADecompressor().decompress(self.file[self.at:self.at + self.size])

    def packed(self, payload):
        """With this payload; what is left of the old one is overwritten."""
        out = bytearray(self.file)
        out[self.at:self.at + max(self.size, len(payload))] = payload.ljust(self.size, b"\0")
        struct.pack_into("<I", out, 0x24c, len(payload))
        struct.pack_into("<I", out, 0x1f4, 0)  # paragraphs, which would tell a truncated file
        return bytes(out)


def crc32c(data):
    """By the processor's instruction."""
    with vt.Workdir() as w:
        program = w.file("crc")
        subprocess.run(["cc", "-O2", "-msse4.2", "-x", "c", "-o", program, "-"], check=True, input=b"""
#include <stdio.h>
#include <nmmintrin.h>
int main(void) { unsigned c = ~0u; for (int v; (v = getchar_unlocked()) != EOF;) c = _mm_crc32_u8(c, v); printf("%u", ~c); }""")
        return int(subprocess.run([program], input=data, stdout=subprocess.PIPE, check=True).stdout)


with vt.Workdir() as d:
    kernel = vt.kernel()
    image = Image(kernel)
    seen = places(kernel, "", 4)
    vt.check(len(set(seen)) > 1 and all(0xffffffff81000000 <= x < 0xffffffffc0000000 and not x % 0x200000 for x in seen),
             "each start has its place: " + " ".join(f"{x:x}" for x in seen))
    vt.check(places(kernel, "nokaslr", 1) == [0xffffffff81000000], "nokaslr: the one that it is linked for")

    zstd = subprocess.run(["zstd", "-q", "-3", "-c"], input=image.elf, stdout=subprocess.PIPE, check=True).stdout
    for name, payload in (("gzip", gzip.compress(image.elf, 1)), ("zstd", zstd)):
        path = d.file(name, image.packed(payload + struct.pack("<I", len(image.elf))))
        vt.check(places(path, "nokaslr", 1) == [0xffffffff81000000], f"packed by {name}")
    hollow = image.elf[:0x400000].ljust(len(image.elf), b"\0")  # packed, not larger than what was there
    early(d.file("hollow", image.packed(gzip.compress(hollow))), NOT_MINE, "--unpack", "off")
    vt.check(True, "--unpack off: the kernel's own code, which knows xz only")
    bad = bytearray(image.file)
    half = image.at + image.size // 2
    bad[half:half + 4] = b"\xff\xff\xff\xff"
    early(d.file("damaged", bytes(bad)), "XZ-compressed data is corrupt")
    vt.check(True, "a damaged kernel is for its own code to tell")

    # What was unpacked once is kept: the second start shows what a test has changed there.
    cache = {"XDG_CACHE_HOME": d.file("cache")}

    def banner():
        with vt.VM("--net", "none", "--kernel", kernel, "--initrd", vt.initramfs(), "--append", "console=ttyS0 quiet vigia.end=shell",
                   env=cache) as vm:
            vm.expect(r"VIGIA shell", 60)
            vm.send("reboot -f\n")
            vm.expect(r"VIGIA shell", 60)
            return vm.shell("cat /proc/version")[1]

    plain = banner()
    folder = os.path.join(cache["XDG_CACHE_HOME"], "vigia/kernels")
    names = os.listdir(folder)
    path = os.path.join(folder, names[0])
    with open(path, "rb") as f:
        kept = f.read()
    vt.check(len(names) == 1 and kept[:-16] == image.elf and os.stat(path).st_mode & 0o777 == 0o600, f"the unpacked kernel is kept: {names}")
    packed = image.file[image.at:image.at + image.size]
    vt.check(names == [blake2bp(packed)], "by what no other kernel can be made for")
    vt.check("Debian" in plain, "the guest runs it")
    with open(path, "r+b") as f:
        f.write(kept[:-16].replace(b"debian-kernel@", b"nobody-knows@@"))
    vt.check("debian-kernel@" in banner(), "a file that its checksum does not fit is not believed")
    with open(path, "rb") as f:
        vt.check(f.read() == kept, "it is made again")
    other = kept[:-16].replace(b"debian-kernel@", b"nobody-knows@@")
    with open(path, "wb") as f:
        f.write(other + kept[-16:-8] + struct.pack("<II", crc32c(other), 0))
    vt.check("nobody-knows@@" in banner(), "the kept one is what starts, and starts again")
    for i in range(6):
        with open(os.path.join(folder, f"old{i}"), "wb") as f:
            f.write(b"old")
        os.utime(f.name, (i, i))
    os.unlink(path)
    banner()
    vt.check(sorted(os.listdir(folder)) == sorted(names + ["old3", "old4", "old5"]), f"four are kept: {sorted(os.listdir(folder))}")
