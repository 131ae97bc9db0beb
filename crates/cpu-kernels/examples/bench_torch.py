"""Prefill of bench_cpu.rs by PyTorch's CPU attention in f32: python bench_torch.py [THREADS [REPEATS]]. Writes CSV."""
import sys
import time

import torch

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 9
torch.set_num_threads(threads)
torch.manual_seed(1)
q, k, v = (torch.rand(1, 8, 2048, 128) - 0.5 for _ in range(3))
print("case,threads,best_ms,gflops,largest_error")
for name, is_causal in [("prefill", False), ("prefill causal", True)]:
    o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    scores = (q[0, 3].double() @ k[0, 3].double().T) / 128**0.5
    if is_causal:
        scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    error = (o[0, 3] - scores.softmax(1) @ v[0, 3].double()).abs().max().item()
    assert error < 1e-3, error
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        best = min(best, time.perf_counter() - start)
    products = 4 * 8 * 2048 * 2048 * 128 / (2 if is_causal else 1)
    print(f"{name},{threads},{best * 1e3:.3f},{products / best / 1e9:.1f},{error:.2e}", flush=True)
