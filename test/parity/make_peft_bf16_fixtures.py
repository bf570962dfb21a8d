#!/usr/bin/env python3
"""Makes test/parity/fixtures/peft_bf16: adapters of PEFT on bf16 bases, and what PyTorch computes with them in fp32 and in bf16. README.md says
more.

  python test/parity/make_peft_bf16_fixtures.py [--out FOLDER]

The base's weights are bf16 on both sides; in fp32 they are widened. PEFT keeps an adapter's own numbers in fp32 (autocast_adapter_dtype).
Needs torch, transformers, safetensors, peft (peft 0.21 was used). The result depends on the seeds below alone.
"""
import json
import sys
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parents[1] / "bench" / "oracle"))
import reference  # noqa: E402
from peft_saving import make_all, randomize, save_adapter  # noqa: E402

FIXTURES = HERE / "fixtures"
EVERYTHING = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "gqa_lora": ("gqa_bf16", peft.LoraConfig, {"r": 4, "lora_alpha": 8, "target_modules": EVERYTHING}),
    "gqa_ia3": ("gqa_bf16", peft.IA3Config, {"target_modules": ["k_proj", "v_proj", "down_proj"],
                                             "feedforward_modules": ["down_proj"]}),
    "qwen2_lora": ("qwen2_bf16", peft.LoraConfig, {"r": 2, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}),
}  # fmt: skip


def adapted(base, kind, settings, seed, dtype):
    """The base with an adapter of random numbers, those of B as large as a trained one's; and the numbers by name."""
    torch.manual_seed(seed)
    model = reference.load_model(FIXTURES / base, dtype=dtype)
    model = peft.get_peft_model(model, kind(task_type="CAUSAL_LM", **settings)).eval()
    parameters = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        randomize(parameters.items())
    assert all(p.dtype == torch.float32 for p in parameters.values())
    return model, parameters


def make(name, base, kind, settings, seed, out):
    batch = json.loads((FIXTURES / base / "expected.json").read_text())["batch"]
    folder, tensors = out / name, {}
    for prefix, dtype in (("", torch.float32), ("bf16.", torch.bfloat16)):
        model, parameters = adapted(base, kind, settings, seed, dtype)
        with torch.no_grad():
            logits = torch.cat([reference.logits_of(model, ids) for ids, _ in reference.sequences_of(batch)])
        tensors[f"{prefix}logits"] = logits.float()
        _, gradients = reference.loss_and_gradients(model, [batch], parameters)
        tensors |= {f"{prefix}grad.{n}": g for n, g in gradients.items()}
    save_adapter(model, folder, base)  # the numbers are the same in both
    save_file({n: t.detach().clone().contiguous() for n, t in tensors.items()}, folder / "expected.safetensors")
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) // 1024} KiB")


if __name__ == "__main__":
    make_all(__doc__, FIXTURES / "peft_bf16", CASES, make)
