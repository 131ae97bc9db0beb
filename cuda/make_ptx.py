#!/usr/bin/env python3
"""Makes the committed PTX of the Volta kernels from their sources and the table of their block shapes,
kernels.csv, or checks that it is what they give.

  pip install nvidia-cuda-nvrtc-cu12==12.9.86      # the compiler alone: no CUDA toolkit, no GPU
  python3 cuda/make_ptx.py                         # writes cuda/ptx/*.ptx and cuda/ptx/manifest.txt
  python3 cuda/make_ptx.py --check         # code 1 where a committed file differs, 77 without NVRTC 12.9

With nvidia-cuda-nvcc-cu12==12.9.86 installed too, --check also assembles for sm_70 and asserts registers and
spills.

The version in the header is set to 6.4, so that drivers since CUDA 10.1 take the text: it uses nothing newer.
"""

import csv
import ctypes
import hashlib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
OPTIONS = ['-arch=compute_70', '-std=c++17']
VERSION = (12, 9)
NOT_FOUND = 77


def table():
    """The lines of kernels.csv: kernels, their block shapes, and what their launches need. Of a line:
    `rows` of q and `columns` of o a block; `registers` of a thread that ptxas may use (128 threads a block,
    65536 registers an SM: 255 is two blocks, 168 three, 128 four; nothing may be spilled); `blocks` that the
    registers of an SM hold; `blocks_for_memory`, which together take all that memory gives an SM."""
    with open(os.path.join(HERE, 'kernels.csv'), newline='') as handle:
        number = lambda x: int(x) if x.isdigit() else x  # noqa: E731
        return [{key: number(x) for key, x in row.items()} for row in csv.DictReader(handle)]


def defines(row):
    """What a source is compiled with for a line of the table."""
    kind, given = row['kind'], ['KERNEL_NAME=' + row['kernel']]
    if kind == 'combine':
        given += ['KERNEL_COMBINE'] + ['KERNEL_PACKED'] * row['kernel'].endswith('_packed')
    else:
        if kind == 'decode':
            shape = [row['head_dim'], row['rows'] // 8, row['v_ahead']]
        else:
            slices = [row[key] for key in ('k_slices', 'v_slices', 'slots', 'sums_in_shared')]
            warps = row['rows'] // 32
            shape = [row['head_dim'], row['columns'], warps, row['key_groups'], *slices]
        given += ['KERNEL_SHAPE=' + ','.join(map(str, shape))]
        given += ['KERNEL_%s=%d' % (key.upper(), row[key]) for key in ('blocks', 'shared_bytes')]
    return ['-D' + name for name in given + ['KERNEL_PAGED'] * (kind == 'paged')]


def source_of(row):
    return 'flash_decode_sm70.cu' if row['kind'] in ('decode', 'combine') else 'flash_fwd_sm70.cu'


def sources():
    """Files that the PTX depends on, relative to this folder, sorted."""
    headers = ['sm70/' + name for name in os.listdir(os.path.join(HERE, 'sm70')) if name.endswith('.cuh')]
    return sorted({source_of(row) for row in table()}.union(headers))


def read(path):
    with open(os.path.join(HERE, path), 'rb') as handle:
        return handle.read()


def installed(tail):
    """Path of a file of a pip package, or None."""
    return next(
        (path for path in (os.path.join(folder, tail) for folder in sys.path) if os.path.exists(path)), None
    )


def load_nvrtc():
    path = installed('nvidia/cuda_nvrtc/lib/libnvrtc.so.12')
    if not path:
        print(
            'make_ptx: libnvrtc.so.12 not found: pip install nvidia-cuda-nvrtc-cu12==12.9.86', file=sys.stderr
        )
        sys.exit(NOT_FOUND)
    return ctypes.CDLL(path)


def compile_ptx(nvrtc, row):
    source, kernel = source_of(row), row['kernel']
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != VERSION:
        print(
            'make_ptx: NVRTC is %d.%d, the committed PTX is made with %d.%d'
            % (major.value, minor.value, *VERSION),
            file=sys.stderr,
        )
        sys.exit(NOT_FOUND)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    headers = [name for name in sources() if name.endswith('.cuh')]
    texts = (ctypes.c_char_p * len(headers))(*[read(name) for name in headers])
    names = (ctypes.c_char_p * len(headers))(*[name.encode() for name in headers])
    if nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), read(source), source.encode(), len(headers), texts, names
    ):
        sys.exit('make_ptx: nvrtcCreateProgram failed')
    options = OPTIONS + defines(row)
    flags = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), flags)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        sys.exit('make_ptx: %s:\n%s' % (kernel, log.value.decode()))
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    text = ptx.value.decode()
    text, count = re.subn(r'^\.version \d+\.\d+$', '.version 6.4', text, flags=re.M)
    if count != 1:
        sys.exit('make_ptx: no .version line in the PTX of ' + kernel)
    return text.encode()


def manifest(outputs):
    """One line per file: sha256, name.  A test of the crate compares it with the files."""
    made_from = ['kernels.csv'] + sources()
    lines = ['%s  %s' % (hashlib.sha256(read(name)).hexdigest(), name) for name in made_from]
    lines += ['%s  %s' % (hashlib.sha256(outputs[name]).hexdigest(), name) for name in sorted(outputs)]
    return ('\n'.join(lines) + '\n').encode()


def beyond_limits():
    """Kernels that spill or for which ptxas needs more registers than the table has, as text; empty where
    ptxas is not installed."""
    ptxas, wrong = installed('nvidia/cuda_nvcc/bin/ptxas'), []
    for row in table() if ptxas else ():
        name, registers = row['kernel'], row['registers']
        with tempfile.NamedTemporaryFile() as cubin:
            run = subprocess.run(
                [ptxas, '-arch=sm_70', '-v', os.path.join(HERE, 'ptx', name + '.ptx'), '-o', cubin.name],
                capture_output=True,
                text=True,
            )
        used = [
            int(n)
            for n in re.findall(r'(\d+) bytes spill stores|Used (\d+) registers', run.stderr)
            for n in n
            if n
        ]
        if run.returncode or len(used) != 2 or used[0] > 0 or used[1] > registers:
            wrong.append(
                '%s: nothing spilled and at most %d registers wanted, ptxas says:\n%s'
                % (name, registers, run.stderr)
            )
    return wrong


def main():
    nvrtc = load_nvrtc()
    outputs = {'ptx/%s.ptx' % row['kernel']: compile_ptx(nvrtc, row) for row in table()}
    outputs['ptx/manifest.txt'] = manifest(outputs)
    if sys.argv[1:] == ['--check']:
        wrong = [
            name
            for name in outputs
            if not os.path.exists(os.path.join(HERE, name)) or read(name) != outputs[name]
        ]
        wrong = ['not what the sources give: ' + ', '.join(wrong)] if wrong else beyond_limits()
        sys.exit('make_ptx: ' + '\n'.join(wrong) if wrong else 0)
    os.makedirs(os.path.join(HERE, 'ptx'), exist_ok=True)
    for name, text in outputs.items():
        with open(os.path.join(HERE, name), 'wb') as handle:
            handle.write(text)


if __name__ == '__main__':
    main()
