"""Explore."""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

SHAPES = {
    "8b": dict(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
        rope_theta=500000.0,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    "1b": dict(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        vocab_size=128256,
        rope_theta=500000.0,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "tiny": dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        rope_theta=500000.0,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
}


def build(shape, device, dtype, attn):
    from transformers import LlamaConfig, LlamaForCausalLM
    from peft import LoraConfig, get_peft_model
    from tasks.train import attention

    attention.register()
    theta = SHAPES[shape]
    config = LlamaConfig(**theta, attn_implementation=attn)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        net = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    net.requires_grad_(False)
    net = get_peft_model(
        net, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    )
    for p in net.parameters():
        if p.requires_grad:
            p.data = p.data.float()
    net.train()
    return net


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shape", default="8b")
    a.add_argument("--length", type=int, default=4096)
    a.add_argument("--budget", type=int, default=8192)
    a.add_argument("--batch-tokens", type=int, default=131072)
    a.add_argument("--steps", type=int, default=3)
    a.add_argument("--warmup", type=int, default=1)
    a.add_argument("--rows")
    a.add_argument("--no-fuse", action="store_true")
    a.add_argument("--no-compile", action="store_true")
    a.add_argument("--profile", action="store_true")
    a.add_argument("--no-group", action="store_true")
    a.add_argument("--fp8", action="store_true")
    a.add_argument("--cut", type=int, default=0, help="layers")
    o = a.parse_args()
    if o.cut:
        SHAPES[o.shape]["num_hidden_layers"] = o.cut
    from tasks.train import causal, lora, packing

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    t0 = time.monotonic()
    net = build(o.shape, device, dtype, "packed")
    fused = 0 if o.no_fuse else lora.fuse(net, o.fp8, not o.no_group)
    if not o.no_compile:
        causal.compile_layers(net)
    vocab = SHAPES[o.shape]["vocab_size"]
    if o.rows:
        rows = [packing.Row(t, [i >= p for i in range(len(t))]) for t, p in json.loads(Path(o.rows).read_text())]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
        batches = packing.fill([len(r.tokens) for r in rows], o.budget, order)
        lengths = [len(r.tokens) for r in rows]
        form = packing.shape(lengths, batches, o.budget)
        packs = [packing.pack([rows[i] for i in b], form, 0, device) for b in batches]
        real = [sum(len(rows[i].tokens) for i in b) for b in batches]
        print(f"{len(batches)} batches, filled {sum(real) / o.budget / len(batches):.4f}")
    else:
        g = torch.Generator().manual_seed(0)
        per = o.budget // o.length
        packs, real = [], []
        for _ in range(o.batch_tokens // o.budget):
            rows = [
                packing.Row(torch.randint(vocab, (o.length,), generator=g).tolist(), [True] * o.length)
                for _ in range(per)
            ]
            packs.append(packing.pack(rows, packing.Shape(o.budget, per, o.length), 0, device))
            real.append(o.budget)
    micro = max(1, o.batch_tokens // o.budget)
    params = [p for p in net.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=1e-4, fused=True)
    print(
        f"built in {time.monotonic() - t0:.1f} s; fused {fused}; trainable {sum(p.numel() for p in params)}; micro {micro}",
        flush=True,
    )

    def one(i):
        at = [(i * micro + j) % len(packs) for j in range(micro)]
        chosen = [packs[k] for k in at]
        whole = float(sum(len(p.targets) for p in chosen))
        loss = causal.gradients(net, chosen, whole)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        return loss, sum(real[k] for k in at)

    t0 = time.monotonic()
    for i in range(o.warmup):
        loss, _ = one(i)
        print(f"step {i} loss {loss.item():.4f} {time.monotonic() - t0:.1f} s", flush=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    t0, tokens, losses = time.monotonic(), 0, []
    for i in range(o.warmup, o.warmup + o.steps):
        loss, n = one(i)
        tokens += n
        losses.append(loss)
    if device.type == "cuda":
        torch.cuda.synchronize()
    took = time.monotonic() - t0
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
    print(
        f"RESULT {o.shape} budget {o.budget} fuse {not o.no_fuse} fp8 {o.fp8} group {not o.no_group} compile {not o.no_compile}: {tokens / took:.0f} tokens/s, {took / o.steps:.2f} s a step, peak {peak:.1f} GiB, losses {[round(x.item(), 4) for x in losses][:3]}..{losses[-1].item():.4f}",
        flush=True,
    )
    if o.profile:
        from torch.profiler import profile, ProfilerActivity

        saved, causal_packs = micro, packs[:2]
        with profile(activities=[ProfilerActivity.CUDA]) as prof:
            causal.gradients(net, causal_packs, 1e5)
            torch.cuda.synchronize()
        print(prof.key_averages().table(sort_by="cuda_time_total", row_limit=45, max_name_column_width=90))


if __name__ == "__main__":
    main()
