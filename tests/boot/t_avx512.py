#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A Debian with --cpu x86-64-v4 to login, whose processes keep values in ZMM and opmask registers (avx512.c).
A host without AVX-512 must refuse the model, and say why."""
import os
import re
import subprocess
import tempfile

import vigia_test as vt

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "avx512.c")
NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

with open("/proc/cpuinfo", encoding="ascii") as f:
    flags = set(re.search(r"^flags\s*:(.*)$", f.read(), re.M).group(1).split())
if not NEEDED <= flags:
    status, _, err = vt.vigia("run", "--cpu", "x86-64-v4", "--net", "none", *vt.busybox())
    vt.check(status == 1 and "cannot execute it" in err, "x86-64-v4 is refused where there is no AVX-512")
    raise SystemExit(0)

with tempfile.TemporaryDirectory() as tmp:
    program = os.path.join(tmp, "avx512")
    subprocess.run(["cc", "-O2", "-static", "-mavx512f", "-mavx512bw", "-mavx512dq", "-o", program, SOURCE], check=True)
    want = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with open(program, "rb") as f:
        server = vt.WebServer(f.read())
    with vt.VM("--cpu", "x86-64-v4", "--cpus", "2", "--memory", "768M", "--net", "user", *vt.debian()) as vm:
        print(f"login after {vm.login():.1f} s")
        _, out = vm.shell("grep -o -w -E 'avx512[a-z]+|xsaves' /proc/cpuinfo | sort -u")
        vt.check(NEEDED | {"xsaves"} <= set(out.split()), "the kernel has found AVX-512 and XSAVES")
        _, out = vm.shell("dmesg | grep -i -E 'xstate|x86/fpu'")
        vt.check("AVX-512 ZMM_Hi256" in out and "inconsisten" not in out, "and its registers' places")
        for _ in range(60):
            if vm.shell("ip -4 route show default | grep -q via")[0] == 0:
                break
        status, out = vm.shell(f"cd /root && wget -q -O avx512 {server.guest_url} && chmod +x avx512 && ./avx512", 180)
        vt.check(want in out and status == 0, f"{want!r}: {out.strip()!r}")
        status, out = vm.shell("dmesg --level=emerg,alert,crit,err | grep -E 'BUG|Oops|invalid opcode|x86/fpu'", 60)
        vt.check(status != 0, f"nothing about it in the kernel log {out.strip()!r}")
        vm.send("poweroff\n")
        vm.wait(120)
