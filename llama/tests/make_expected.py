"""Makes data/smollm2.json: what llama.cpp says of SmolLM2-135M-Instruct, the oracle of tests/smollm2.

    pip install llama-cpp-python==0.3.36
    python3 llama/tests/make_expected.py SmolLM2-135M-Instruct.Q4_1.gguf

`file` is the file as it is: llama.cpp then rounds activations to 8 bits before its products. `f32` is the
same file with its weights widened to f32, so that nothing but f32 sums is rounded: 64 greedy tokens, and of
each the token that came second and by how much its logit was less. Ends of text do not end anything here.
"""

import ctypes
import json
import pathlib
import sys
import tempfile

import llama_cpp
import numpy as np
from llama_cpp import Llama

HERE = pathlib.Path(__file__).resolve().parent
LICENSE = (HERE.parents[1] / "LICENSE-APACHE").read_text()

PROMPTS = [
    ("english", {"text": "The lighthouse keeper climbed the stairs every evening, because"}),
    ("code", {"text": "def fibonacci(n):\n    \"\"\"The n-th number.\"\"\"\n    if n < 2:\n"}),
    ("digits", {"text": "3141592653589793 + 2718281828459045 = 58598744820488 and 12 * 12 = 144, 13 * 13 ="}),
    ("script", {"text": "Москва — столица России. Париж — столица"}),
    ("short", {"text": "A"}),
    ("long", {"text": LICENSE[1:3300]}),
    ("chat", {"messages": [{"role": "user", "content": "Name three colours of the rainbow."}]}),
    (
        "chat_system",
        {
            "messages": [
                {"role": "system", "content": "You answer in one short sentence."},
                {"role": "user", "content": "What is 7 + 5?"},
                {"role": "assistant", "content": "It is 12."},
                {"role": "user", "content": "And why does ice float?"},
            ]
        },
    ),
]

TOKENS = 64
PERPLEXITY_TOKENS = 1000

TEXTS = ["", " ", "  two  spaces", "1234567", "a1b22 c333", "tab\tand\nline\r\n", "naïve café — 日本語 🙂", "<|im_start|>user\nhi<|im_end|>"]


def render(messages):
    text = ""
    if messages[0]["role"] != "system":
        text += (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        )
    for message in messages:
        text += "<|im_start|>" + message["role"] + "\n" + message["content"] + "<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def logits(model):
    pointer = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return np.ctypeslib.as_array(pointer, shape=(model.n_vocab(),)).astype(np.float64)


def greedy(model, ids):
    model.reset()
    model.eval(ids)
    out = {"tokens": [], "second": [], "margin": []}
    for _ in range(TOKENS):
        row = logits(model)
        second, best = np.argsort(row, kind="stable")[-2:]
        out["tokens"].append(int(best))
        out["second"].append(int(second))
        out["margin"].append(round(float(row[best] - row[second]), 5))
        model.eval([int(best)])
    return out


def losses(path, ids):
    model = load(path, type_k=0, type_v=0, logits_all=True)
    model.eval(ids)
    rows = np.array(model.scores[: len(ids) - 1], dtype=np.float64)
    top = rows.max(axis=1)
    alls = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return [round(float(alls[at] - rows[at, ids[at + 1]]), 5) for at in range(len(ids) - 1)]


def widen(source, target):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = 0
    params.allow_requantize = True
    params.nthread = 1
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    assert code == 0, code


def load(path, **options):
    return Llama(str(path), n_ctx=2048, n_batch=2048, n_threads=2, verbose=False, **options)


def main():
    source = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "f32.gguf"
        widen(source, path)
        own, wide = load(source), load(path, type_k=0, type_v=0)
        tokenize = lambda text: own.tokenize(text.encode(), add_bos=False, special=True)
        prompts = []
        for name, prompt in PROMPTS:
            text = prompt.get("text") or render(prompt["messages"])
            ids = tokenize(text)
            entry = {"name": name, **prompt, "ids": ids}
            entry["file"] = {"tokens": greedy(own, ids)["tokens"]}
            entry["f32"] = greedy(wide, ids)
            prompts.append(entry)
            print(name, len(ids), repr(own.detokenize(entry["f32"]["tokens"]).decode(errors="replace")))
        ids = tokenize(LICENSE)[:PERPLEXITY_TOKENS]
        loss = {"ids": ids, "of_token": losses(path, ids)}
        texts = [{"text": text, "ids": tokenize(text) if text else []} for text in TEXTS]
    made = {"llama_cpp_python": llama_cpp.__version__, "prompts": prompts, "texts": texts, "loss": loss}
    compact = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    # A line for each prompt.
    (HERE / "data/smollm2.json").write_text(compact.replace('},{"name"', '},\n{"name"') + "\n")
    print("loss", np.mean(loss["of_token"]))


main()
