#!/usr/bin/env python3
"""Makes the committed PTX of the Volta kernels from their sources, or checks that it is what they give.

  pip install nvidia-cuda-nvrtc-cu12==12.9.86      # the compiler alone: no CUDA toolkit, no GPU
  python3 cuda/make_ptx.py                         # writes cuda/ptx/*.ptx and cuda/ptx/manifest.txt
  python3 cuda/make_ptx.py --check         # code 1 where a committed file differs, 77 without NVRTC 12.9

With nvidia-cuda-nvcc-cu12==12.9.86 installed too, --check also assembles for sm_70 and asserts registers and
spills.

The version in the header is set to 6.4, so that drivers since CUDA 10.1 take the text: it uses nothing newer.
"""

import ctypes
import hashlib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Kernel: source and options.
KERNELS = {
    'flash_fwd_f16_d%d' % d: ('flash_fwd_sm70.cu', ['-DKERNEL_HEAD_DIM=%d' % d, '-DKERNEL_GROUPS=1'])
    for d in (32, 64, 80, 96, 128, 256)
}
KERNELS.update(
    (
        'flash_fwd_f16_d%d_g2' % d,
        ('flash_fwd_sm70.cu', ['-DKERNEL_HEAD_DIM=%d' % d, '-DKERNEL_GROUPS=2']),
    )
    for d in (64, 128)
)
KERNELS.update(
    (
        'flash_fwd_f16_d%d_paged' % d,
        ('flash_fwd_sm70.cu', ['-DKERNEL_HEAD_DIM=%d' % d, '-DKERNEL_GROUPS=1', '-DKERNEL_PAGED']),
    )
    for d in (32, 64, 80, 96, 128, 256)
)
KERNELS.update(
    (
        'flash_decode_f16_d%d_r%d' % shape,
        ('flash_decode_sm70.cu', ['-DKERNEL_HEAD_DIM=%d' % shape[0], '-DKERNEL_ROWS=%d' % shape[1]]),
    )
    for shape in ((64, 8), (64, 16), (128, 8), (128, 16), (256, 8))
)
KERNELS['flash_decode_combine'] = ('flash_decode_sm70.cu', ['-DKERNEL_HEAD_DIM=0', '-DKERNEL_ROWS=0'])
KERNELS['flash_decode_combine_packed'] = (
    'flash_decode_sm70.cu',
    ['-DKERNEL_HEAD_DIM=0', '-DKERNEL_ROWS=0', '-DKERNEL_PACKED'],
)
OPTIONS = ['-arch=compute_70', '-std=c++17']
VERSION = (12, 9)
# Registers of a thread that ptxas may use (128 threads a block, 65536 registers an SM: 255 is two blocks, 168
# three, 128 four). Nothing may be spilled.
LIMITS = dict.fromkeys(KERNELS, 255)
LIMITS.update(
    flash_fwd_f16_d32=168,
    flash_fwd_f16_d32_paged=168,
    flash_decode_f16_d64_r8=128,
    flash_decode_f16_d64_r16=168,
    flash_decode_f16_d128_r8=168,
    flash_decode_combine=64,
    flash_decode_combine_packed=64,
)
NOT_FOUND = 77


def sources():
    """Files that the PTX depends on, relative to this folder, sorted."""
    headers = ['sm70/' + name for name in os.listdir(os.path.join(HERE, 'sm70')) if name.endswith('.cuh')]
    return sorted({source for source, _ in KERNELS.values()}.union(headers))


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


def compile_ptx(nvrtc, kernel):
    source, defines = KERNELS[kernel]
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
    options = OPTIONS + defines
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
    lines = ['%s  %s' % (hashlib.sha256(read(name)).hexdigest(), name) for name in sources()]
    lines += ['%s  %s' % (hashlib.sha256(outputs[name]).hexdigest(), name) for name in sorted(outputs)]
    return ('\n'.join(lines) + '\n').encode()


def beyond_limits():
    """Kernels that spill or for which ptxas needs more than LIMITS, as text; empty where ptxas is not installed."""
    ptxas, wrong = installed('nvidia/cuda_nvcc/bin/ptxas'), []
    for name, registers in LIMITS.items() if ptxas else ():
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
    outputs = {'ptx/%s.ptx' % kernel: compile_ptx(nvrtc, kernel) for kernel in KERNELS}
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
