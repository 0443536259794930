#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The screen over VNC, by a viewer on libvncclient: keys and movements reach a PC with SeaBIOS and Linux'
text console, and the screen shows them; other sizes; passwords; WebSocket; TLS for both; viewers that send
garbage or stall disturb neither the VM nor each other."""
import base64
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import time

import linuxdisk
import screen
import t_pc_input
import vigia_test as vt

CLIENT = os.path.join(os.path.dirname(os.path.dirname(vt.VIGIA)), "tests/boot/vncclient")
PASSWORD = "porthole"


def viewer(host, port, *commands, password=None, cert=None, encodings="raw"):
    args = [CLIENT, "-e", encodings] + (["-p", password] if password else []) + (["-c", cert] if cert else [])
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
        m = re.search(r"vncviewer (?:-\S+ )?(\S+)::(\d+), or a browser's client at wss?://\1:\2", vm.stderr())
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


UPGRADE = (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: binary\r\nOrigin: http://x\r\n\r\n")


def websocket(port):
    got = raw(port, UPGRADE, 10 * vt.PATIENCE, b"RFB 003.00")
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


def certificate(w, name):
    """A certificate of 127.0.0.1 and its key."""
    cert, key = w.file(f"{name}.crt"), w.file(f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:127.0.0.1", "-keyout", key,
                    "-out", cert], check=True, capture_output=True)
    return cert, key


def secure_websocket(port, cert):
    """A browser's way, by Python's TLS."""
    context = ssl.create_default_context(cafile=cert)
    got = b""
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20 * vt.PATIENCE),
                             server_hostname="127.0.0.1") as s:
        s.sendall(UPGRADE)
        while b"RFB 003.00" not in got:
            part = s.recv(65536)
            if not part:
                break
            got += part
        print(f"ok: {s.version()}")
    vt.check(got.startswith(b"HTTP/1.1 101") and b"RFB 003.00" in got, "a WebSocket by TLS is taken")


def half_handshakes(port, rng):
    """Garbage in the place of TLS and of VeNCrypt, and who says nothing more; all at once, more than there are places."""
    starts = (b"\x16\x03\x01\x02\x00" + rng.randbytes(512), b"\x16", b"", b"RFB 003.008\n", b"RFB 003.003\n",
              b"RFB 003.008\n\x13", b"RFB 003.008\n\x13\0\1", b"RFB 003.008\n\x13\0\2\0\0\1\4",
              b"RFB 003.008\n\x13\0\2\0\0\1\5" + rng.randbytes(300), rng.randbytes(2000))
    for _ in range(2):
        held = []
        for start in starts:
            s = socket.create_connection(("127.0.0.1", port), timeout=5)
            held.append(s)
            try:
                s.sendall(start)
            except OSError:
                pass
        time.sleep(0.5)
        for s in held:
            s.close()
    got = raw(port, b"RFB 003.008\n\x13\0\1", 3, b"\xff")
    vt.check(got == b"RFB 003.008\n\1\x13\0\2\xff", f"another VeNCrypt is refused: {got}")
    got = raw(port, b"RFB 003.008\n\x13\0\2\0\0\1\4", 3)
    vt.check(got == b"RFB 003.008\n\1\x13\0\2\0\1\0\0\1\5\0", f"X509None is refused where a password is: {got}")


def encrypted(w, rng):
    """With a certificate: VeNCrypt for viewers, wss for browsers, nothing in the clear."""
    name = f"vnct-{os.getpid()}"
    cert, key = certificate(w, "screen")
    other, _ = certificate(w, "other")
    secret = w.file("secret", PASSWORD.encode() + b"\n")
    with vt.VM("--board", "pc", "--net", "none", "--memory", "64M", "--display",
               f"vnc:127.0.0.1:0,password={secret},cert={cert},key={key}", "--name", name, "--exit-port", "0xf4", "--disk",
               f"{t_pc_input.image(w)},if=ide,format=raw") as vm:
        vm.expect("READY\n", 60)
        port = port_of(vm)
        vt.check("wss://" in vm.stderr() and "X509Vnc" in vm.stderr(), "it says how to connect")
        good("typed by TLS", "127.0.0.1", port, "size", "720", "400", "type", "Hi!\n", "watch", "300", "ppm",
             w.file("tls.ppm"), password=PASSWORD, cert=cert)
        for code in b"Hi!\r":
            vm.expect(rf"K..{code:02X}\n", 20)
        lines = screen.text_of(dump_screen(w.file("tls.ppm"))[2], 720, 400)
        vt.check(lines[0] == "Hi!", f"and the picture comes: {lines[0]}")
        for what, more in (("no TLS", {"password": PASSWORD}), ("a wrong password", {"password": "x", "cert": cert}),
                           ("another's certificate", {"password": PASSWORD, "cert": other})):
            vt.check(viewer("127.0.0.1", port, "watch", "1", **more).returncode == 1, f"refused: {what}")
        secure_websocket(port, cert)
        vt.check(b"HTTP" not in raw(port, UPGRADE, 3), "a WebSocket in the clear is refused")
        half_handshakes(port, rng)
        lazy = subprocess.Popen([CLIENT, "-p", PASSWORD, "-c", cert, "127.0.0.1", str(port), "key", "ffc3", "stall", "15000"])
        vm.expect("K4000\n", 20)
        out = good("beside one that stalls", "127.0.0.1", port, "watch", "1000", password=PASSWORD, cert=cert)
        vt.check(int(re.match(r"(\d+) updates", out).group(1)) > 1, f"another viewer goes on: {out.strip()}")
        vt.vigia("key", name, "f10")
        vm.wait(20, status=0x21)
        lazy.kill()
        lazy.wait()


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
                         ("127.0.0.1,passwd=x", "password=FILE"), ("unix:", "1 to"), ("127.0.0.1,key=x", "cert=FILE"),
                         ("127.0.0.1,cert=/nowhere", "openssl req"), ("192.0.2.1:0,password=" + w.file(
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
        if shutil.which("openssl"):
            encrypted(w, random.Random(seed))
        linux(w)


if __name__ == "__main__":
    main()
