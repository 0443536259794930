# SPDX-License-Identifier: ISC
"""vigia_test: what the boot tests have in common: a VM under test with its console.

A test is a program: status 0 passed, 77 skipped (its last line says why), anything else failed.
Environment: VIGIA (the program), VIGIA_GUEST_DIR (guest material)."""
import atexit
import functools
import http.server
import lzma
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VIGIA = os.environ.get("VIGIA", os.path.join(ROOT, "build/cmd/vigia"))
GUEST = os.environ.get("VIGIA_GUEST_DIR", os.path.join(ROOT, "guest"))
# Histories of VMs under test go with the test.
if "XDG_STATE_HOME" not in os.environ:
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="vigia-state-")
    atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
# Slow engines (interpreter, sanitizers) get more time.
PATIENCE = float(os.environ.get("VIGIA_TEST_PATIENCE", "1"))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def fail(why):
    print(f"FAILED: {why}")
    sys.exit(1)


def check(condition, what):
    if not condition:
        fail(what)
    print(f"ok: {what}")


def tool(name, *args):
    """Runs a tools/guest-* program, which prints the path of what it has made."""
    r = subprocess.run([os.path.join(ROOT, "tools", name), *args], stdout=subprocess.PIPE, text=True,
                       env={**os.environ, "VIGIA_GUEST_DIR": GUEST}, check=False)
    if r.returncode:
        fail(f"tools/{name} failed")
    return r.stdout.strip().splitlines()[-1]


def kernel():
    return tool("guest-kernel")


@functools.cache
def unpacked_kernel():
    """The ELF file within Debian's kernel, kept beside it: the guest need not unpack it, which is most of what its start takes where instructions are slow."""
    packed_one = kernel()
    with open(packed_one, "rb") as f:
        image = f.read()
    at, size = struct.unpack_from("<II", image, 0x248)  # Linux' Documentation/arch/x86/boot.rst
    at += (image[0x1f1] + 1) * 512
    if image[at:at + 6] != b"\xfd7zXZ\0":
        return packed_one
    path = os.path.join(os.path.dirname(packed_one), "vmlinux")
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(packed_one):
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
            f.write(lzma.LZMADecompressor().decompress(image[at:at + size]))
        os.rename(f.name, path)  # whole, whoever else makes it now
    return path


def initramfs(*args):
    return tool("guest-initramfs", *args)


def busybox(cmdline=""):
    """Options for a VM with the busybox initramfs."""
    return ["--kernel", kernel(), "--initrd", initramfs(), "--append",
            f"console=ttyS0 {cmdline}".strip()]


def debian(snapshot=True):
    disk = tool("guest-disk")
    base = disk[:-len(".qcow2")]
    return ["--kernel", base + ".vmlinuz", "--initrd", base + ".initrd",
            "--append", "root=/dev/vda rw console=ttyS0",
            "--disk", disk + (",snapshot" if snapshot else "")]


class Workdir:
    """A temporary folder, removed at the end."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="vigia-test-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name, content=None, size=None):
        path = os.path.join(self.path, name)
        if content is not None or size is not None:
            with open(path, "wb") as f:
                f.write(content or b"")
                if size is not None:
                    f.truncate(size)
        return path


class VM:
    """`vigia run` with its console on pipes, or on a terminal (tty=True). command: another program."""

    def __init__(self, *args, tty=False, env=None, vigia=None, preexec=None, command=None):
        self.args = command or [vigia or VIGIA, "run", *args]
        self.output = b""
        self.position = 0
        self.errors = tempfile.TemporaryFile()
        self.master = None
        self.started = time.monotonic()
        full_env = {**os.environ, **(env or {})}
        if tty:
            self.master, slave = pty.openpty()
            self.slave = slave
            self.process = subprocess.Popen(self.args, stdin=slave, stdout=slave, stderr=self.errors,
                                            env=full_env, preexec_fn=preexec, start_new_session=True)
            self.out_fd = self.in_fd = self.master
        else:
            self.process = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.errors, env=full_env, preexec_fn=preexec)
            self.out_fd = self.process.stdout.fileno()
            self.in_fd = self.process.stdin.fileno()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is SystemExit or kind is None:
            return
        self.dump()

    def dump(self):
        print("--- console (last 4000 bytes)")
        print(self.output[-4000:].decode(errors="replace"))
        print("--- stderr")
        print(self.stderr()[-3000:])

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def _read(self, timeout):
        ready, _, _ = select.select([self.out_fd], [], [], max(timeout, 0))
        if not ready:
            return True
        try:
            data = os.read(self.out_fd, 65536)
        except OSError:
            data = b""
        self.output += data
        return bool(data)

    def give_up(self, why):
        print(f"FAILED: {why}")
        self.dump()
        sys.exit(1)

    def starved(self):
        """Seconds that its thread for which that is most was ready to run and had no processor of this machine."""
        most = 0
        try:
            for thread in os.listdir(f"/proc/{self.process.pid}/task"):
                with open(f"/proc/{self.process.pid}/task/{thread}/schedstat", encoding="ascii") as f:
                    most = max(most, int(f.read().split()[1]))
        except (OSError, ValueError, IndexError):
            pass  # it ends, or this kernel does not tell
        return most / 1e9

    def expect(self, pattern, timeout=60):
        """Waits for a regular expression on the console, from where the last one ended. What others on this machine take is not its time."""
        pattern = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        deadline, starved = time.monotonic() + timeout * PATIENCE, self.starved()
        while True:
            m = pattern.search(self.output, self.position)
            if m:
                self.position = m.end()
                return m
            if time.monotonic() > deadline and time.monotonic() > deadline + max(self.starved() - starved, 0):
                self.give_up(f"{pattern.pattern!r} did not come within {timeout * PATIENCE:.0f} s")
            if not self._read(0.2):
                m = pattern.search(self.output, self.position)
                if m:
                    self.position = m.end()
                    return m
                self.give_up(f"the VM ended before {pattern.pattern!r} came "
                             f"(status {self.process.wait()})")

    def said(self, pattern, timeout=60):
        """As expect(), but anywhere on the console: lines of several guests come in any order."""
        self.position = 0
        return self.expect(pattern, timeout)

    def drain(self):
        """Takes what is on the console without looking at it."""
        while self._read(0.05) and select.select([self.out_fd], [], [], 0)[0]:
            pass
        self.position = self.output.rfind(b"\n") + 1

    def send(self, text):
        os.write(self.in_fd, text if isinstance(text, bytes) else text.encode())

    def shell(self, command, timeout=60):
        """A command in a shell on the console; gives its output."""
        mark = f"m{time.monotonic_ns()}"
        # The mark is split so that the echo of the command does not look like the answer.
        self.send(f"{command}; echo {mark[:2]}''{mark[2:]}=$?\n")
        start = self.position
        m = self.expect(rf"{mark}=(\d+)\r?\n", timeout)
        return int(m.group(1)), self.output[start:m.start()].decode(errors="replace")

    def wait(self, timeout=60, status=0):
        """Reads until the VM ends; checks its exit status."""
        deadline = time.monotonic() + timeout * PATIENCE
        open_end = True
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.give_up(f"the VM did not end within {timeout * PATIENCE:.0f} s")
            if open_end:
                open_end = self._read(0.1)
            else:
                time.sleep(0.05)
        while open_end and select.select([self.out_fd], [], [], 0)[0]:
            open_end = self._read(0)
        got = self.process.returncode
        if status is not None and got != status:
            self.give_up(f"exit status {got}, expected {status}")
        return got

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def login(self, timeout=240):
        """Waits for Debian's login prompt, logs in as root; gives the seconds to the prompt."""
        self.expect(r"login: ", timeout)
        seconds = time.monotonic() - self.started
        self.send("root\n")
        self.expect(r"[#$] ", 60)
        self.send("stty -echo; PS1=; export TERM=dumb\n")
        self.shell("true")
        return seconds


def restored(state, *args, env=None):
    """A VM by `vigia restore`. What is sent to it at once reaches the guest."""
    return VM(command=[VIGIA, "restore", state, *args], env=env)


def vigia(*args, timeout=60, env=None, stdin=subprocess.DEVNULL):
    """Runs a short vigia command; gives (status, stdout, stderr)."""
    r = subprocess.run([VIGIA, *args], stdin=stdin, capture_output=True, text=True, check=False,
                       timeout=timeout * PATIENCE, env={**os.environ, **(env or {})})
    return r.returncode, r.stdout, r.stderr


class WebServer:
    """Serves one content under every name, on the host's loopback."""

    def __init__(self, content, address="127.0.0.1"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def guest_url(self):
        """The user network shows the host's loopback as 10.0.2.2."""
        return f"http://10.0.2.2:{self.port}/file"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def qemu_img_check(path, leaks=True):
    """qemu-img check; leaks are allowed, corruption is not."""
    if not shutil.which("qemu-img"):
        skip("qemu-img is missing: apt-get install qemu-utils")
    r = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
    # 0: well, 3: leaks only
    if r.returncode not in ((0, 3) if leaks else (0,)):
        print(r.stdout, r.stderr)
        fail(f"qemu-img check finds {path} damaged")
