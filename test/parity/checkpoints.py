"""Tiny random checkpoints as Hugging Face folders: one for each thing that differs between LLaMAs, and for each other family."""
import json

import torch
from safetensors.torch import save_file


def configuration(dims, **changes):
    """A config.json: dims = (hidden, intermediate, layers, heads, kv heads, vocabulary)."""
    hidden, intermediate, layers, heads, kv_heads, vocabulary = dims
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }


def qwen2(dims, **changes):
    """Biases on q, k and v; the window that is not used is shorter than the sequences."""
    own = {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}
    return configuration(dims, architectures=["Qwen2ForCausalLM"], model_type="qwen2", **(own | changes))


def mistral(dims, **changes):
    """The window is shorter than the positions, and longer than the sequences."""
    own = {"sliding_window": 64, "tie_word_embeddings": False}
    return configuration(dims, architectures=["MistralForCausalLM"], model_type="mistral", **(own | changes))


def qwen3(dims, **changes):
    """Norms of heads; head_dim is not hidden / heads."""
    own = {
        "head_dim": 16, "attention_bias": False, "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2,
        "rope_theta": 1000000.0, "rope_scaling": None, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    return configuration(dims, architectures=["Qwen3ForCausalLM"], model_type="qwen3", **(own | changes))


def phi3(dims, **changes):
    """q, k and v in one matrix, gate and up in another; the window is as in mistral."""
    own = {"sliding_window": 64, "rope_theta": 10000.0, "rope_scaling": None}
    own |= {"pad_token_id": None}  # the default is beyond the vocabulary
    return configuration(dims, architectures=["Phi3ForCausalLM"], model_type="phi3", **(own | changes))


def gpt2(dims, **changes):
    """A config.json of GPT-2: dims = (hidden, layers, heads, vocabulary)."""
    hidden, layers, heads, vocabulary = dims
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 64,
        "n_ctx": 64,
        "vocab_size": vocabulary,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
        **changes,
    }


def has_bias(config, module):
    if config["model_type"] == "qwen2":
        return module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    return config.get("attention_bias" if "self_attn" in module else "mlp_bias")


# Both ways of saying the rotary parameters, both of saying the dtype, and defaults left unsaid, as they occur in the wild.
CHECKPOINTS = {
    "mha": configuration(
        (32, 88, 2, 4, 4, 96), rope_theta=10000.0, rope_scaling=None, rms_norm_eps=1e-6, tie_word_embeddings=False,
        torch_dtype="float32",
    ),
    "gqa": configuration(
        (48, 88, 2, 6, 2, 128), rope_parameters={"rope_theta": 500.0, "rope_type": "default"}, head_dim=8,
        tie_word_embeddings=True, attention_bias=False, mlp_bias=False, dtype="float32",
    ),
    "llama3": configuration(
        (32, 56, 3, 4, 2, 101), head_dim=16, rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="float32",
        rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "bias": configuration(
        (32, 56, 2, 2, 1, 97), rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}, attention_bias=True,
        mlp_bias=True, tie_word_embeddings=False, dtype="float32",
    ),
    "gqa_bf16": configuration(
        (48, 88, 2, 6, 2, 128), rope_theta=10000.0, tie_word_embeddings=True, torch_dtype="bfloat16",
    ),
    "linear_rope": configuration(
        (32, 44, 2, 4, 1, 96), rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 4.0},
        tie_word_embeddings=True, torch_dtype="float32",
    ),
    "qwen2": qwen2((32, 44, 2, 4, 2, 96), rope_theta=1000000.0, tie_word_embeddings=False, torch_dtype="float32"),
    "qwen2_tied": qwen2(
        (32, 44, 2, 4, 1, 96), rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}, head_dim=16,
        layer_types=["full_attention"] * 2, tie_word_embeddings=True, dtype="float32",
    ),
    "qwen2_bf16": qwen2((32, 44, 2, 4, 2, 96), rope_theta=10000.0, tie_word_embeddings=True, torch_dtype="bfloat16"),
    "mistral": mistral((32, 44, 2, 4, 2, 96), head_dim=16, rope_theta=10000.0, torch_dtype="float32"),
    "mistral_bf16": mistral((32, 44, 2, 4, 2, 96), rope_theta=10000.0, torch_dtype="bfloat16"),
    "qwen3": qwen3((32, 44, 2, 4, 2, 96), tie_word_embeddings=False, torch_dtype="float32"),
    "qwen3_bf16": qwen3((32, 44, 2, 4, 2, 96), tie_word_embeddings=True, torch_dtype="bfloat16"),
}
# gpt2_old is as the first checkpoints are: without the prefix "transformer.", with the causal masks.
CHECKPOINTS |= {
    "gpt2": gpt2((24, 2, 4, 96), torch_dtype="float32"),
    "gpt2_old": gpt2(
        (24, 2, 2, 96), n_inner=40, activation_function="gelu", scale_attn_by_inverse_layer_idx=True,
        tie_word_embeddings=False, torch_dtype="float32",
    ),
    "gpt2_bf16": gpt2((24, 2, 4, 96), torch_dtype="bfloat16"),
}
CHECKPOINTS |= {
    "phi3": phi3((32, 44, 2, 4, 2, 96), partial_rotary_factor=0.75, tie_word_embeddings=False, torch_dtype="float32"),
    "phi3_bf16": phi3((32, 44, 2, 4, 4, 96), tie_word_embeddings=False, torch_dtype="bfloat16"),
}
# Windows shorter than the sequences: in all layers; in those that layer_types names; in those from max_window_layers on.
CHECKPOINTS |= {
    "mistral_window": mistral((32, 44, 2, 4, 2, 96), sliding_window=8, rope_theta=10000.0, torch_dtype="float32"),
    "mistral_window_bf16": mistral((32, 44, 2, 4, 2, 96), sliding_window=8, rope_theta=10000.0, torch_dtype="bfloat16"),
    "qwen2_window": qwen2(
        (32, 44, 3, 4, 2, 96), use_sliding_window=True, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_theta=1000000.0, tie_word_embeddings=True, torch_dtype="float32",
    ),
    "qwen3_window": qwen3(
        (32, 44, 2, 4, 2, 96), use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True,
        torch_dtype="float32",
    ),
    "phi3_window": phi3((32, 44, 2, 4, 2, 96), sliding_window=8, tie_word_embeddings=False, torch_dtype="float32"),
}
OLD_GPT2 = ("gpt2_old",)
SHARDS = {"llama3": 3}
HEAD_ONLY = ("linear_rope",)  # of the two names of a tied weight, the file has lm_head.weight: transformers reads that, too


def random_weights(config, generator):
    """Hugging Face name -> fp32 tensor; projections keep activations of about size 1, norm weights are spread around 1."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    widths = {
        "self_attn.q_proj": (heads * head_dim, hidden),
        "self_attn.k_proj": (config["num_key_value_heads"] * head_dim, hidden),
        "self_attn.v_proj": (config["num_key_value_heads"] * head_dim, hidden),
        "self_attn.o_proj": (hidden, heads * head_dim),
        "mlp.gate_proj": (config["intermediate_size"], hidden),
        "mlp.up_proj": (config["intermediate_size"], hidden),
        "mlp.down_proj": (hidden, config["intermediate_size"]),
    }

    def normal(*shape, std):
        return torch.randn(*shape, generator=generator) * std

    def norm_weight(width=hidden):
        return torch.empty(width).uniform_(0.5, 1.5, generator=generator)

    weights = {"model.embed_tokens.weight": normal(config["vocab_size"], hidden, std=0.3)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = norm_weight()
        weights[prefix + "post_attention_layernorm.weight"] = norm_weight()
        if config["model_type"] == "qwen3":
            weights[prefix + "self_attn.q_norm.weight"] = norm_weight(head_dim)
            weights[prefix + "self_attn.k_norm.weight"] = norm_weight(head_dim)
        for module, (rows, columns) in widths.items():
            weights[f"{prefix}{module}.weight"] = normal(rows, columns, std=1.2 * columns**-0.5)
            if has_bias(config, module):
                weights[f"{prefix}{module}.bias"] = normal(rows, std=0.3)
        if config["model_type"] == "phi3":
            for group, fused, parts in (("self_attn", "qkv_proj", "qkv"), ("mlp", "gate_up_proj", ("gate", "up"))):
                rows = [weights.pop(f"{prefix}{group}.{part}_proj.weight") for part in parts]
                weights[f"{prefix}{group}.{fused}.weight"] = torch.cat(rows)
    weights["model.norm.weight"] = norm_weight()
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal(config["vocab_size"], hidden, std=0.3)
    return weights


def random_gpt2(config, generator, old):
    """The same for GPT-2: matrices as [inputs, outputs], q, k and v in one."""
    hidden, positions = config["n_embd"], config["n_positions"]
    inner = config.get("n_inner") or 4 * hidden
    prefix = "" if old else "transformer."
    weights = {}

    def normal(*shape, std):
        return torch.randn(*shape, generator=generator) * std

    def norm(name):
        weights[name + ".weight"] = torch.empty(hidden).uniform_(0.5, 1.5, generator=generator)
        weights[name + ".bias"] = normal(hidden, std=0.3)

    def linear(name, inputs, outputs):
        weights[name + ".weight"] = normal(inputs, outputs, std=1.2 * inputs**-0.5)
        weights[name + ".bias"] = normal(outputs, std=0.3)

    weights[prefix + "wte.weight"] = normal(config["vocab_size"], hidden, std=0.3)
    weights[prefix + "wpe.weight"] = normal(positions, hidden, std=0.3)
    for layer in range(config["n_layer"]):
        block = f"{prefix}h.{layer}."
        norm(block + "ln_1")
        linear(block + "attn.c_attn", hidden, 3 * hidden)
        linear(block + "attn.c_proj", hidden, hidden)
        norm(block + "ln_2")
        linear(block + "mlp.c_fc", hidden, inner)
        linear(block + "mlp.c_proj", inner, hidden)
        if old:
            weights[block + "attn.bias"] = torch.ones(1, 1, positions, positions).tril()
            weights[block + "attn.masked_bias"] = torch.tensor(-1e4)
    norm(prefix + "ln_f")
    if not config.get("tie_word_embeddings", True):
        weights["lm_head.weight"] = normal(config["vocab_size"], hidden, std=0.3)
    return weights


def write_checkpoint(name, folder, seed):
    """Writes config.json and the weights (in shards with an index where SHARDS says so) of one of CHECKPOINTS."""
    config = CHECKPOINTS[name]
    dtype = getattr(torch, config.get("torch_dtype") or config.get("dtype"))
    generator = torch.Generator().manual_seed(seed)
    is_gpt2 = config["model_type"] == "gpt2"
    weights = random_gpt2(config, generator, name in OLD_GPT2) if is_gpt2 else random_weights(config, generator)
    weights = {key: value.to(dtype) for key, value in weights.items()}
    if name in HEAD_ONLY:
        weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shards = SHARDS.get(name, 1)
    if shards == 1:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return
    names = list(weights)
    files = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file({key: weights[key] for key in part}, folder / file, {"format": "pt"})
        files.update(dict.fromkeys(part, file))
    size = sum(value.numel() * value.element_size() for value in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
