# SPDX-License-Identifier: ISC
"""screen: reads what a VM shows: pictures of vigia screenshot, and the text in them."""
import os
import struct
import tempfile
import time
import zlib

import vigia_test as vt

VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin"


def read_png(path):
    """Width, height and rows of bytes R G B of what ui/png.c writes."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        vt.fail(f"{path} is no PNG file")
    at, body, w, h = 8, b"", 0, 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            w, h = struct.unpack(">II", data[at + 8:at + 16])
        elif kind == b"IDAT":
            body += data[at + 8:at + 8 + length]
        at += 12 + length
    raw, rows, above = zlib.decompress(body), [], bytes(3 * w)
    for y in range(h):
        row = raw[y * (3 * w + 1) + 1:(y + 1) * (3 * w + 1)]
        if raw[y * (3 * w + 1)] == 2:
            row = bytes((a + b) & 255 for a, b in zip(row, above))
        rows.append(row)
        above = row
    return w, h, rows


def bios_font():
    """Glyphs of 16 rows of the VGA BIOS, which text modes and Linux' VGA console use, to characters."""
    with open(VGA_BIOS, "rb") as f:
        rom = f.read()
    letter_a = bytes.fromhex("00001038 6cc6c6fe c6c6c6c6 00000000".replace(" ", ""))
    base = rom.index(letter_a) - 0x41 * 16
    font = {}
    for code in range(0x7e, 0x1f, -1):
        font[rom[base + 16 * code:base + 16 * code + 16]] = chr(code)
    return font


def text_of(rows, w, h, font=None, cell=9, top=0):
    """The lines of a text screen of 9 by 16 dots a character (or cell by 16, below the first top rows); what is no
    character is a question mark."""
    font = font or bios_font()
    lines = []
    for y in range(top, h - 15, 16):
        line = ""
        for x in range(0, w - 7, cell):
            dots = [[rows[y + r][3 * (x + c):3 * (x + c) + 3] for c in range(8)] for r in range(16)]
            back = dots[0][0]
            glyph = bytes(sum(0x80 >> c for c in range(8) if row[c] != back) for row in dots)
            line += font.get(glyph, font.get(glyph[:14] + b"\0\0", "?"))
        lines.append(line.rstrip())
    return lines


def shot(name, keep=None):
    """Width, height, rows of the VM's screen now."""
    path = keep or tempfile.mktemp(suffix=".png")
    status, _, err = vt.vigia("screenshot", name, path)
    if status:
        vt.fail(f"screenshot: {err}")
    try:
        return read_png(path)
    finally:
        if not keep:
            os.unlink(path)


def expect(name, wanted, timeout=30, keep=None):
    """Waits until a line of the text screen has the wanted text in it; gives all lines."""
    font, deadline = bios_font(), time.monotonic() + timeout * vt.PATIENCE
    while True:
        w, h, rows = shot(name, keep)
        lines = text_of(rows, w, h, font) if (w, h) == (720, 400) else []
        if any(wanted in line for line in lines):
            return lines
        if time.monotonic() > deadline:
            print("\n".join(lines))
            vt.fail(f"the screen ({w} x {h}) does not show {wanted!r}")
        time.sleep(0.3)
