# SPDX-License-Identifier: ISC
"""nbdserver: a disk over NBD (its "newstyle", https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), on a socket
in the file system, that never answers what touches its end."""
import os
import socket
import struct
import threading

MAGIC_OPTION, MAGIC_REPLY = 0x49484156454F5054, 0x3E889045565A9
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, 1 << 31 | 1
HAS_FLAGS, SEND_FLUSH, SEND_ZEROES = 1, 4, 64
READ, WRITE, DISC, FLUSH = range(4)


class Server:
    def __init__(self, path, size, stalls_from):
        self.data = bytearray(size)
        self.stalls_from = stalls_from
        self.stalled = 0  # requests that will have no answer
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            if self.negotiate(connection):
                while self.answer(connection):
                    pass
        except (OSError, EOFError):
            pass
        connection.close()

    @staticmethod
    def take(connection, n):
        data = b""
        while len(data) < n:
            part = connection.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def negotiate(self, connection):
        connection.sendall(b"NBDMAGIC" + struct.pack(">QH", MAGIC_OPTION, 3))
        self.take(connection, 4)
        while True:
            _, option, length = struct.unpack(">QII", self.take(connection, 16))
            self.take(connection, length)

            def reply(kind, data=b"", option=option):
                connection.sendall(struct.pack(">QIII", MAGIC_REPLY, option, kind, len(data)) + data)

            if option in (OPT_GO, OPT_INFO):
                reply(REP_INFO, struct.pack(">HQH", 0, len(self.data), HAS_FLAGS | SEND_FLUSH))
                reply(REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(REP_ACK)
                return False
            else:
                reply(REP_UNSUPPORTED)

    def answer(self, connection):
        _, _, kind, handle, offset, length = struct.unpack(">IHHQQI", self.take(connection, 28))
        data = self.take(connection, length) if kind == WRITE else b""
        if kind == DISC:
            return False
        if kind in (READ, WRITE) and offset + length > self.stalls_from:
            self.stalled += 1
            return True
        if kind == WRITE:
            self.data[offset:offset + length] = data
        connection.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) +
                           (bytes(self.data[offset:offset + length]) if kind == READ else b""))
        return True


def start(folder, name, size, stalls_from):
    path = os.path.join(folder, name + ".nbd")
    return path, Server(path, size, stalls_from)
