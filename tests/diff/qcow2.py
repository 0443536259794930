#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Images of many kinds, made by qemu-img: random requests by our driver (diff_qcow2), then qemu-img
checks the image, compares it with what it should hold, and looks whether its snapshots and backing
files are as they were.

    qcow2.py PATH-OF-diff_qcow2 [--seed N] [--ops N] [--only NAME] [--size MIB]
"""
import argparse, os, random, subprocess, sys, tempfile

# name, options of qemu-img create, how it is filled, arguments of diff_qcow2
VARIANTS = [
    ('plain', '', '', ''),
    ('loop', '', 'data', 'loop'),
    ('threads', '', 'data', 'threads'),
    ('v2', 'compat=0.10', 'data', ''),
    ('v2-backing', 'compat=0.10', 'backing', 'loop'),
    ('c512', 'cluster_size=512', 'data', 'loop unsafe'),
    ('c512-rc64', 'cluster_size=512,refcount_bits=64', '', 'unsafe'),
    ('c1k-rc1', 'cluster_size=1k,refcount_bits=1', '', 'loop'),
    ('c4k', 'cluster_size=4k', 'data', 'loop'),
    ('c4k-rc2', 'cluster_size=4k,refcount_bits=2', 'snapshot', 'loop'),
    ('rc4', 'refcount_bits=4', 'snapshot', 'loop'),
    ('rc8', 'cluster_size=8k,refcount_bits=8', 'snapshot', 'loop unsafe'),
    ('rc32', 'refcount_bits=32', 'data', 'loop'),
    ('rc64', 'refcount_bits=64', 'snapshot', ''),
    ('c2m', 'cluster_size=2M', 'data', 'loop'),
    ('c2m-backing', 'cluster_size=2M', 'backing', 'loop'),
    ('zlib', '', 'compressed', 'loop'),
    ('zlib-4k', 'cluster_size=4k', 'compressed', 'loop'),
    ('zlib-2m', 'cluster_size=2M', 'compressed', ''),
    ('zstd', 'compression_type=zstd', 'compressed', 'loop'),
    ('zstd-512', 'cluster_size=512,compression_type=zstd', 'compressed', 'unsafe'),
    ('zlib-snapshot', 'cluster_size=16k', 'compressed snapshot', 'loop'),
    ('lazy', 'lazy_refcounts=on', 'data', 'loop'),
    ('prealloc', 'preallocation=metadata', '', 'loop'),
    ('falloc', 'preallocation=falloc', '', 'loop'),
    ('backing', '', 'backing', 'loop'),
    ('backing-raw', '', 'backing-raw', 'loop'),
    ('backing-short', 'cluster_size=32k', 'backing-short', 'loop'),
    ('chain', 'cluster_size=4k', 'chain', 'loop threads'),
    ('bitmap', '', 'data bitmap', 'loop'),
    ('raw', None, '', 'loop'),
    ('raw-threads', None, '', 'threads'),
]


def run(*cmd, **kw):
    return subprocess.run([str(c) for c in cmd], check=True, text=True, stdout=subprocess.PIPE, **kw).stdout


def random_content(rng, path, size, sparse=True):
    """A raw file: stretches of noise, of text that compresses, and of nothing."""
    with open(path, 'wb') as f:
        f.truncate(size)
        pos = 0
        while pos < size:
            n = min(size - pos, 512 * rng.randrange(1, 1024))
            kind = rng.randrange(3)
            f.seek(pos)
            if kind == 0:
                f.write(rng.randbytes(n))
            elif kind == 1 or not sparse:
                f.write((b'the quick %07d fox ' % rng.randrange(10**7) * (n // 16 + 1))[:n])
            pos += n


def make(v, rng, size):
    """Makes t.img; returns [(what, command that shows it, expected bytes file)] to be unchanged."""
    name, opts, fill, _ = v
    keep = []
    if opts is None:
        random_content(rng, 't.img', size)
        return keep
    o = ['-o', opts] if opts else []
    run('rm', '-f', 'base.qcow2', 'mid.qcow2', 'base.raw', 'content.raw')
    if fill.startswith(('backing', 'chain')):
        bsize = size // 2 + 512 * 7 if fill == 'backing-short' else size
        random_content(rng, 'content.raw', bsize)
        if fill == 'backing-raw':
            run('cp', '--sparse=always', 'content.raw', 'base.raw')
            base, fmt = 'base.raw', 'raw'
        else:
            run('qemu-img', 'convert', '-c', '-O', 'qcow2', 'content.raw', 'base.qcow2')
            base, fmt = 'base.qcow2', 'qcow2'
        if fill == 'chain':
            run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', fmt, 'mid.qcow2')
            for _ in range(20):
                at = rng.randrange(size // 512) * 512
                run('qemu-io', '-c', f'write -P {rng.randrange(256)} {at} {min(size - at, 40960)}', 'mid.qcow2')
            base, fmt = 'mid.qcow2', 'qcow2'
        run('qemu-img', 'create', '-q', '-f', 'qcow2', *o, '-b', base, '-F', fmt, 't.img', size)
        keep.append((base, run('sha256sum', base).split()[0], ['sha256sum', base]))
    elif fill.startswith('compressed'):
        random_content(rng, 'content.raw', size)
        run('qemu-img', 'convert', '-c', '-O', 'qcow2', *o, 'content.raw', 't.img')
    elif fill.startswith('data') or fill.startswith('snapshot'):
        random_content(rng, 'content.raw', size)
        run('qemu-img', 'convert', '-O', 'qcow2', *o, 'content.raw', 't.img')
    else:
        run('qemu-img', 'create', '-q', '-f', 'qcow2', *o, 't.img', size)
    if 'snapshot' in fill:
        run('qemu-img', 'snapshot', '-c', 'one', 't.img')
        for _ in range(10):
            at = rng.randrange(size // 512) * 512
            run('qemu-io', '-c', f'write -P {rng.randrange(256)} {at} {min(size - at, 204800)}', 't.img')
        if 'rc2' not in name and 'rc1' not in name:
            run('qemu-img', 'snapshot', '-c', 'two', 't.img')
        for s in ('one', 'two')[:1 if 'rc2' in name else 2]:
            show = ['sh', '-c', f'qemu-img convert -l snapshot.name={s} -O raw t.img s.raw && sha256sum s.raw']
            keep.append((f'snapshot {s}', run(*show).split()[0], show))
    if 'bitmap' in fill:
        run('qemu-img', 'bitmap', '--add', 't.img', 'b0')
    return keep


def check(v, keep, fmt):
    if fmt == 'qcow2':
        r = subprocess.run(['qemu-img', 'check', '-f', fmt, 't.img'], text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
        # 3: leaks only. A bitmap that was given up leaks by design.
        if r.returncode not in ((0, 3) if 'bitmap' in v[2] else (0,)):
            raise SystemExit(f'{v[0]}: qemu-img check says {r.returncode}:\n{r.stdout}')
    run('qemu-img', 'compare', '-f', fmt, '-F', 'raw', 't.img', 't.raw')
    for what, before, show in keep:
        if run(*show).split()[0] != before:
            raise SystemExit(f'{v[0]}: {what} has changed')


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--ops', type=int, default=1500)
    p.add_argument('--size', type=int, default=24)
    p.add_argument('--only', default='')
    a = p.parse_args()
    program = os.path.abspath(a.program)
    with tempfile.TemporaryDirectory(prefix='qcow2-', dir=os.environ.get('TMPDIR')) as d:
        os.chdir(d)
        for i, v in enumerate(VARIANTS):
            if a.only and a.only != v[0]:
                continue
            rng = random.Random(a.seed * 1000 + i)
            # Not a multiple of any cluster size, but of a sector.
            size = (a.size << 20) + 512 * rng.randrange(1, 300)
            if '512' in v[0] or '1k' in v[0]:
                size //= 4
                size &= ~511
            run('rm', '-f', 't.img')
            keep = make(v, rng, size)
            fmt = 'raw' if v[1] is None else 'qcow2'
            run('qemu-img', 'convert', '-f', fmt, '-O', 'raw', 't.img', 't.raw')
            try:
                out = run(program, 't.img', 't.raw', a.seed * 1000 + i, a.ops, *v[3].split())
            except subprocess.CalledProcessError as e:
                raise SystemExit(f'{v[0]}: seed {a.seed * 1000 + i}: {e}')
            check(v, keep, fmt)
            print(f'{v[0]}: seed {a.seed * 1000 + i}: {out.strip()}', flush=True)


main()
