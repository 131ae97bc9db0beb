#!/usr/bin/env python3
"""Runs the Volta kernels on a table of problems and compares them with float64.

  python3 cuda/check.py --device               # through libcuda on an NVIDIA GPU of compute capability 7.0 or
                                               # newer
  python3 cuda/check.py --model FOLDER         # in the sm_70 machine-code interpreter of FOLDER (sass70.py,
                                               # volta_model.py)
  python3 cuda/check.py --device --only causal # problems whose name contains a word
  python3 cuda/check.py --list

The wavefronts that --model prints are those of the first kernel of a problem,
ncu's l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum and
.._op_st.sum.

Needs numpy. On a GPU newer than Volta the results are proof, the times are not: the tensor instruction is
emulated there.
A problem passes if the largest error is at most twice that of the same formula with scores, p and o rounded
to half, if lse is within what f32 sums of its products and the approximate instructions may add, and if nothing
outside o and lse was written. Exit code 1 if one fails.
"""

import argparse
import ctypes
import math
import os
import struct
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_ptx  # noqa: E402  (the table of kernels)

TABLE = make_ptx.table()
THREADS = 128  # a block
# The rule of crates/tolerance (its documentation says where it comes from). A test there reads these lines.
FACTOR = 2.0
LSE_RELATIVE = 1e-6
LAMBDA = 4.0
UNIT_F32 = 2**-24
# lg2.approx is off by at most 2^-22, ex2.approx by 2^-22.5 of its value (PTX ISA): of lse by so much.
APPROXIMATIONS = (math.log(2) + math.sqrt(0.5)) * 2**-22
GUARD = 64  # elements around every output that must stay as they were


def made(name, **changes):
    """A problem that is the usual one but for the changes."""
    p = dict(
        name=name,
        batch=1,
        heads=2,
        heads_k=2,
        seqlen_q=128,
        seqlen_k=128,
        d=128,
        dv=None,
        left=-1,
        right=-1,
        scale=None,
        layout='bhsd',
        lens_q=None,
        lens_k=None,
        values='normal',
        seed=0,
        splits=None,
        warps_of_row=None,
        page=None,
        lost=False,
        wild=False,
        least=None,
        groups=1,
    )  # splits: the decode kernel with so many; warps_of_row: that join its parts; page: keys a page of K and
    # V, without splits for many rows; least: keys of a part, in place of an even share of the most keys; lost:
    # the table names a page that the cache does not have; wild: the lengths in device memory are below 0 for 0, and far above the most
    # for the most; groups: of warps, for the keys
    unknown = set(changes) - set(p)
    assert not unknown, unknown
    p.update(changes)
    p['dv'] = p['dv'] or p['d']
    return p


PROBLEMS = []


def problem(name, **changes):
    """The next one of the table."""
    PROBLEMS.append(made(name, **{'seed': len(PROBLEMS), **changes}))


for d in (8, 32, 40, 64, 72, 80, 88, 96, 104, 120, 128, 136, 192, 256):
    problem('d%d' % d, d=d, heads=1, heads_k=1)
    problem('d%d causal tails' % d, d=d, heads=1, heads_k=1, seqlen_q=77, seqlen_k=203, right=0)
for d, dv in ((64, 128), (128, 64), (80, 96), (192, 128), (40, 24), (128, 256), (256, 8)):
    problem('d%d dv%d' % (d, dv), d=d, dv=dv, heads=1, heads_k=1, seqlen_k=150)
for d in (64, 80, 96, 128):
    problem('d%d longer' % d, d=d, seqlen_q=384, seqlen_k=640, heads=1, heads_k=1)
    problem('d%d causal square' % d, d=d, seqlen_q=384, seqlen_k=384, heads=1, heads_k=1, right=0)
    problem('d%d window' % d, d=d, seqlen_q=300, seqlen_k=500, left=70, right=9, heads=1, heads_k=1)
for rows, keys in ((1, 1), (1, 64), (1, 65), (2, 63), (31, 33), (129, 127), (128, 1), (200, 5)):
    problem('lengths %dx%d' % (rows, keys), seqlen_q=rows, seqlen_k=keys)
    problem('lengths %dx%d causal' % (rows, keys), seqlen_q=rows, seqlen_k=keys, right=0)
problem('no keys', seqlen_q=5, seqlen_k=0)
problem('rows without keys', seqlen_q=200, seqlen_k=60, right=0)
problem('window of one key', seqlen_q=150, seqlen_k=150, left=0, right=0)
problem('window left only', seqlen_q=260, seqlen_k=260, left=33)
problem('window right only', seqlen_q=260, seqlen_k=260, right=40)
problem('window beside the keys', seqlen_q=150, seqlen_k=150, left=3, right=2)
problem('gqa', heads=6, heads_k=2, seqlen_q=70, seqlen_k=90)
problem('mqa causal', heads=4, heads_k=1, seqlen_q=70, seqlen_k=90, right=0)
problem('batches', batch=3, seqlen_q=40, seqlen_k=100)
problem('layout bshd', batch=2, heads=3, heads_k=3, layout='bshd', seqlen_q=50, seqlen_k=80, d=64)
problem(
    'layout padded', batch=2, heads=4, heads_k=2, layout='padded', seqlen_q=50, seqlen_k=80, d=80, right=0
)
problem(
    'ragged',
    batch=4,
    heads=2,
    heads_k=1,
    layout='bshd',
    lens_q=[3, 0, 130, 64],
    lens_k=[70, 9, 200, 64],
    d=64,
)
problem(
    'ragged causal',
    batch=4,
    heads=2,
    heads_k=2,
    layout='bshd',
    lens_q=[130, 1, 0, 65],
    lens_k=[130, 90, 0, 20],
    right=0,
)
problem('scale negative', scale=-0.07, seqlen_k=100)
problem('scale zero', scale=0.0, seqlen_k=100, right=0)
problem('scale large', scale=2.0, seqlen_k=300, d=64)
for values in ('rising', 'falling', 'equal', 'sink', 'spike', 'large'):
    problem('values ' + values, values=values, seqlen_k=520, heads=1, heads_k=1, d=64)
    problem(
        'values %s causal' % values, values=values, seqlen_q=140, seqlen_k=260, heads=1, heads_k=1, right=0
    )

# Small grids: two groups of warps for the keys.
for d in (40, 64, 72, 128):
    problem('groups d%d' % d, d=d, heads=1, heads_k=1, groups=2)
    problem(
        'groups d%d causal tails' % d, d=d, heads=1, heads_k=1, seqlen_q=77, seqlen_k=203, right=0, groups=2
    )
    problem(
        'groups d%d window' % d,
        d=d,
        heads=4,
        heads_k=2,
        seqlen_q=300,
        seqlen_k=500,
        left=70,
        right=9,
        groups=2,
    )
for d in (64, 128):
    problem('groups d%d longer' % d, d=d, seqlen_q=384, seqlen_k=640, heads=1, heads_k=1, groups=2)
    for rows, keys in ((1, 1), (2, 64), (33, 65), (65, 129), (200, 5), (5, 0)):
        name = 'groups d%d lengths %dx%d' % (d, rows, keys)
        problem(name, d=d, seqlen_q=rows, seqlen_k=keys, right=0, groups=2)
    for values in ('rising', 'falling', 'equal', 'sink', 'spike', 'large'):
        problem(
            'groups d%d values %s' % (d, values),
            d=d,
            values=values,
            seqlen_q=140,
            seqlen_k=520,
            heads=1,
            heads_k=1,
            groups=2,
        )
problem('groups d64 dv128', d=64, dv=128, heads=1, heads_k=1, seqlen_k=150, groups=2)
problem('groups batches', batch=3, seqlen_q=40, seqlen_k=300, layout='padded', d=80, right=0, groups=2)
problem(
    'groups ragged',
    batch=4,
    heads=2,
    heads_k=1,
    layout='bshd',
    lens_q=[3, 0, 130, 64],
    lens_k=[70, 9, 200, 64],
    d=64,
    groups=2,
)
problem('groups scale negative', scale=-0.07, seqlen_k=300, groups=2)
problem('groups scale zero', scale=0.0, seqlen_k=300, right=0, groups=2)

# Pages, and packed rows, both from device memory, of many rows.
for d, page in ((8, 8), (32, 64), (64, 16), (80, 8), (96, 32), (128, 16), (192, 128), (256, 8)):
    problem('paged d%d' % d, d=d, heads=1, heads_k=1, lens_k=[128], page=page)
    problem('paged d%d longer' % d, d=d, heads=1, heads_k=1, seqlen_q=384, lens_k=[640], page=page)
    problem(
        'paged d%d packed causal' % d,
        d=d,
        batch=5,
        layout='bshd',
        lens_q=[77, 1, 3, 0, 130],
        lens_k=[203, 9, 0, 33, 130],
        right=0,
        page=page,
    )
    problem(
        'paged d%d packed window' % d,
        d=d,
        batch=2,
        heads=4,
        layout='bshd',
        lens_q=[300, 150],
        lens_k=[500, 70],
        left=70,
        right=9,
        page=page,
    )
for d in (64, 256):
    changes = dict(d=d, right=0, page=16)
    name = 'paged d%d page that no cache has, seen by some rows' % d
    problem(name, batch=2, seqlen_q=40, lens_k=[30, 300], lost=True, **changes)
    problem('paged d%d wild lengths' % d, batch=3, seqlen_q=9, lens_k=[0, 300, 77], wild=True, **changes)
for values in ('rising', 'falling', 'equal', 'sink', 'spike', 'large'):
    problem('paged values ' + values, values=values, seqlen_q=140, lens_k=[520], page=16)
problem('paged scale negative', scale=-0.07, lens_k=[300], page=32)

# Few rows, many keys: the decode kernel.
for d in (8, 40, 64, 72, 80, 96, 128, 136, 256):
    problem('decode d%d' % d, d=d, heads=2, heads_k=2, seqlen_q=1, seqlen_k=200, splits=1)
    problem(
        'decode d%d gqa split causal' % d,
        d=d,
        heads=8,
        heads_k=2,
        seqlen_q=3,
        seqlen_k=333,
        right=0,
        splits=3,
    )
for d, dv in ((64, 128), (128, 64), (256, 64), (72, 136)):
    problem('decode d%d dv%d' % (d, dv), d=d, dv=dv, heads=4, heads_k=1, seqlen_q=2, seqlen_k=100, splits=2)
for page in (8, 16, 128, 512):
    problem(
        'decode pages of %d' % page,
        heads=8,
        heads_k=2,
        seqlen_q=1,
        batch=3,
        lens_k=[520, 3, 131],
        page=page,
        splits=2,
    )
    problem(
        'decode pages of %d causal' % page,
        heads=4,
        heads_k=2,
        seqlen_q=5,
        batch=2,
        lens_k=[300, 77],
        right=0,
        page=page,
        splits=4,
        d=64,
    )
problem(
    'decode page that no cache has',
    heads=2,
    heads_k=1,
    seqlen_q=1,
    lens_k=[100],
    page=16,
    splits=2,
    lost=True,
)
problem(
    'decode even parts',
    batch=4,
    heads=4,
    heads_k=2,
    seqlen_q=3,
    lens_k=[700, 100, 0, 20],
    right=0,
    page=16,
    splits=5,
    least=64,
)
for splits in (1, 3):
    problem(
        'decode page that no cache has, seen by some rows, %d' % splits,
        batch=2,
        heads=2,
        heads_k=1,
        seqlen_q=8,
        lens_k=[20, 300],
        right=0,
        page=16,
        splits=splits,
        lost=True,
    )
    problem(
        'decode wild lengths, %d' % splits,
        batch=3,
        heads=4,
        heads_k=2,
        seqlen_q=3,
        lens_k=[0, 300, 77],
        right=0,
        page=16,
        splits=splits,
        wild=True,
    )
    name = 'decode NaN, %d' % splits
    problem(name, values='nan', heads=2, heads_k=1, seqlen_q=3, seqlen_k=600, splits=splits)
for rows, keys in ((1, 1), (1, 7), (1, 8), (1, 9), (16, 5), (16, 31), (4, 33), (1, 0), (7, 64)):
    problem('decode lengths %dx%d' % (rows, keys), seqlen_q=rows, seqlen_k=keys, right=0, splits=2, d=64)
problem('decode mha 16 rows', seqlen_q=16, seqlen_k=150, right=0, splits=2)
problem('decode mqa 32 heads', heads=32, heads_k=1, seqlen_q=1, seqlen_k=300, splits=3)
problem('decode group of 5', heads=10, heads_k=2, seqlen_q=3, seqlen_k=130, right=0, splits=2)
problem('decode window', heads=4, heads_k=1, seqlen_q=4, seqlen_k=400, left=70, right=0, splits=3)
problem(
    'decode window beside the keys', heads=2, heads_k=1, seqlen_q=16, seqlen_k=4, left=3, right=0, splits=2
)
problem('decode more splits than keys', heads=2, heads_k=1, seqlen_q=1, seqlen_k=20, splits=40)
problem(
    'decode batches', batch=4, heads=4, heads_k=2, seqlen_q=2, seqlen_k=90, right=0, splits=2, layout='bshd'
)
problem(
    'decode padded', batch=2, heads=4, heads_k=2, seqlen_q=2, seqlen_k=90, splits=2, layout='padded', d=80
)
problem(
    'decode ragged',
    batch=4,
    heads=4,
    heads_k=2,
    layout='bshd',
    lens_q=[1, 0, 4, 2],
    lens_k=[70, 9, 200, 0],
    right=0,
    splits=2,
)
problem(
    'decode packed pages',
    batch=4,
    heads=4,
    heads_k=2,
    layout='bshd',
    lens_q=[1, 0, 4, 2],
    lens_k=[70, 9, 200, 0],
    right=0,
    page=16,
    splits=2,
)
problem('decode scale negative', seqlen_q=1, scale=-0.07, seqlen_k=100, splits=2)
problem('decode scale zero', seqlen_q=2, scale=0.0, seqlen_k=100, splits=1)
problem('decode scale large', seqlen_q=2, scale=2.0, seqlen_k=300, d=64, splits=2)
for values in ('rising', 'falling', 'equal', 'sink', 'spike', 'large'):
    problem(
        'decode values %s' % values, values=values, heads=4, heads_k=4, seqlen_q=2, seqlen_k=700, splits=3
    )
# The first keys that a window leaves are not those of the first split.
problem(
    'decode window of some splits',
    heads=4,
    heads_k=1,
    seqlen_q=4,
    seqlen_k=900,
    d=64,
    left=500,
    right=0,
    splits=5,
)


# ------------------------------------------------------------------ data and reference
def tensors(p):
    """q k v as [batch][head][row][dim] of half; ragged ones are padded with zeros."""
    rng = np.random.default_rng(p['seed'])
    b, s, n = p['batch'], max(p['lens_q'] or [p['seqlen_q']]), max(p['lens_k'] or [p['seqlen_k']])
    q, k, v = (
        rng.standard_normal(shape)
        for shape in ((b, p['heads'], s, p['d']), (b, p['heads_k'], n, p['d']), (b, p['heads_k'], n, p['dv']))
    )
    step = np.arange(n)[:, None]
    if p['values'] in ('rising', 'falling'):  # the running maximum moves in every tile, or never again
        q, k = np.abs(q), np.abs(k) * (step if p['values'] == 'rising' else n - step) / n * 4
    elif p['values'] == 'equal':
        q, k = np.ones_like(q), np.ones_like(k)
    elif p['values'] == 'sink':
        k[:, :, 0] = 3 * q[:, : p['heads_k'], 0]
    elif p['values'] == 'spike':  # one late key far above everything: exp of the old offset overflows
        k[:, :, n - 3] = 40 * q[:, : p['heads_k'], -1]
    elif p['values'] == 'large':
        q, k, v = q * 12, k * 12, v * 100
    elif p['values'] == 'nan':
        q[:, :, 0] = np.nan
    if p['lost']:  # rows that see it are NaN, the others do not change
        k[0, :, p['page'] : 2 * p['page']], v[0, :, p['page'] : 2 * p['page']] = np.nan, 0
    return [x.astype(np.float16) for x in (q, k, v)]


def attention(p, q, k, v, rows, keys, rounded):
    """o and lse of one head, in float64; `rounded`: scores, p and o through half, as plain code has them."""
    q, k, v = (x.astype(np.float64) for x in (q[:rows], k[:keys], v[:keys]))
    scale = p['scale'] if p['scale'] is not None else 1 / math.sqrt(p['d'])
    scores = q @ k.T * scale
    if rounded:
        scores = scores.astype(np.float16).astype(np.float64)
    at = np.arange(keys)[None] - np.arange(rows)[:, None] - (keys - rows)
    seen = np.ones_like(scores, bool)
    if p['right'] >= 0:
        seen &= at <= p['right']
    if p['left'] >= 0:
        seen &= at >= -p['left']
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(1, initial=-np.inf, keepdims=True)
    weight = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weight.sum(1, keepdims=True)
    with np.errstate(divide='ignore', invalid='ignore'):
        lse = (top + np.log(total))[:, 0]
        if rounded:
            o = np.where(total > 0, (weight / total).astype(np.float16).astype(np.float64) @ v, 0).astype(
                np.float16
            )
        else:
            o = np.where(total > 0, weight / total @ v, 0)
    return o.astype(np.float64), lse


def score_errors(p, q, k):
    """What rounding in sums of f32 may add to the scores of each row of a head."""
    norm_q, norm_k = (np.sqrt((x.astype(np.float64) ** 2).sum(1)) for x in (q, k))
    scale = p['scale'] if p['scale'] is not None else 1 / math.sqrt(p['d'])
    relative = LAMBDA * math.sqrt(p['d']) * UNIT_F32
    return relative * abs(scale) * norm_q * np.fmax.reduce(norm_k, initial=0.0)


def place(x, layout, lens):
    """Half array in device order, and byte strides (batch, head, row)."""
    b, h, s, d = x.shape
    if lens:
        flat = np.concatenate([x[n, :, : lens[n]].transpose(1, 0, 2) for n in range(b)])
        return np.ascontiguousarray(flat), (0, d * 2, h * d * 2)
    if layout == 'bhsd':
        return np.ascontiguousarray(x), (h * s * d * 2, s * d * 2, d * 2)
    pad = 16 if layout == 'padded' else 0  # 16 elements of NaN after every row and head
    out = np.full((b, s, h, d + pad), np.nan, np.float16)
    out[..., :d] = x.transpose(0, 2, 1, 3)
    return out, (s * h * (d + pad) * 2, (d + pad) * 2, h * (d + pad) * 2)


def kernel_of(kind, wide, packed=0):
    """The kernel for head dims of at most so many: of its kind the least, and of those for few rows the first
    that takes all packed rows in one block, or the last."""
    of_kind = [row for row in TABLE if row['kind'] == kind]
    least = min(row['head_dim'] for row in of_kind if wide <= row['head_dim'])
    fitting = [row for row in of_kind if row['head_dim'] == least]
    return next((row for row in fitting if packed <= row['rows']), fitting[-1])


class Launch:
    """Buffers, parameters and grids of a problem; `put` makes a device buffer and returns its address."""

    def __init__(self, p, put):
        q, k, v = self.inputs = tensors(p)
        self.p, self.put = p, put
        s = q.shape[2]
        template = np.zeros((p['batch'], p['heads'], s, p['dv']), np.float16)
        o, o_stride = place(template, p['layout'], p['lens_q'])
        self.o_shape, self.total_q = o.shape, sum(p['lens_q']) if p['lens_q'] else s
        self.lse_shape = (p['heads'], self.total_q) if p['lens_q'] else (p['batch'], p['heads'], s)
        guarded = np.full(o.size + 2 * GUARD, 0x7E77, np.uint16)
        guarded_lse = np.full(int(np.prod(self.lse_shape)) + 2 * GUARD, 0x7FC0BEEF, np.uint32)
        ragged_k = p['lens_k'] if not p['page'] else None
        placed = [place(q, p['layout'], p['lens_q'])]
        placed += [pages(x, p) if p['page'] else place(x, p['layout'], ragged_k) for x in (k, v)]
        at = [put(x) for x, _ in placed]
        self.o_at, self.lse_at = put(guarded), put(guarded_lse)
        cu = [
            put(np.concatenate([[0], np.cumsum(lens)]).astype(np.int32)) if lens else 0
            for lens in (p['lens_q'], ragged_k)
        ]
        scale = p['scale'] if p['scale'] is not None else 1 / math.sqrt(p['d'])
        strides = [st for _, st in placed] + [o_stride]
        lse_stride = (0, self.total_q) if p['lens_q'] else (p['heads'] * s, s)
        tensors_at = [('Q', x) for x in at] + [('Q', self.o_at + GUARD * 2), ('Q', self.lse_at + GUARD * 4)]
        scale_field = [('f', (abs(scale) or 1.0) * math.log2(math.e))]
        lengths = [('i', q.shape[2]), ('i', k.shape[2])]
        heads = [('i', x) for x in (p['heads_k'], p['d'], p['dv'], p['left'], p['right'])]
        tail = (
            [('I', st[2]) for st in strides]
            + [('q', st[0]) for st in strides]
            + [('q', st[1]) for st in strides]
        )
        tail += [('q', x) for x in lse_stride]
        tail += [('I', 0 if scale == 0 else 0xFFFFFFFF), ('I', 0x80008000 if scale < 0 else 0)]
        if p['splits']:
            self.runs = self.decode(tensors_at, cu, scale_field, lengths, heads, tail)
        else:
            kind = 'paged' if p['page'] else 'grouped' if p['groups'] == 2 else 'forward'
            row = kernel_of(kind, max(p['d'], p['dv']))
            fields = tensors_at + [('Q', x) for x in cu] + scale_field + lengths + heads + tail + [('I', 0)]
            if p['page']:  # slots of no rows are left out
                fields = fields + self.paged() + [('i', 0)]
            column_blocks = row['head_dim'] // row['columns']
            grid = (p['heads'], max(1, -(-s // row['rows'])), p['batch'] * column_blocks)
            self.runs = [(row['kernel'], grid, row['shared_bytes'], fields)]

    def paged(self):
        """Lengths and block table; entries of a row of it, pages, powers of two in a page."""
        p, table = self.p, self.table()
        lists = [np.array(self.lengths_told(), np.int32), table]
        sizes = (table.shape[1], page_count(p), p['page'].bit_length() - 1)
        return [('Q', self.put(x)) for x in lists] + [('i', x) for x in sizes]

    def decode(self, tensors_at, cu, scale_field, lengths, heads, tail):
        """The runs of a decode step: (kernel, grid, shared bytes, fields)."""
        p, put = self.p, self.put
        group, queries = p['heads'] // p['heads_k'], max(p['lens_q'] or [p['seqlen_q']])
        row = kernel_of('decode', max(p['d'], p['dv']), group * queries)
        keys = max(p['lens_k'] or [p['seqlen_k']])
        per_split = p['least'] or -(-max(1, -(-keys // p['splits'])) // 8) * 8
        parts = p['batch'] * p['heads'] * queries * p['splits']
        partial = [
            put(np.full(max(1, parts * n), 0x7FC0DEAD, np.uint32)) if p['splits'] > 1 else 0
            for n in (p['dv'], 1)
        ]
        paged = self.paged() if p['page'] else [('Q', 0), ('Q', 0), ('i', 0), ('i', 0), ('i', 31)]
        fields = tensors_at + [('Q', x) for x in partial + cu] + paged[:2] + scale_field + lengths
        fields += [('i', p['heads'])] + heads + paged[2:] + [('i', per_split)] + tail + [('i', queries)]
        blocks = -(-group * queries // row['rows'])
        grid = (p['heads_k'] * blocks, p['splits'], p['batch'])
        runs = [(row['kernel'], grid, row['shared_bytes'], fields)]
        if p['splits'] > 1:
            name = 'flash_decode_combine_packed' if cu[0] else 'flash_decode_combine'
            combine = next(row for row in TABLE if row['kernel'] == name)
            # Plans have one warp where parts are few (src/cuda/choice.rs); the table tries both.
            warps_of_row = p['warps_of_row'] or (4 if p['splits'] % 2 else 1)
            heads_of_block = 4 // warps_of_row
            grid = (-(-p['heads'] // heads_of_block), queries * -(-p['dv'] // combine['columns']), p['batch'])
            more = [('i', p['splits']), ('i', row['rows']), ('i', warps_of_row)]
            runs.append((name, grid, combine['shared_bytes'], fields + more))
        return runs

    def lengths_told(self):
        told = {0: -5, max(self.p['lens_k']): 2**31 - 1} if self.p['wild'] else {}
        return [told.get(n, n) for n in self.p['lens_k']]

    def table(self):
        """Pages of each sequence, shuffled; entries behind its end are -1 or a page that no cache has."""
        p = self.p
        need = [-(-n // p['page']) for n in p['lens_k']]
        table = np.full((p['batch'], max(need) + 2), -1, np.int32)
        table[:, -1] = 0x7FFFFFFF
        ids = np.random.default_rng(7).permutation(page_count(p))
        for b, n in enumerate(need):
            table[b, :n], ids = ids[:n], ids[n:]
        if p['lost']:
            table[0, 1] = page_count(p)
        return table


def page_count(p):
    return sum(-(-n // p['page']) for n in p['lens_k']) + 3


def pages(x, p):
    """[page][row][head][dim] of half, NaN where no key lies, and byte strides (page, head, row)."""
    b, h, _, d = x.shape
    out = np.full((page_count(p), p['page'], h, d), np.nan, np.float16)
    ids = np.random.default_rng(7).permutation(page_count(p))
    for n in range(b):
        for first in range(0, p['lens_k'][n], p['page']):
            rows = min(p['page'], p['lens_k'][n] - first)
            out[ids[0], :rows] = x[n, :, first : first + rows].transpose(1, 0, 2)
            ids = ids[1:]
    return out, (p['page'] * h * d * 2, d * 2, h * d * 2)


def packed(fields):
    out = bytearray()
    for code, value in fields:
        size = struct.calcsize(code)
        out += bytes(-len(out) % size) + struct.pack('<' + code, value)
    return bytes(out)


def compare(launch, o_words, lse_words):
    """(passes, text) from the guarded outputs of a launch as read back."""
    p, (q, k, v) = launch.p, launch.inputs
    written = [
        w
        for w, pattern in ((o_words, 0x7E77), (lse_words, 0x7FC0BEEF))
        if (w[:GUARD] != pattern).any() or (w[-GUARD:] != pattern).any()
    ]
    if written:
        return False, 'wrote outside o or lse'
    o = o_words[GUARD:-GUARD].view(np.float16).reshape(launch.o_shape).astype(np.float64)
    lse = lse_words[GUARD:-GUARD].view(np.float32).reshape(launch.lse_shape).astype(np.float64)
    worst, plain_worst, worst_lse, lse_is_good, first = 0.0, 0.0, 0.0, True, 0
    for b in range(p['batch']):
        rows = p['lens_q'][b] if p['lens_q'] else p['seqlen_q']
        keys = p['lens_k'][b] if p['lens_k'] else p['seqlen_k']
        for h in range(p['heads']):
            hk = h // (p['heads'] // p['heads_k'])
            want, want_lse = attention(p, q[b, h], k[b, hk], v[b, hk], rows, keys, False)
            plain, _ = attention(p, q[b, h], k[b, hk], v[b, hk], rows, keys, True)
            if p['lens_q']:
                got, got_lse = o[first : first + rows, h], lse[h, first : first + rows]
            elif p['layout'] == 'bhsd':
                got, got_lse = o[b, h], lse[b, h]
            else:
                got, got_lse = o[b, :, h, : p['dv']], lse[b, h]
                if p['layout'] == 'padded' and not np.isnan(o[b, :, h, p['dv'] :]).all():
                    return False, 'wrote between the rows of o'
            if rows == 0:
                continue
            nan, empty = np.isnan(want_lse), np.isneginf(want_lse)
            if (np.isnan(got) != nan[:, None]).any() or (np.isnan(got_lse) != nan).any():
                return False, 'rows that are NaN, or are not, are wrong'
            if np.isinf(got).any():
                return False, 'o holds %d infinite values' % np.isinf(got).sum()
            if (np.isneginf(got_lse) != empty).any() or (got[empty] != 0).any():
                return False, 'rows without keys are wrong'
            numbers = ~nan
            worst = max(worst, np.abs(got[numbers] - want[numbers]).max(initial=0))
            plain_worst = max(plain_worst, np.abs(plain[numbers] - want[numbers]).max(initial=0))
            numbers &= ~empty
            of_lse = np.abs(got_lse[numbers] - want_lse[numbers])
            worst_lse = max(worst_lse, of_lse.max(initial=0))
            allowed = LSE_RELATIVE * np.maximum(np.abs(want_lse), 1)
            allowed += score_errors(p, q[b, h, :rows], k[b, hk, :keys]) + APPROXIMATIONS
            lse_is_good &= bool((of_lse <= allowed[numbers]).all())
        first += rows
    good = worst <= FACTOR * plain_worst and lse_is_good
    return good, 'error %.1e (plain %.1e), lse %.1e' % (worst, plain_worst, worst_lse)


# ------------------------------------------------------------------ where to run
class Model:
    """Interpreter of sm_70 machine code."""

    def __init__(self, folder):
        sys.path.insert(0, folder)
        import sass70
        import tempfile
        import volta_model

        self.sass70, self.tools, self.folder, self.kernels = sass70, volta_model, tempfile.mkdtemp(), {}

    def run(self, p):
        memory = self.tools.Memory()

        def put(array):
            name = 'p%d' % len(memory.arrays)
            memory.add(name, array)
            return self.tools.BASE + memory.offsets[name]

        launch = Launch(p, put)
        memory.build()
        counts = dict(lds=0, sts=0, hmma=0)
        for n, run in enumerate(launch.runs):  # what joins parts is not counted
            self.run_kernel(memory, counts if n == 0 else dict(counts), *run)
        names = {self.tools.BASE + offset: name for name, offset in memory.offsets.items()}
        good, text = compare(launch, memory.read(names[launch.o_at]), memory.read(names[launch.lse_at]))
        return good, text + ', shared wavefronts: %(lds)d loads %(sts)d stores, %(hmma)d mma' % counts

    def run_kernel(self, memory, counts, name, grid, shared, fields):
        if name not in self.kernels:
            cubin, _ = self.tools.to_cubin(os.path.join(HERE, 'ptx', name + '.ptx'), self.folder, [])
            self.kernels[name] = self.sass70.Kernel(cubin, None)
        kernel, params = self.kernels[name], packed(fields)
        for z in range(grid[2]):
            for y in range(grid[1]):
                for x in range(grid[0]):
                    block = self.sass70.Block(
                        kernel,
                        memory.words,
                        self.tools.BASE,
                        params,
                        (x, y, z),
                        (THREADS, 1, 1),
                        grid,
                        shared,
                    )
                    block.smem[:] = 0x7FFF7FFF  # NaN: what is not written shows
                    block.run()
                    for warp in block.warps:
                        for number, wavefronts in warp.trace:
                            kind = kernel.code[number].kind
                            if kind in counts:
                                counts[kind] += 0.25 if kind == 'hmma' else wavefronts


class Device:
    """A GPU, through the driver alone."""

    def __init__(self):
        self.cu, self.kernels = ctypes.CDLL('libcuda.so.1'), {}
        device, context, name = ctypes.c_int(), ctypes.c_void_p(), ctypes.create_string_buffer(100)
        self.call('cuInit', 0)
        self.call('cuDeviceGet', ctypes.byref(device), 0)
        self.call('cuDeviceGetName', name, 100, device)
        self.call('cuDevicePrimaryCtxRetain', ctypes.byref(context), device)
        self.call('cuCtxSetCurrent', context)
        self.name = name.value.decode()
        print('device: ' + self.name)

    def call(self, name, *args):
        code = getattr(self.cu, name)(*args)
        if code:
            text = ctypes.c_char_p()
            self.cu.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError('%s: %d %s' % (name, code, (text.value or b'').decode()))

    def kernel(self, name, shared):
        if name not in self.kernels:
            with open(os.path.join(HERE, 'ptx', name + '.ptx'), 'rb') as handle:
                text = handle.read() + b'\0'
            module, function = ctypes.c_void_p(), ctypes.c_void_p()
            self.call('cuModuleLoadData', ctypes.byref(module), text)
            self.call('cuModuleGetFunction', ctypes.byref(function), module, name.encode())
            self.call('cuFuncSetAttribute', function, 8, shared)  # largest dynamic shared memory
            self.kernels[name] = function
        return self.kernels[name]

    def prepared(self, p):
        """A problem on the GPU: its Launch, and functions that launch, that read o and lse, that free."""
        held = {}

        def put(array):
            at = ctypes.c_uint64()
            self.call('cuMemAlloc_v2', ctypes.byref(at), ctypes.c_size_t(max(array.nbytes, 4)))
            if array.nbytes:
                self.call(
                    'cuMemcpyHtoD_v2',
                    at,
                    array.ctypes.data_as(ctypes.c_void_p),
                    ctypes.c_size_t(array.nbytes),
                )
            held[at.value] = array
            return at.value

        launch = Launch(p, put)
        kinds = {
            'Q': ctypes.c_uint64,
            'q': ctypes.c_int64,
            'I': ctypes.c_uint32,
            'i': ctypes.c_int32,
            'f': ctypes.c_float,
        }
        runs = []
        for name, grid, shared, fields in launch.runs:
            values = [kinds[code](value) for code, value in fields]
            params = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
            runs.append((self.kernel(name, shared), grid, shared, params, values))

        def go():
            for function, grid, shared, params, _ in runs:
                self.call('cuLaunchKernel', function, *grid, THREADS, 1, 1, shared, None, params, None)

        def read():
            self.call('cuCtxSynchronize')
            out = [np.empty_like(held[at]) for at in (launch.o_at, launch.lse_at)]
            for host, at in zip(out, (launch.o_at, launch.lse_at)):
                to, size = host.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(host.nbytes)
                self.call('cuMemcpyDtoH_v2', to, ctypes.c_uint64(at), size)
            return out

        def free():
            for at in held:
                self.call('cuMemFree_v2', ctypes.c_uint64(at))

        return launch, go, read, free

    def run(self, p):
        launch, go, read, free = self.prepared(p)
        go()
        out = read()
        free()
        return compare(launch, *out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', action='store_true')
    parser.add_argument('--model', metavar='FOLDER')
    parser.add_argument('--only', default='')
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    chosen = [p for p in PROBLEMS if args.only in p['name']]
    if args.list:
        return print('\n'.join(p['name'] for p in chosen))
    if args.device == bool(args.model):
        parser.error('--device or --model FOLDER is needed')
    machine, failed = Device() if args.device else Model(args.model), 0
    for p in chosen:
        started = time.time()
        try:
            good, text = machine.run(p)
        except Exception as why:  # a fault ends this problem, not the table
            good, text = False, '%s: %s' % (type(why).__name__, why)
        failed += not good
        print(
            '%-4s %-30s %s  (%.2f s)' % ('ok' if good else 'FAIL', p['name'], text, time.time() - started),
            flush=True,
        )
    print('%d of %d problems failed' % (failed, len(chosen)))
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
