#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The screen over VNC, by a viewer on libvncclient: keys and movements reach a PC with SeaBIOS and Linux'
text console, and the screen shows them; other sizes; passwords; WebSocket; viewers that send garbage or
stall disturb neither the VM nor each other."""
import base64
import os
import random
import re
import shutil
import socket
import subprocess
import time

import linuxdisk
import screen
import t_pc_input
import vigia_test as vt

CLIENT = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "tests/boot/vncclient")
PASSWORD = "porthole"


def viewer(host, port, *commands, password=None, encodings="raw"):
    args = [CLIENT, "-e", encodings] + (["-p", password] if password else [])
    return subprocess.run(args + [host, str(port), *commands], capture_output=True, text=True, check=False,
                          timeout=60 * vt.PATIENCE)


def good(what, *args, **more):
    r = viewer(*args, **more)
    vt.check(r.returncode == 0, f"{what} {r.stderr.strip()}")
    return r.stdout


def port_of(vm):
    """From the line that says how to connect."""
    deadline = time.monotonic() + 20 * vt.PATIENCE
    while time.monotonic() < deadline:
        m = re.search(r"vncviewer (\S+)::(\d+), or a browser's client at ws://\1:\2", vm.stderr())
        if m:
            return int(m.group(2))
        time.sleep(0.1)
    return vm.give_up("nobody said how to connect")


def dump_screen(path):
    """Width, height, rows of a picture of the viewer's."""
    with open(path, "rb") as f:
        w, h = (int(n) for n in re.match(rb"P6 (\d+) (\d+) 255\n", f.read(20)).groups())
        f.seek(-3 * w * h, os.SEEK_END)
        data = f.read()
    return w, h, [data[3 * w * y:3 * w * (y + 1)] for y in range(h)]


def keyboard_and_mouse(vm, port):
    good("typed", "127.0.0.1", port, "size", "720", "400", "type", 'Hello, VNC! {"~}\n', password=PASSWORD)
    for code in b'Hello, VNC! {"~}\r':
        vm.expect(rf"K..{code:02X}\n", 20)
    # another layout: @ without Shift, 7 with it; function keys, keypad, Ctrl and Alt
    good("other keys", "127.0.0.1", port, "key", "40", "key", "+ffe1", "key", "37", "key", "-ffe1", "key", "ffbe",
         "key", "ff52", "key", "ffab", "key", "+ffe3", "key", "61", "key", "-ffe3", "key", "+ffe9", "key", "78",
         "key", "-ffe9", password=PASSWORD)
    vm.expect("K0340\nK0837\nK3B00\nK48..\nK4E2B\nK1E01\nK2D00\n", 20)
    # the clipboard by Ctrl-Alt-V, of which the guest sees the letters only; then the keyboard is as before
    good("pasted", "127.0.0.1", port, "cut", "Paste\u00e9, (7)\n", "key", "+ffe3", "key", "+ffe9", "key", "76", "key", "-ffe9",
         "key", "-ffe3", "key", "76", password=PASSWORD)
    for code in b"Paste, (7)\rv":
        vm.expect(rf"K..{code:02X}\n", 20)
    # what a viewer holds is let go when it leaves
    good("held", "127.0.0.1", port, "key", "+ffe1", "key", "61", password=PASSWORD)
    vm.expect("K1E41\n", 20)
    time.sleep(1)
    good("after", "127.0.0.1", port, "key", "61", password=PASSWORD)
    vm.expect("K1E61\n", 20)
    start = len(vm.output)
    good("moved", "127.0.0.1", port, "pointer", "100", "100", "0", "pointer", "110", "90", "0", "pointer", "110",
         "90", "4", "pointer", "110", "90", "0", password=PASSWORD)
    vm.expect("M0A....\nM08....\n", 20)
    x, y, buttons = t_pc_input.movement(vm, start)
    vt.check((x, y) == (110, -90), f"the mouse moved by {x}, {y}")
    vt.check(buttons[-2:] == [2, 0], "and clicked")


def pictures(vm, w, port, name):
    for encodings in ("raw", "tight", "zrle", "hextile"):
        ppm = w.file(f"{encodings}.ppm")
        good(encodings, "127.0.0.1", port, "size", "720", "400", "watch", "300", "ppm", ppm, password=PASSWORD,
             encodings=encodings)
        if encodings == "tight":  # may be JPEG
            continue
        lines = screen.text_of(dump_screen(ppm)[2], 720, 400)
        vt.check(lines[0] == 'Hello, VNC! {"~}', f"a viewer sees by {encodings} what was typed")
    out = good("another size", "127.0.0.1", port, "size", "720", "400", "key", "ffc2", "size", "640", "400",
               "key", "ffc3", "watch", "1000", password=PASSWORD)
    vt.check(int(re.match(r"(\d+) updates", out).group(1)) > 1, f"the screen moves: {out.strip()}")
    vm.expect("K4000\n", 10)
    screen_size = screen.shot(name)[:2]
    vt.check(screen_size == (640, 400), f"the screen has {screen_size}")


def raw(port, data, wait=0.0, until=None):
    """A connection that says data; gives what came, until there was nothing for so many seconds, or that came."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        got = b""
        try:
            s.sendall(data)
            s.settimeout(wait or 0.05)
            while not until or until not in got:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except OSError:
            pass
    return got


def websocket(port):
    got = raw(port, b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\nSec-WebSocket-Version: 13\r\n"
              b"Sec-WebSocket-Protocol: binary\r\nOrigin: http://x\r\n\r\n", 10 * vt.PATIENCE, b"RFB 003.00")
    vt.check(got.startswith(b"HTTP/1.1 101") and b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=" in got and b"RFB 003.00" in got,
             "a WebSocket is taken")


def garbage(vm, port, rng):
    """Before and behind the handshake; halves of messages; more viewers than there is room for."""
    for n in range(12):
        raw(port, rng.randbytes(1 + 400 * n))
        raw(port, b"RFB 003.008\n" + rng.randbytes(50 * n))
    idle = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(14)]
    vm.send("")
    for s in idle:
        s.close()


def stalled(vm, port, name):
    """One that reads nothing while the screen moves, and one that stops in the middle of a message."""
    deadline = time.monotonic() + 20 * vt.PATIENCE
    while viewer("127.0.0.1", port, "watch", "1", password=PASSWORD).returncode:  # those of before still leave
        vt.check(time.monotonic() < deadline, "a place is free")
    lazy = subprocess.Popen([CLIENT, "-p", PASSWORD, "127.0.0.1", str(port), "key", "ffc3", "stall", "15000"])
    half = socket.create_connection(("127.0.0.1", port), timeout=5)
    half.sendall(b"RFB 003")
    time.sleep(1.5)
    before = time.monotonic()
    out = good("beside it", "127.0.0.1", port, "watch", "1000", password=PASSWORD)
    vt.check(int(re.match(r"(\d+) updates", out).group(1)) > 1, f"another viewer goes on: {out.strip()}")
    status, _, err = vt.vigia("key", name, "z")
    vt.check(status == 0, f"and the VM: {err}")
    vm.expect("K2C7A\n", 5)
    vt.check(time.monotonic() - before < 12 * vt.PATIENCE, "nobody was held up")
    vt.check(lazy.poll() is None, "the stalled viewer is still there")
    lazy.kill()
    lazy.wait()
    half.close()


def bios(w, rng):
    name = f"vnc-{os.getpid()}"
    secret = w.file("secret", PASSWORD.encode() + b"\n")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display",
               f"vnc:127.0.0.1:0,password={secret}", "--name", name, "--exit-port", "0xf4", "--disk",
               f"{t_pc_input.image(w)},if=ide,format=raw") as vm:
        vm.expect("READY\n", 60)
        port = port_of(vm)
        for wrong in ("porthol", ""):
            vt.check(viewer("127.0.0.1", port, "watch", "1", password=wrong).returncode == 1,
                     f"the password {wrong!r} is refused")
        keyboard_and_mouse(vm, port)
        pictures(vm, w, port, name)
        websocket(port)
        garbage(vm, port, rng)
        stalled(vm, port, name)
        status, out, _ = vt.vigia("list", "--json")
        vt.check(status == 0 and f'"127.0.0.1:{port}"' in out, "vigia list says where the screen is")
        vt.vigia("key", name, "f10")
        vm.wait(20, status=0x21)


def inside(path, rng):
    """Garbage behind the handshake: valid kinds of messages with nonsense in them."""
    for _ in range(40):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            try:
                s.connect(path)
                s.sendall(b"RFB 003.008\n\1\1")
                for _ in range(10):
                    s.sendall(bytes([rng.choice((0, 2, 3, 4, 5, 6, 7, 8, 250, 251, 255))]) + rng.randbytes(40))
            except OSError:
                pass  # thrown out, as it should be
    print("ok: garbage behind the handshake")


def linux(w):
    """Linux' own drivers: atkbd, psmouse, virtio_input, usbhid; the text console; a socket in the file system."""
    name, path = f"vncl-{os.getpid()}", w.file("screen.sock")
    ram_disk = vt.initramfs("--modules", "psmouse,mousedev,virtio_input,uhci-hcd,usbhid,"
                            "hid-generic,evdev", "--name", "input")
    disk = linuxdisk.make(w, vt.kernel(), ram_disk, "console=ttyS0 quiet vigia.run=tty")
    for kind in ("ps2", "usb", "virtio"):
        with vt.VM("--board", "pc", "--net", "none", "--memory", "192M", "--display", f"vnc:unix:{path}", "--input",
                   kind, "--name", name, "--disk", f"{disk},if=ide,format=raw,snapshot") as vm:
            vm.expect("VIGIA tty ready", 120)
            screen.expect(name, "built-in shell", 30)
            good("typed", path, 0, "size", "720", "400", "type", "echo \"answer: $((6*7))\"\n")
            screen.expect(name, "answer: 42", 20)
            if kind == "ps2":
                inside(path, random.Random(4711))
            device = "mice" if kind == "ps2" else "event$(grep -A5 tablet /proc/bus/input/devices | " \
                "sed -n 's/.*event\\([0-9]*\\).*/\\1/p')"
            vt.vigia("type", "--enter", name, f"od -An -v -tx1 -w24 -N48 /dev/input/{device} >/dev/ttyS0 &")
            screen.expect(name, "ttyS0 &", 20)
            time.sleep(0.3)
            for x in (10, 25, 30, 35):
                good("moved", path, 0, "pointer", str(x), "399", "0")
            if kind == "ps2":
                vm.expect(r" (08|28|18|38) .. .. (08|18|28|38) ", 20)
            else:  # the first event: type 3 (EV_ABS), code 0, 10 / 719 of 32767
                vm.expect(r" 03 00 00 00 c7 01 00 00", 20)
            vt.vigia("kill", name)
            vm.wait(20)


def refusals(w):
    for spec, wanted in ((":5900x", "give ADDRESS"), ("0.0.0.0", "whoever reaches"), ("nowhere.example", "numeric"),
                         (f"127.0.0.1,password={w.file('long', b'much too long')}", "1 to 8"),
                         ("127.0.0.1,passwd=x", "password=FILE"), ("unix:", "1 to"), ("192.0.2.1:0,password=" + w.file(
                             "ok", b"x"), "cannot listen")):
        status, _, err = vt.vigia("run", "--board", "pc", "--net", "none", "--serial", "none", "--display", f"vnc:{spec}")
        vt.check(status == 1 and wanted in err, f"--display vnc:{spec}: {err.strip()}")


def main():
    if not shutil.which("nasm") or not os.path.exists(screen.VGA_BIOS):
        vt.skip("needs the packages nasm and seabios")
    if not os.path.exists(CLIENT):
        vt.skip(f"{CLIENT} was not built")
    seed = int(os.environ.get("SEED", "4711"))
    print(f"SEED={seed}")
    with vt.Workdir() as w:
        refusals(w)
        bios(w, random.Random(seed))
        linux(w)


if __name__ == "__main__":
    main()
