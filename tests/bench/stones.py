# SPDX-License-Identifier: ISC
"""stones.py N: what interpreted programs are made of, N times over: calls, attributes, strings, dictionaries,
lists, floats, exceptions. Needs no module but sys (Debian's python3-minimal)."""
import sys


class Record:
    def __init__(self, name, value, link=None):
        self.name, self.value, self.link = name, value, link

    def total(self):
        r, t = self, 0
        while r is not None:
            t += r.value
            r = r.link
        return t


def records(n):
    head = None
    for i in range(n):
        head = Record("record %d" % (i % 17), i * 3 % 101, head)
    names = {}
    r = head
    while r is not None:
        names.setdefault(r.name, []).append(r.value)
        r = r.link
    return head.total() + sum(len(v) * max(v) for v in names.values())


def ackermann(m, n):
    if m == 0:
        return n + 1
    return ackermann(m - 1, 1 if n == 0 else ackermann(m, n - 1))


def words(n):
    text = " ".join("%x" % (i * 2654435761 % 4294967296) for i in range(n))
    count = {}
    for w in text.upper().split():
        count[w[:2]] = count.get(w[:2], 0) + 1
    return sum(v * v for v in count.values()) + len("-".join(sorted(count)))


def nbody(steps):
    x, v = [0.0, 1.0, 2.5], [0.1, -0.2, 0.05]
    for _ in range(steps):
        for i in range(3):
            f = sum((x[j] - x[i]) / (0.01 + abs(x[j] - x[i]) ** 3) for j in range(3))
            v[i] += 0.001 * f
        for i in range(3):
            x[i] += 0.001 * v[i]
    return "%.9f %.9f %.9f" % tuple(x)


def errors(n):
    caught = 0
    for i in range(n):
        try:
            if [1, 2, 3][i % 5] > 2:
                raise ValueError(i)
        except (IndexError, ValueError):
            caught += 1
    return caught


for _ in range(int(sys.argv[1])):
    print(records(12000), ackermann(2, 60), words(12000), nbody(1500), errors(20000))
