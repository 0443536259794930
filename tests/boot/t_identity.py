#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A VM is the same at each start: addresses of its network cards, which come from its name; and its
clock shows what --rtc says."""
import os
import re
import time

import vigia_test as vt


def look(name, rtc, nets):
    """Addresses of the cards, and what the clock shows, in seconds since 1970."""
    args = [a for n in nets for a in ("--net", n)]
    with vt.VM("--name", name, "--rtc", rtc, *args, *vt.busybox("quiet vigia.end=shell"), env=env) as vm:
        vm.expect(r"VIGIA shell", 120)
        _, out = vm.shell("while read -r ko; do insmod /lib/modules/$(uname -r)/$ko; done </etc/modules; "
                          "sleep 1; cat /sys/class/net/eth*/address; echo clock=$(cat /sys/class/rtc/rtc0/since_epoch)")
        vm.send("poweroff -f\n")
        vm.wait(60)
    clock = re.search(r"clock=(\d+)", out)
    if not clock:
        vt.fail(f"no clock: {out!r}")
    return re.findall(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", out), int(clock.group(1))


with vt.Workdir() as d:
    env = {"XDG_RUNTIME_DIR": d.path, "TZ": "Etc/GMT-5"}  # 5 hours ahead
    first, clock = look("ann", "2005-04-01T12:30:00", ["user", "user", "user,mac=02:00:00:00:00:07"])
    vt.check(len(set(first)) == 3 and first[2] == "02:00:00:00:00:07", f"three cards: {first}")
    vt.check(all(int(a[:2], 16) & 3 == 2 for a in first), "the addresses are locally administered")
    vt.check(0 <= clock - 1112358600 < 120, "the clock begins with the date")
    again, clock = look("ann", "localtime", ["user", "user"])
    vt.check(again == first[:2], "the same VM has the same addresses")
    vt.check(abs(clock - time.time() - 5 * 3600) < 120, "the clock shows local time")
    zone = "zone:Etc/GMT+3" if os.path.exists("/usr/share/zoneinfo/Etc/GMT+3") else "utc"
    other, clock = look("bob", zone, ["user"])
    vt.check(other[0] not in first, "another VM has another")
    vt.check(abs(clock - time.time() + (3 * 3600 if zone != "utc" else 0)) < 120, f"the clock shows {zone}")
