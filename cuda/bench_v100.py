#!/usr/bin/env python3
"""Measures the Volta kernels on a V100, next to PyTorch and xformers, and writes a CSV file to send back.

  python3 cuda/bench_v100.py              # all, some minutes: writes bench_v100.csv
  python3 cuda/bench_v100.py --quick      # a few problems
  python3 cuda/bench_v100.py --self-test  # no GPU: the script itself, with a made-up clock and made-up kernels

Needs numpy and the NVIDIA driver. What of PyTorch and xformers is installed is measured, too. Nobody has
measured these kernels on a V100 yet, so every file is welcome: open an issue of the repository and attach it.

Every answer is compared with float64 on some rows before its time counts: the largest error is at most twice
that of the same formula with scores and p rounded to half. Exit code 1 if an answer is wrong, 2 if there is no
GPU.

On a newer GPU than Volta and Turing the tensor instruction is emulated. The script says so, and its times mean
nothing.
"""

import argparse
import csv
import ctypes
import math
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402  (the table of kernels, and how a launch is packed)

COLUMNS = [
    'device', 'capability', 'driver', 'what', 'batch', 'heads', 'heads_k', 'head_dim', 'rows', 'keys', 'mask',
    'splits', 'us_median', 'us_least', 'tflops', 'gb_per_s', 'error', 'plain_error', 'right',
]  # fmt: skip
ROWS_CHECKED = 12
SAMPLES = 15
MIN_SAMPLE_S = 5e-3
# As in `src/cuda/choice.rs`.
MIN_KEYS_OF_SPLIT = 256
MAX_WAVES_OF_SPLITS = 16
PARTS_OF_WARP = 16
WAVE_BYTES, JOIN_BYTES, JOIN_BYTES_OF_PART, JOIN_BYTES_OF_BLOCK = 24 << 10, 16 << 10, 256, 67


def case(head_dim, keys, causal=False, rows=None, batch=1, heads=32, heads_k=32):
    return dict(
        head_dim=head_dim,
        keys=keys,
        rows=rows or keys,
        causal=causal,
        batch=batch,
        heads=heads,
        heads_k=heads_k,
        decode=rows is not None,
    )


def cases(quick):
    """Those of the tables of docs/volta.md."""
    many = [
        case(d, s, causal)
        for d in ((64, 128) if quick else (64, 80, 96, 128))
        for s in ((512, 2048) if quick else (512, 1024, 2048, 4096, 8192))
        for causal in (False, True)
    ]
    few = [
        case(128, 32768, rows=1, heads_k=8),
        case(128, 8192, rows=1, batch=8, heads_k=8),
        case(64, 32768, rows=1),
        case(128, 65536, rows=1, heads_k=2),
    ]
    return many + (few[:2] if quick else few)


# ------------------------------------------------------------------ answers
def row_of(q, k, v, keys, rounded):
    """One row of o in float64; `rounded`: scores and p through half, as plain code has them."""
    q, k, v = q.astype(np.float64), k[:keys].astype(np.float64), v[:keys].astype(np.float64)
    scores = k @ q / math.sqrt(len(q))
    if rounded:
        scores = scores.astype(np.float16).astype(np.float64)
    p = np.exp(scores - scores.max())
    p /= p.sum()
    if rounded:
        p = p.astype(np.float16).astype(np.float64)
    o = p @ v
    return o.astype(np.float16).astype(np.float64) if rounded else o


def errors(c, q, k, v, o):
    """Largest error of o, and of the plain formula, on rows chosen by chance; all [batch][head][row][dim]."""
    rng, worst, plain = np.random.default_rng(5), 0.0, 0.0
    for n in range(ROWS_CHECKED):
        b, h = rng.integers(c['batch']), rng.integers(c['heads'])
        row = (0, c['rows'] - 1)[n] if n < 2 else rng.integers(c['rows'])
        hk = h // (c['heads'] // c['heads_k'])
        keys = c['keys'] - c['rows'] + row + 1 if c['causal'] else c['keys']
        args = q[b, h, row], k[b, hk], v[b, hk], keys
        want = row_of(*args, False)
        difference = np.abs(o[b, h, row].astype(np.float64) - want)
        worst = max(worst, difference.max() if np.isfinite(difference).all() else math.inf)
        plain = max(plain, np.abs(row_of(*args, True) - want).max())
    return worst, plain


# ------------------------------------------------------------------ time
def measure(machine, launch):
    """Median and least of some samples, in microseconds; each is long enough for the clock."""
    for _ in range(3):
        launch()
    repeats = max(1, math.ceil(MIN_SAMPLE_S / max(machine.seconds(launch, 1), 1e-7)))
    samples = [machine.seconds(launch, repeats) / repeats * 1e6 for _ in range(SAMPLES)]
    return statistics.median(samples), min(samples)


class Gpu(check.Device):
    """A GPU through the driver: launches, and time by its events, on the default stream as PyTorch's are."""

    def __init__(self):
        super().__init__()
        major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self.call('cuDeviceGetAttribute', ctypes.byref(major), 75, 0)
        self.call('cuDeviceGetAttribute', ctypes.byref(minor), 76, 0)
        processors = ctypes.c_int()
        self.call('cuDeviceGetAttribute', ctypes.byref(processors), 16, 0)
        self.call('cuDriverGetVersion', ctypes.byref(version))
        self.facts = dict(
            device=self.name,
            capability='%d.%d' % (major.value, minor.value),
            driver=driver_version() or 'CUDA %d' % version.value,
        )
        self.processors = processors.value
        self.events = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in self.events:
            self.call('cuEventCreate', ctypes.byref(event), 0)

    def seconds(self, launch, repeats):
        self.call('cuEventRecord', self.events[0], None)
        for _ in range(repeats):
            launch()
        self.call('cuEventRecord', self.events[1], None)
        self.call('cuEventSynchronize', self.events[1])
        milliseconds = ctypes.c_float()
        self.call('cuEventElapsedTime', ctypes.byref(milliseconds), *self.events)
        return milliseconds.value / 1e3

    def placed(self, problem):
        """Puts a problem on the GPU: its inputs, a function that launches, and one that reads o and frees."""
        launch, go, read, free = self.prepared(problem)

        def finish():
            o, _ = read()
            free()
            return o[check.GUARD : -check.GUARD].view(np.float16).reshape(launch.o_shape)

        return launch.inputs, go, finish


def driver_version():
    try:
        query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split('\n')[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# ------------------------------------------------------------------ what is measured
def warps_of_row(splits):
    """Warps that join a row's parts, as in `src/cuda/choice.rs`."""
    return 4 if splits > PARTS_OF_WARP else 1


def splits_of(c, processors):
    """As `src/cuda/choice.rs` splits the keys of a decode."""
    packed = c['rows'] * (c['heads'] // c['heads_k'])
    kernel = check.kernel_of('decode', c['head_dim'], packed)
    rows, of_processor, for_memory = (kernel[key] for key in ('rows', 'blocks', 'blocks_for_memory'))
    places = processors * of_processor
    blocks = c['batch'] * c['heads_k'] * -(-packed // rows)

    def cost(splits):
        per_split = -(-c['keys'] // (8 * splits)) * 8
        waves = -(-blocks * splits // places)
        of_one = waves * of_processor if waves > 1 else -(-blocks * splits // processors)
        columns = max(of_one * c['head_dim'], for_memory * kernel['head_dim'])
        read = 4 * columns * per_split + waves * WAVE_BYTES
        if splits == 1:
            return read
        parts = of_one * rows * c['head_dim'] * 8 + splits * JOIN_BYTES_OF_PART
        joining = c['batch'] * c['heads'] * c['rows'] * -(-c['head_dim'] // 64) * warps_of_row(splits) // 4
        return read + parts + JOIN_BYTES + joining * JOIN_BYTES_OF_BLOCK

    most = min(MAX_WAVES_OF_SPLITS * places // blocks, -(-c['keys'] // MIN_KEYS_OF_SPLIT))
    return min(range(1, max(1, most) + 1), key=cost)


def problems(c, processors):
    """(name, problem of check.py) of every kernel that serves a case."""
    changes = dict(
        batch=c['batch'],
        heads=c['heads'],
        heads_k=c['heads_k'],
        seqlen_q=c['rows'],
        seqlen_k=c['keys'],
        d=c['head_dim'],
        right=0 if c['causal'] else -1,
        seed=1,
    )
    if c['decode']:
        splits = splits_of(c, processors)
        variants = [dict(splits=splits, warps_of_row=warps_of_row(splits))]
    else:
        # The second kind exists for these head dims: which is the faster one is a question to the clock.
        variants = [dict(), dict(groups=2)] if c['head_dim'] in (64, 128) else [dict()]
    for variant in variants:
        problem = check.made('bench', **changes, **variant)
        yield 'here, two groups' if variant.get('groups') else 'here', problem


def repeated(q, k, v):
    """k and v with as many heads as q has."""
    group = q.shape[1] // k.shape[1]
    return [x.repeat_interleave(group, 1) if group > 1 else x for x in (k, v)]


def rivals():
    """(name, function of torch tensors [batch][head][row][dim] and causal) of what is installed."""
    found = []
    try:
        import torch
        import torch.nn.functional as F
    except ImportError:
        return None, found

    def scaled(q, k, v, causal):
        k, v = repeated(q, k, v)
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    found.append(('torch %s' % torch.__version__, scaled))
    try:
        import xformers
        import xformers.ops as ops
    except ImportError:
        return torch, found

    def efficient(q, k, v, causal):
        q, k, v = (x.transpose(1, 2).contiguous() for x in (q, *repeated(q, k, v)))
        bias = ops.LowerTriangularMask() if causal else None
        return lambda: ops.memory_efficient_attention(q, k, v, attn_bias=bias).transpose(1, 2)

    found.append(('xformers %s' % xformers.__version__, efficient))
    return torch, found


def line(machine, c, what, splits, time_us, worst, plain):
    median, least = time_us
    seen = c['keys'] if not c['causal'] else c['keys'] - c['rows'] + (c['rows'] + 1) / 2
    operations = 4 * c['batch'] * c['heads'] * c['rows'] * seen * c['head_dim']
    moved = 4 * c['batch'] * c['heads_k'] * c['keys'] * c['head_dim']
    right = worst <= 2 * plain + 1e-6
    return dict(
        machine.facts,
        what=what,
        batch=c['batch'],
        heads=c['heads'],
        heads_k=c['heads_k'],
        head_dim=c['head_dim'],
        rows=c['rows'],
        keys=c['keys'],
        mask='causal' if c['causal'] else 'none',
        splits=splits,
        us_median='%.2f' % median,
        us_least='%.2f' % least,
        tflops='%.2f' % (operations / median / 1e6),
        gb_per_s='%.1f' % (moved / median / 1e3),
        error='%.2e' % worst,
        plain_error='%.2e' % plain,
        right=int(right),
    )


def measured(machine, c, torch, others):
    """Lines of one case: the kernels here, then what else is installed."""
    inputs = None
    for what, problem in problems(c, machine.processors):
        inputs, go, finish = machine.placed(problem)
        time_us = measure(machine, go)
        yield line(machine, c, what, problem['splits'] or 1, time_us, *errors(c, *inputs, finish()))
    for what, make in others:
        try:
            go = make(*[torch.from_numpy(x).cuda() for x in inputs], c['causal'])
            time_us = measure(machine, go)
            o = go().cpu().numpy()
        except Exception as why:  # out of memory, or no kernel for this GPU: the others count
            print('  %s: %s' % (what, str(why).split('\n')[0]), file=sys.stderr)
            continue
        yield line(machine, c, what, '', time_us, *errors(c, *inputs, o))


def run(machine, todo, path, torch=None, others=()):
    """Measures and writes; the number of wrong answers."""
    wrong = 0
    with open(path, 'w', newline='') as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for c in todo:
            for found in measured(machine, c, torch, others):
                wrong += not found['right']
                writer.writerow(found)
                handle.flush()
                text = '%(head_dim)4s %(rows)6s x %(keys)-6s %(mask)-7s %(what)-24s %(us_median)10s us'
                print((text + '  %(tflops)7s TFLOPS  %(gb_per_s)7s GB/s') % found, end='')
                print('' if found['right'] else '  WRONG: error %(error)s, plain %(plain_error)s' % found)
    return wrong


# ------------------------------------------------------------------ without a GPU
class Pretended:
    """A machine that computes in numpy, and whose clock is a constant a launch."""

    facts, processors = dict(device='none', capability='0.0', driver='none'), 80

    def __init__(self, fault=0.0):
        self.fault, self.launched = fault, 0

    def seconds(self, launch, repeats):
        for _ in range(repeats):
            launch()
        return 1e-3 * repeats

    def placed(self, problem):
        launch = check.Launch(problem, lambda array: 4096)
        assert all(os.path.exists(os.path.join(HERE, 'ptx', name + '.ptx')) for name, *_ in launch.runs)
        q, k, v = launch.inputs
        group = problem['heads'] // problem['heads_k']

        def go():
            self.launched += 1

        def finish():
            o = np.zeros((*q.shape[:3], v.shape[3]), np.float16)
            for b, h in np.ndindex(*q.shape[:2]):
                o[b, h], _ = check.attention(
                    problem, q[b, h], k[b, h // group], v[b, h // group], q.shape[2], k.shape[2], False
                )
            return o + np.float16(self.fault)

        return launch.inputs, go, finish


def self_test():
    """All but the driver: right answers pass, wrong ones do not, and the file says what was measured."""
    todo = [case(64, 40, True, heads=2, heads_k=2), case(80, 33, heads=2, heads_k=2)]
    todo.append(case(128, 300, rows=1, heads=4, heads_k=2))
    with tempfile.TemporaryDirectory() as folder:
        path, machine = os.path.join(folder, 'out.csv'), Pretended()
        assert run(machine, todo, path) == 0
        with open(path, newline='') as handle:
            lines = list(csv.DictReader(handle))
        assert [found['what'] for found in lines] == ['here', 'here, two groups', 'here', 'here']
        assert [found['us_median'] for found in lines] == ['1000.00'] * 4
        # By hand: 4 * 2 heads * 40 rows * 20.5 keys on average * 64 dims in a millisecond.
        assert lines[0]['tflops'] == '%.2f' % (4 * 2 * 40 * 20.5 * 64 / 1e9), lines[0]
        assert lines[3]['splits'] == '2' and lines[3]['right'] == '1'
        # 3 to warm up, 1 to see how long one takes, then samples of 5 launches.
        assert machine.launched == 4 * (3 + 1 + SAMPLES * 5), machine.launched
        assert run(Pretended(fault=0.01), todo, path) == 4
        assert run(Pretended(fault=math.nan), todo, path) == 4
    # By hand: one block takes all that memory gives a processor, so 8 heads of k on 80 of them are 10 parts.
    assert splits_of(case(128, 32768, rows=1, heads_k=8), 80) == 10
    # 80 columns of 128 under way are too few of one block a processor; two are enough.
    assert splits_of(case(80, 9584, rows=1, heads=80, heads_k=16), 80) == 10
    assert len(cases(False)) == 44
    print('bench_v100: the script is right')


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', default='bench_v100.csv')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--self-test', action='store_true')
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    try:
        machine = Gpu()
    except (OSError, RuntimeError) as why:
        print('bench_v100: no NVIDIA GPU: %s' % why, file=sys.stderr)
        sys.exit(2)
    if machine.facts['capability'] not in ('7.0', '7.2', '7.5'):
        print(
            'WARNING: compute capability %(capability)s emulates the tensor instruction of Volta: answers are '
            'right, times mean nothing' % machine.facts,
            file=sys.stderr,
        )
    torch, others = rivals()
    names = ', '.join(name for name, _ in others) or 'nothing: neither torch nor xformers is installed'
    print('next to: ' + names)
    wrong = run(machine, cases(args.quick), args.out, torch, others)
    print('%s written%s' % (args.out, ', %d answers are WRONG' % wrong if wrong else ''))
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
