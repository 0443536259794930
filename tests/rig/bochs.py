# SPDX-License-Identifier: ISC
"""bochs: a machine with Intel's VMX, EPT and unrestricted guest: Bochs with its model of a Haswell, or another.

  with Bochs(work, iso, cpus) as vm: vm.expect(…)

Its first serial port is vm's console. Debian's bochs has its debugger built in, which wants a terminal and is told
to go on, and draws the machine's screen on another terminal, which it opens, and where it stops when nobody
reads. So threads here read along on both. Some 100 million instructions a second."""
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import threading
import time
import tty

import vigia_test as vt

DATA = "/usr/share/bochs"
CONFIG = """display_library: term
romimage: file={data}/BIOS-bochs-latest
vgaromimage: file={data}/VGABIOS-lgpl-latest
cpu: model={model}, count={cpus}, ips=100000000, reset_on_triple_fault=0
memory: guest={memory}, host={memory}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
{disk}
boot: cdrom
com1: enabled=1, mode=term, dev={serial}
sound: driver=dummy
clock: sync=none
log: {log}
error: action=ignore
info: action=ignore
debug: action=ignore
"""


CYLINDER = 16 * 63 * 512  # bytes: a disk is whole ones


def missing():
    """What is not installed; None: all is there."""
    if not shutil.which("bochs"):
        return "bochs"
    for name in ("BIOS-bochs-latest", "VGABIOS-lgpl-latest"):
        if not os.path.exists(os.path.join(DATA, name)):
            return name
    return None


def read_all(fd):
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass


class Bochs(vt.VM):
    def __init__(self, work, iso, cpus=1, memory=384, disk=None, model="corei7_haswell_4770"):
        self.output = b""
        self.position = 0
        self.errors = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self.master, serial = pty.openpty()
        tty.setraw(serial)
        debugger, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 132, 0, 0))
        line = disk and f"ata0-slave: type=disk, path={disk}, mode=flat, cylinders={os.path.getsize(disk) // CYLINDER}, heads=16, spt=63"
        config = CONFIG.format(data=DATA, model=model, cpus=cpus, memory=memory, iso=iso, disk=line or "", serial=os.ttyname(serial),
                               log=work.file("bochs.log"))
        self.process = subprocess.Popen(
            ["bochs", "-q", "-f", work.file("bochsrc", config.encode()), "-rc", work.file("go", b"c\n")],
            stdin=terminal, stdout=terminal, stderr=self.errors, env={**os.environ, "TERM": "xterm"},
            start_new_session=True)
        self.serial = serial  # open: else the master would read an end before Bochs is there
        os.close(terminal)
        self.out_fd = self.in_fd = self.master
        threading.Thread(target=read_all, args=(debugger,), daemon=True).start()
        threading.Thread(target=self.watch_screen, daemon=True).start()

    def watch_screen(self):
        """Bochs says where it is."""
        while self.process.poll() is None:
            said = os.pread(self.errors.fileno(), 65536, 0)  # its place in the file stays
            m = re.search(rb'connected to screen "([^"]+)"', said)
            if m:
                screen = os.open(m.group(1), os.O_RDWR | os.O_NOCTTY)
                tty.setraw(screen)
                read_all(screen)
                return
            time.sleep(0.1)
