#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""For each class and verb a guest that tries: what it saw, and what was recorded. One VM under one set of
rules; a row of the table is a rule, a command in the guest, and what must come of it."""
import json
import os
import re
import stat
import struct
import time

import vigia_test as vt

HTTP = b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nrecorded\n"
PROGRAM = b"#!/bin/sh\nread -r line\necho \"program got $line\"\n"
DAY = 86400


def rows(name, *args):
    status, out, err = vt.vigia("history", name, "--json", *args)
    vt.check(status == 0, f"vigia history {' '.join(args)} {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


def xorshift(seed, n):
    """What `redirect entropy any -> seed N` gives."""
    out, s = bytearray(), seed
    for _ in range(n):
        s ^= s >> 12
        s = (s ^ s << 25) & (1 << 64) - 1
        s ^= s >> 27
        out.append((s * 0x2545F4914F6CDD1D & (1 << 64) - 1) >> 56)
    return bytes(out)


def minutes(delta):
    t = time.gmtime(time.time() + 60 * delta)
    return f"{t.tm_hour:02}:{t.tm_min:02}"


with vt.Workdir() as d:
    server = vt.WebServer(b"from the host\n")
    answer = d.file("answer", HTTP)
    program = d.file("program", PROGRAM)
    os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
    disk = d.file("disk.img", b"D" * 4096, size=1 << 20)
    other = d.file("other.img", b"", size=1 << 20)
    hidden = d.file("hidden.img", b"", size=1 << 20)
    with open(other, "r+b") as f:
        f.seek(100 * 512)
        f.write(b"from the other image" + bytes(492))

    # class, verb (0 provided, 1 redirected, 2 denied), rule, command, what the guest saw
    table = [
        ("disk", 1, "redirect disk write sectors 0-7 -> scratch",
         "printf SCRATCH | dd of=/dev/vda conv=fsync,notrunc 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; "
         "dd if=/dev/vda bs=16 count=1 2>/dev/null", r"SCRATCHDDDDDDDDD"),
        ("disk", 1, f"redirect disk read sectors 100-103 -> image {other}",
         "dd if=/dev/vda bs=512 skip=96 count=16 2>/dev/null | tr -d '\\0'", r"from the other image"),
        ("disk", 2, "deny disk write sectors 200-207",
         "dd if=/dev/zero of=/dev/vda bs=512 seek=200 count=8 conv=fsync,notrunc 2>&1 | tail -1; echo end", r"error|Error"),
        ("net", 1, f"redirect net tcp 198.51.100.1 port 80 -> 10.0.2.2:{server.port}",
         "wget -q -O - http://198.51.100.1/", r"from the host"),
        ("net", 1, f"redirect net tcp 198.51.100.2 port 80 -> answer {answer}",
         "wget -q -O - http://198.51.100.2/", r"recorded"),
        ("net", 1, f"redirect net tcp 198.51.100.3 port 9 -> program {program}",
         "echo hello | timeout 5 nc 198.51.100.3 9", r"program got hello"),
        # before the next, to which that address belongs once the name is known
        ("net", 2, f"provide net tcp 10.0.2.2 port {server.port} limit 3KB",
         f"for i in 1 2 3 4 5 6 7 8; do timeout 1 wget -q -O - http://10.0.2.2:{server.port}/; done | grep -c host", r"\b[1-7]\b"),
        ("net", 1, f"redirect net name host.example -> 10.0.2.2:{server.port}",
         "wget -q -O - http://host.example/", r"from the host"),
        ("net", 1, f"redirect net name answer.example -> answer {answer}",
         "wget -q -O - http://answer.example/", r"recorded"),
        ("net", 2, "deny net tcp 198.51.100.4", "timeout 2 nc 198.51.100.4 80 </dev/null; echo nc=$?", r"nc=(1|124|143)"),
        ("net", 2, f"deny net tcp 198.51.100.5 during {minutes(-5)}-{minutes(30)}",
         "timeout 2 nc 198.51.100.5 80 </dev/null; echo nc=$?", r"nc=(1|124|143)"),
        ("net", 1, f"deny net tcp 198.51.100.6 during {minutes(60)}-{minutes(90)}\n"
                   f"redirect net tcp 198.51.100.6 -> answer {answer}",
         "wget -q -O - http://198.51.100.6/", r"recorded"),
        ("entropy", 1, "redirect entropy any -> seed 42",
         "dd if=/dev/hwrng bs=32 count=1 2>/dev/null | xxd -p -c 32", r"[0-9a-f]{64}"),
        ("time", 1, "redirect time any -> offset 2d rate 1000%",
         "date +now=%s; cd /sys/class/rtc/rtc0; a=$(cat since_epoch); sleep 3; b=$(cat since_epoch); cd /; echo ran=$((b-a))",
         r"(?s)now=\d+.*ran=\d+"),
        ("memory", 0, "provide memory any limit 96MB", "grep MemTotal /proc/meminfo", r"MemTotal: +[1-9]\d{4} kB"),
        ("device", 2, "deny device disk1", "ls /dev/vdb", r"No such file"),
        ("disk", 2, "provide disk write sectors 300-307 limit 2",
         "for i in 1 2 3; do dd if=/dev/zero of=/dev/vda bs=512 seek=300 count=8 conv=fsync,notrunc 2>/dev/null && echo did; done | wc -l",
         r"\b2\b"),
        ("disk", 0, "provide disk read sectors 400-407 record full", "dd if=/dev/vda bs=512 skip=400 count=8 2>/dev/null | wc -c", r"4096"),
        ("net", 2, "deny net udp 198.51.100.8", "timeout 2 nslookup lost.example 198.51.100.8 >/dev/null; echo ns=$?", r"ns=(1|143)"),
        ("operator", 0, f"provide operator resume uid {os.getuid()}", None, None),
        ("operator", 2, "deny operator resume", None, None),
        ("operator", 2, "deny operator pause", None, None),
    ]
    try:
        six = vt.WebServer(b"from the host by IPv6\n", "::1")
        table.insert(6, ("net", 1, f"redirect net tcp 2001:db8::5 port 80 -> [fec0::2]:{six.port}",
                         "ip -6 addr add fec0::15/64 dev eth0; sleep 3; ip -6 route add default via fec0::2; "
                         "wget -q -O - 'http://[2001:db8::5]/'", r"from the host by IPv6"))
    except OSError as e:
        print(f"no IPv6 on this host's loopback: {e}")
    text = "".join(rule + "\n" for _, _, rule, _, _ in table)
    lines, n = [], 1
    for _, _, rule, _, _ in table:
        n += rule.count("\n")
        lines.append(n)
        n += 1
    rules = d.file("all.rules", text.encode())
    seen = {}
    with vt.VM("--name", "tried", "--memory", "256M", "--policy", rules, "--disk", f"{disk},format=raw",
               "--disk", f"{hidden},format=raw", *vt.busybox("vigia.run=modules,net vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.shell("stty -echo")
        status, _, err = vt.vigia("history", "tried", "--record", "net=full")
        vt.check(status == 0, f"frames in full {err}")
        for _, _, rule, command, want in table:
            if command:
                _, out = vm.shell(command, 30)
                m = re.search(want, out)
                vt.check(m, f"{rule!r}: the guest saw {out.strip()[-60:]!r}")
                seen[rule] = m.group(0)
        status, _, err = vt.vigia("pause", "tried")
        vt.check(status == 1 and f"line {lines[-1]}" in err, f"a pause is denied: {err.strip()}")
        status, _, err = vt.vigia("resume", "tried")
        vt.check(status == 1 and "nobody has paused" in err, f"a resume is provided to us, though it has no sense: {err.strip()}")
        # A share of the processor, set while it runs
        half = d.file("half.rules", (text + "provide cpu any limit 30% weight 50%\n").encode())
        status, _, err = vt.vigia("policy", "set", "tried", half)
        vt.check(status == 0, f"new rules while it runs {err}")
        vm.send("while :; do :; done\n")
        stat_file = f"/proc/{vm.process.pid}/stat"
        time.sleep(0.5)
        used = [sum(map(int, open(stat_file).read().rsplit(")", 1)[1].split()[11:13]))]
        begun = time.monotonic()
        time.sleep(2)
        used.append(sum(map(int, open(stat_file).read().rsplit(")", 1)[1].split()[11:13])))
        share = (used[1] - used[0]) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
        vt.check(0.02 < share < 0.6, f"30 % of a CPU: it used {100 * share:.0f} %")
        strange = d.file("strange.rules", b"redirect net tcp any -> answer /etc/hostname\n")
        status, _, err = vt.vigia("policy", "set", "tried", strange)
        vt.check(status == 1 and "/etc/hostname" in err, f"files come with the start only: {err.strip()}")
        vt.vigia("kill", "tried")
        vm.wait(30)

    now, ran = map(int, re.findall(r"=(\d+)", seen["redirect time any -> offset 2d rate 1000%"]))
    vt.check(20 <= ran <= 120, f"its calendar went {ran} s in three")
    vt.check(abs(now - time.time() - 2 * DAY) < 600, "the guest lives two days ahead")
    drawn = bytes.fromhex(seen["redirect entropy any -> seed 42"])
    vt.check(drawn in xorshift(42, 1 << 16), "entropy comes from the seed")
    with open(disk, "rb") as f:
        vt.check(f.read(4096) == b"D" * 4096, "the disk itself is as it was")

    # The frames that were recorded, as a capture; the whole as a page
    capture, page = d.file("out.pcapng"), d.file("out.html")
    status, _, err = vt.vigia("history", "tried", "--pcap", capture)
    vt.check(status == 0, f"a capture {err}")
    with open(capture, "rb") as f:
        frames, at, blocks = f.read(), 0, []
    while at < len(frames):
        kind, size = struct.unpack_from("<II", frames, at)
        if size < 12 or struct.unpack_from("<I", frames, at + size - 4)[0] != size:
            vt.fail(f"the block at {at} does not end as it begins")
        blocks.append((kind, frames[at + 28:at + size]))
        at += size
    vt.check(blocks[0][0] == 0x0a0d0d0a and blocks[1][0] == 1 and at == len(frames), "it is pcapng")
    vt.check(any(b"GET / HTTP" in data for kind, data in blocks if kind == 6), "the guest's request is in it")
    vt.check(any(HTTP in data for kind, data in blocks if kind == 6), "and what it was answered")
    status, _, err = vt.vigia("history", "tried", "--html", page)
    with open(page, encoding="utf-8") as f:
        html = f.read()
    vt.check(status == 0 and html.count("</script>") == 2 and "http-equiv" not in html, f"a page {err}")
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    titles = {t["title"]: t["rows"] for t in data["tables"]}
    vt.check(data["records"] > 100 and {c["name"] for c in data["classes"]} >= {"net", "disk", "cpu", "operator"} and
             titles["Verdicts of the policy"] and titles["Exceptions"], "with its charts and tables")

    shares = [r for r in rows("tried", "--class", "cpu", "--op", "share")]
    vt.check(len(shares) == 1 and shares[0]["value"] == 30 and shares[0]["rule"] == lines[-1] + 1, "the share of a CPU is recorded")
    for (cls, verdict, rule, _, _), line in zip(table, lines):
        if cls == "operator" and rule.startswith("deny operator resume"):
            continue  # never reached: the line before provides it
        if cls == "operator" and verdict:
            vt.check(any(r["result"] < 0 and "denies" in r["text"] and r["verdict"] == verdict and r["rule"] == line
                         for r in rows("tried", "--class", cls)), f"{rule!r} is recorded")
        elif cls == "operator":
            vt.check(any(r["text"].startswith("resume ") and "nobody" in r["text"] for r in rows("tried", "--class", cls)),
                     f"{rule!r}: that it came through is recorded")
        else:
            found = [r for r in rows("tried", "--class", cls) if r["verdict"] == verdict and r["rule"] == line]
            vt.check(found, f"{rule!r} is recorded")
