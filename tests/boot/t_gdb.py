#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Debian's gdb on guests: a small one from its first instruction on (32-bit, 64-bit and real mode, two
CPUs, breakpoints, watchpoints, steps, registers, memory, nonsense from another client), and the Debian kernel
while it runs."""
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import vigia_test as vt

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("pm", "work", "read", "fill", "shadow", "after", "on_timer", "ap_real", "ap_loop", "count", "secret",
         "buffer", "ticks", "ap_count")


class Gdb:
    """gdb on a script. Lines that begin with @ are what it has to say."""

    def __init__(self, where, script):
        self.script = tempfile.NamedTemporaryFile("w", suffix=".gdb")
        self.script.write(f"set pagination off\nset confirm off\ntarget remote {where}\n{script}\n")
        self.script.flush()
        self.process = subprocess.Popen(["gdb", "-nx", "-batch", "-x", self.script.name], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""

    def read_until(self, pattern, seconds=60):
        deadline = time.monotonic() + seconds * vt.PATIENCE
        while pattern is None or not re.search(pattern, self.text):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                if pattern is None and ready:
                    return
                self.process.kill()
                print(self.text[-6000:])
                vt.fail(f"gdb: {pattern or 'its end'} did not come")
            self.text += data.decode(errors="replace")

    def end(self):
        """What it has said, by name."""
        self.read_until(None)
        self.process.wait()
        said = {}
        for line in self.text.splitlines():
            m = re.match(r"@(\S+) (.*)", line)
            if m:
                said[m.group(1)] = m.group(2)
        return said


def say(name, *values):
    """A gdb command that says values in hexadecimal."""
    return f'printf "@{name}{" %lx" * len(values)}\\n"' + "".join(f", {v}" for v in values)


def stats(name):
    text = vt.vigia("stats", name)[1]
    return {m.group(1): m.group(2) for m in re.finditer(r"^(\w+) +(\S+)$", text, re.M)}


def expect(said, script, **wanted):
    for key, value in wanted.items():
        if said.get(key) != value:
            print(script.text[-6000:])
        vt.check(said.get(key) == value, f"{key}: {value}" + ("" if said.get(key) == value else f", not {said.get(key)}"))


def debuggee(d, *defines):
    image = d.file("debuggee.elf")
    subprocess.run(["nasm", "-f", "bin", *defines, "-i", f"{vt.ROOT}/tests/guest/", "-o", image,
                    f"{HERE}/debuggee.asm"], check=True)
    with open(image, "rb") as f:
        data = f.read()
    at = data.index(b"DEBUGGEE") + 8
    return image, dict(zip(NAMES, struct.unpack_from(f"<{len(NAMES)}Q", data, at)))


def small_guest(d, env):
    image, a = debuggee(d)
    port = vt.free_port()
    where = f"127.0.0.1:{port}"
    with vt.VM("--name", "debuggee", "--kernel", image, "--cpus", "2", "--memory", "64M", "--net", "none", "--gdb",
               f"tcp::{port}", "--gdb-wait", "on", env=env) as vm:
        deadline = time.monotonic() + 20
        while "debuggee" not in vt.vigia("list")[1] and time.monotonic() < deadline:
            time.sleep(0.05)
        vt.check(stats("debuggee").get("stopped") == "yes", "it waits for gdb")
        g = Gdb(where, f"""
            {say("first", "$rip != 0", "(long)$cr0 & 0x80000001", "(long)$efer & 0x400")}
            hbreak *{a['pm']}
            continue
            {say("pm", "$rip", "$cs", "$cr3")}
            hbreak *{a['ap_real']}
            continue
            {say("real", "$_thread", "$rip", "$cs_base", "(long)$cr0 & 1")}
            info threads
            stepi
            {say("real-step", "$_thread", "$rip")}
            delete
            hbreak *{a['ap_real'] + 1}
            continue
            {say("real2", "$_thread", "$rip")}
            break *{a['work']}
            continue
            {say("work", "$_thread", "$rip", "(long)$efer & 0x400", "$fs_base", "$cr3", "$gdt_limit")}
            {say("memory", f"*(long*){a['secret']}", f"*(unsigned char*){a['work']}")}
            x/2i $pc
            delete
            watch *(long*){a['count']}
            continue
            {say("watch", "$_thread", "$rip")}
            delete
            rwatch *(long*){a['secret']}
            continue
            {say("rwatch", "$_thread", "$rip", "$rax")}
            delete
            awatch *(char*){a['buffer'] + 2}
            continue
            {say("awatch", "$_thread", "$rip", "$rcx")}
            delete
            tbreak *{a['fill']}
            continue
            set var $rcx = 3
            set scheduler-locking on
            stepi
            {say("rep1", "$rip", "$rcx")}
            stepi 2
            {say("rep", "$rip", "$rcx")}
            stepi
            stepi
            {say("shadow", "$rip")}
            set var $ticks = *(long*){a['ticks']}
            set var $i = 0
            set var $entered = 0
            while $i < 40
                stepi
                if $rip == {a['on_timer']}
                    set var $entered = 1
                end
                set var $i = $i + 1
            end
            {say("no-irq", "$entered", f"*(long*){a['ticks']} - $ticks")}
            maintenance packet Qqemu.sstep=1
            set var $i = 0
            while $i < 200 && $rip != {a['on_timer']}
                stepi
                set var $i = $i + 1
            end
            {say("irq", "$rip")}
            thread 2
            set var $before = *(long*){a['ap_count']}
            hbreak *{a['ap_loop']}
            continue
            continue
            {say("thread2", "$_thread", "$xmm1.v2_int64[0]")}
            {say("locked", "$_thread", "$rip", f"*(long*){a['ap_count']} > $before")}
            delete
            set scheduler-locking off
            set var *(long*){a['count']} = 0x1234
            set var $xmm1.v2_int64[1] = 0x7777
            {say("written", f"*(long*){a['count']}", "$xmm1.v2_int64[1]")}
            maintenance packet Qqemu.PhyMemMode:1
            {say("physical", f"*(long*){a['secret']}")}
            maintenance packet Qqemu.PhyMemMode:0
            monitor xlate {a['secret']}
            print $cr0
            print $cr4
            detach
            """)
        said = g.end()
        expect(said, g, first="1 1 0", pm=f"{a['pm']:x} 10 0", real="2 5 8000 0", real2="2 6")
        read_end, fill_end = a["read"] + 7, a["fill"] + 2
        expect(said, g, work=f"1 {a['work']:x} 400 5511223344 200000 1f", memory="5ec2e7 48",
               watch=f"1 {a['read']:x}", rwatch=f"1 {read_end:x} 5ec2e7", awatch=f"1 {a['fill']:x} 1",
               rep1=f"{a['fill']:x} 2", rep=f"{fill_end:x} 0", shadow=f"{a['after']:x}", irq=f"{a['on_timer']:x}",
               thread2="2 123456789abcdef", locked=f"2 {a['ap_loop']:x} 1", written="1234 7777", physical="5ec2e7")
        expect(said, g, **{"real-step": "2 6", "no-irq": "0 0"})
        for text in (r"Thread 2 \(CPU#1 \[running\]\)", r"incq ", r"is at physical", r"\[ PE .*PG \]", r"\[ PAE OSFXSR"):
            vt.check(re.search(text, g.text), f"gdb shows {text}")

        # It runs on; gdb comes back, and a Ctrl-C stops it.
        g = Gdb(where, f"""
            {say("one", f"*(long*){a['count']}", f"*(long*){a['ap_count']}")}
            printf "going\\n"
            continue
            {say("two", f"*(long*){a['count']}", f"*(long*){a['ap_count']}")}
            """)
        g.read_until("going")
        time.sleep(0.3)
        g.process.send_signal(signal.SIGINT)
        said = g.end()
        vt.check("SIGINT" in g.text, "Ctrl-C")
        for was, now in zip(said["one"].split(), said["two"].split()):
            vt.check(int(now, 16) > int(was, 16), f"it has run meanwhile: {was} {now}")

        nonsense(port)
        g = Gdb(where, say("alive", "$_thread"))
        expect(g.end(), g, alive="1")
        time.sleep(1.2)
        history = vt.vigia("history", "debuggee", "--class", "operator")[1]
        vt.check("a debugger has attached" in history and "the debugger has detached" in history, "history")
        if env:
            return
        g = Gdb(where, "kill")
        g.end()
        vm.wait(20)


def nonsense(port):
    before = int(stats("debuggee")["malformed"])
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(10)
        for text, answer in ((b"$?#00", b"-"), (b"garbage", b"-------"), (b"$mzz#61", b"+$E16#ac"),
                             (b"$" + b"A" * 20000 + b"#00", b"-")):
            s.sendall(text)
            got = b""
            while len(got) < len(answer):
                got += s.recv(100)
            vt.check(got == answer, f"{text[:10]} is answered {answer}")
    vt.check(int(stats("debuggee")["malformed"]) - before == 10, "they are counted")


def narrow(d):
    """A 32-bit description, and a socket of the file system."""
    image, a = debuggee(d)
    sock = d.file("sock")
    with vt.VM("--name", "narrow", "--kernel", image, "--memory", "64M", "--net", "none", "--gdb",
               f"unix:{sock},arch=i386", "--gdb-wait", "on") as vm:
        while not os.path.exists(sock):
            time.sleep(0.05)
        vt.check(os.stat(sock).st_mode & 0o077 == 0, "the socket is its owner's")
        g = Gdb(sock, f"""
            break *{a['pm']}
            continue
            {say("pm", "$eip", "$cs", "$esp")}
            set var $ecx = 0x12345678
            {say("ecx", "$ecx")}
            x/i $pc
            stepi
            {say("step", "$eip", "$eax")}
            monitor arch i8086
            disconnect
            target remote {sock}
            x/i {a['pm']}
            monitor quit
            """)
        said = g.end()
        vt.check(said.get("pm", "").startswith(f"{a['pm']:x} 10 "), "32-bit registers")
        expect(said, g, ecx="12345678", step=f"{a['pm'] + 2:x} 0")
        vt.check("xor    %eax,%eax" in g.text and "xor    %ax,%ax" in g.text, "code of 32 and of 16 bits")
        vm.wait(20)


def avx512(d):
    """ZMM and opmask registers, of a model that has them; without it gdb is not told of them."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        if not {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= set(f.read().split()):
            print("no ZMM registers: this host has no AVX-512")
            return
    image, a = debuggee(d, "-DAVX512")
    sock = d.file("zmm")
    with vt.VM("--name", "wide", "--kernel", image, "--cpu", "x86-64-v4", "--cpus", "2", "--memory", "64M", "--net", "none",
               "--gdb", f"unix:{sock}", "--gdb-wait", "on") as vm:
        while not os.path.exists(sock):
            time.sleep(0.05)
        g = Gdb(sock, f"""
            break *{a['work']}
            continue
            {say("zmm", "$zmm3.v8_int64[7]", "$zmm17.v8_int64[0]", "$zmm17.v8_int64[7]", "$k3", "$k4")}
            {say("parts", "$ymm17.v4_int64[3]", "$xmm17.v2_int64[1]", "$zmm18.v8_int64[5]")}
            set var $zmm3.v8_int64[7] = 0x33
            set var $xmm17.v2_int64[1] = 0x44
            set var $ymm17.v4_int64[3] = 0x55
            set var $zmm17.v8_int64[6] = 0x66
            set var $k3 = 0x8877665544332211
            continue
            {say("written", "$xmm5.v2_int64[1]", "$xmm6.v2_int64[1]", "$xmm7.v2_int64[1]", "$xmm8.v2_int64[0]", "$r15")}
            {say("kept", "$xmm5.v2_int64[0]", "$xmm6.v2_int64[0]", "$xmm8.v2_int64[1]")}
            kill
            """)
        said = g.end()
        v = "1122334455667788"
        expect(said, g, zmm=f"{v} {v} {v} 5a 0", parts=f"{v} {v} 0", written="33 44 55 66 8877665544332211",
               kept=f"{v} {v} {v}")
        vm.wait(20)


def on_kvm(d):
    """Breakpoints and steps by KVM's means. An emulating KVM, which will do, sees no watchpoints."""
    rows = json.loads(vt.vigia("doctor", "--json")[1])["rows"]
    found = [r["found"] for r in rows if r["name"] == "kvm"]
    if not re.match("emulates|executes", (found + [""])[0]):
        print(f"not tried on the engine kvm: {found}")
        return
    image, a = debuggee(d, "-DNO_SSE")
    sock = d.file("kvm")
    with vt.VM("--name", "onkvm", "--engine", "kvm", "--kernel", image, "--cpus", "2", "--memory", "64M", "--net", "none",
               "--gdb", f"unix:{sock}", "--gdb-wait", "on") as vm:
        while not os.path.exists(sock):
            time.sleep(0.05)
        g = Gdb(sock, f"""
            hbreak *{a['pm']}
            continue
            {say("pm", "$rip", "$cs")}
            stepi
            {say("step", "$rip")}
            delete
            hbreak *{a['ap_real']}
            continue
            {say("real", "$_thread", "$rip", "$cs_base")}
            hbreak *{a['ap_real'] + 1}
            continue
            {say("real2", "$_thread", "$rip")}
            delete
            break *{a['work']}
            continue
            set var $before = *(long*){a['count']}
            continue
            {say("work", "$_thread", "$rip", f"*(long*){a['count']} - $before", "(long)$efer & 0x400", "$fs_base")}
            stepi
            {say("read", "$rip", f"*(unsigned char*){a['work']}")}
            set var $rip = {a['work']}
            {say("set", "$rip")}
            hbreak *1
            hbreak *2
            hbreak *3
            hbreak *4
            continue
            """)
        said = g.end()
        expect(said, g, pm=f"{a['pm']:x} 10", step=f"{a['pm'] + 2:x}", real="2 5 8000", real2="2 6",
               work=f"1 {a['work']:x} 1 400 5511223344", read=f"{a['read']:x} 48", set=f"{a['work']:x}")
        vt.check("Cannot insert" in g.text or "Could not insert" in g.text, "a fifth breakpoint is refused")
        Gdb(sock, "kill").end()
        vm.wait(20)


def kernel():
    port = vt.free_port()
    with vt.VM("--name", "kernel", "--cpus", "2", "--net", "none", "--gdb", f"tcp::{port}",
               *vt.busybox("nokaslr vigia.end=shell")) as vm:
        vm.expect("VIGIA shell", 180)
        _, text = vm.shell("grep -E ' (__x64_sys_sethostname|linux_banner)$' /proc/kallsyms")
        address = {n: int(v, 16) for v, n in re.findall(r"(\w{16}) \w (\w+)", text)}
        vt.check(len(address) == 2, f"addresses: {address}")
        g = Gdb(f":{port}", f"""
            x/s {address['linux_banner']}
            hbreak *{address['__x64_sys_sethostname']}
            printf "ready\\n"
            continue
            {say("hit", "$rip", "$cs & 3", "((long)$cr0 & 0x80000001) == 0x80000001", "$gs_base != 0")}
            delete
            stepi 50
            {say("stepped", "$cs & 3")}
            watch *(char*)$rsp
            detach
            """)
        g.read_until("ready")
        vm.send("hostname debugged; hostname\n")
        said = g.end()
        expect(said, g, hit=f"{address['__x64_sys_sethostname']:x} 0 1 1", stepped="0")
        vt.check(re.search(r'"Linux version ', g.text), "the kernel's banner in its memory")
        vm.expect(r"\ndebugged", 60)
        status, text = vm.shell("dmesg | tail -3; echo well")
        vt.check("well" in text, "and it goes on as if nothing had been")
        vm.send("poweroff -f\n")
        vm.wait(60)


def main():
    for tool in ("gdb", "nasm"):
        if not shutil.which(tool):
            vt.skip(f"{tool} is missing: apt-get install {tool}")
    with vt.Workdir() as d:
        small_guest(d, None)
        small_guest(d, {"VIGIA_SOFT_FLUSH": "50"})
        narrow(d)
        avx512(d)
        on_kvm(d)
    kernel()
    status, _, err = vt.vigia("run", "--gdb", "serial", "--kernel", "x")
    vt.check(status == 1 and "tcp:HOST:PORT" in err, "a place that is none")
    status, _, err = vt.vigia("run", "--gdb-wait", "on", "--kernel", "x")
    vt.check(status == 1 and "--gdb tcp::1234" in err, "a wait for nobody")


if __name__ == "__main__":
    main()
