"""RED edits on Hugging Face decoders in PyTorch: the reference for the native core.

Shared by the scripts in this folder and by test/parity/make_fixtures.py. Deliberately simple and slow:
each sequence runs alone and unpadded, attention is transformers' eager one, and an edit is a forward hook.

Names. A site is a linear layer by its canonical name, the Hugging Face module name without the leading "model.":
"layers.3.mlp.down_proj". A site's vectors are SITE.scale [width], SITE.bias [width] and, in the layer-norm variant,
SITE.ln.weight [width], SITE.ln.bias [width]; `width` is the number of rows of the layer's weight.

A micro-batch is a dict as in lib/data/types.ts: tokenIds [tokens], sequenceStarts [sequences + 1], targets [tokens] (the id
of the next token of the sequence, or -1 for no loss).
"""
import contextlib
import json
import re
from pathlib import Path
from types import MethodType

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.masking_utils import eager_mask
from transformers.models.llama import modeling_llama
from transformers.utils import logging

logging.disable_progress_bar()

MODULES = {
    "ffn": "mlp.down_proj",
    "attention": "self_attn.o_proj",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
}
VECTORS = {
    "all": ("scale", "bias"),
    "scale": ("scale",),
    "bias": ("bias",),
    "ln": ("scale", "bias", "ln.weight", "ln.bias"),
}
INITIAL = {"scale": 1.0, "bias": 0.0, "ln.weight": 1.0, "ln.bias": 0.0}
LAYER_NORM_EPS = 1e-5  # torch.nn.LayerNorm's default, as in the reference implementation


def load_model(folder, dtype=torch.float32, attention="eager"):
    """The model of a Hugging Face folder, in evaluation mode, with frozen weights of `dtype`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
    if model.config.model_type in ("gpt2", "phi3"):
        separate(model)
    return model.eval().requires_grad_(False)


class SideBySide(torch.nn.Module):
    """A fused layer as several, so that each has its own gradient and can be edited."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return torch.cat([layer(x) for layer in self.children()], -1)


def parts_of(layer, **rows):
    """The rows of a Linear without bias as several."""
    parts = layer.weight.split(list(rows.values()))
    return SideBySide(**{name: linear_of(part.T, None) for name, part in zip(rows, parts)})


def linear_of(weight, bias):
    """A Conv1D's numbers [inputs, outputs] as a Linear."""
    layer = torch.nn.Linear(*weight.shape, bias=bias is not None, dtype=weight.dtype)
    layer.weight.data = weight.detach().T.clone(memory_format=torch.contiguous_format)
    if bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer


def separate_gpt2(block):
    fused = block.attn.c_attn
    thirds = zip("qkv", fused.weight.chunk(3, 1), fused.bias.chunk(3))
    block.attn.c_attn = SideBySide(**{f"{letter}_proj": linear_of(w, b) for letter, w, b in thirds})
    for owner, name in ((block.attn, "c_proj"), (block.mlp, "c_fc"), (block.mlp, "c_proj")):
        layer = getattr(owner, name)
        setattr(owner, name, linear_of(layer.weight, layer.bias))


def separate_phi3(block, config):
    head_dim = config.hidden_size // config.num_attention_heads
    q, kv = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim
    block.self_attn.qkv_proj = parts_of(block.self_attn.qkv_proj, q_proj=q, k_proj=kv, v_proj=kv)
    size = config.intermediate_size
    block.mlp.gate_up_proj = parts_of(block.mlp.gate_up_proj, gate_proj=size, up_proj=size)


def separate(model):
    """Gives a model the layers of transformers' other decoders; its logits stay the same up to rounding."""
    ids = torch.arange(8)[None] % model.config.vocab_size
    with torch.no_grad():
        before = model(input_ids=ids).logits
        if model.config.model_type == "gpt2":
            for block in model.transformer.h:
                separate_gpt2(block)
        else:
            for block in model.model.layers:
                separate_phi3(block, model.config)
        after = model(input_ids=ids).logits
    assert relative_error(after, before) < (1e-2 if before.dtype == torch.bfloat16 else 1e-6)


def vanishing(model):
    """Ends of the names whose gradients are zero: without RoPE, a bias of k adds the same to all scores of a query."""
    return ("k_proj.bias",) if model.config.model_type == "gpt2" else ()


GPT2_NAMES = (
    ("wte", "embed_tokens"), ("wpe", "embed_positions"), ("ln_f", "norm"), ("h", "layers"), ("ln_1", "input_layernorm"),
    ("ln_2", "post_attention_layernorm"), ("attn.c_attn", "self_attn"), ("attn.c_proj", "self_attn.o_proj"),
    ("mlp.c_fc", "mlp.up_proj"), ("mlp.c_proj", "mlp.down_proj"),
)  # fmt: skip


def canonical(name):
    """A Hugging Face tensor or module name without its leading "model."; a GPT-2's (after `separate`) in LLaMA's words."""
    if not name.startswith("transformer."):
        return name.removeprefix("model.").replace("qkv_proj.", "").replace("gate_up_proj.", "")
    name = name.removeprefix("transformer.")
    for own, other in GPT2_NAMES:
        name = re.sub(rf"(^|\.){re.escape(own)}(?=\.)", lambda found: found[1] + other, name)
    return name


def module_of(model, site):
    """The linear layer of a site."""
    return next(module for name, module in model.named_modules() if canonical(name + ".") == site + ".")


def weights_of(model):
    """Canonical name -> parameter; tied weights once, under embed_tokens."""
    return {canonical(name): parameter for name, parameter in model.named_parameters()}


def site_names(model, kinds, layers=None):
    """The sites of the kinds (keys of MODULES) in the chosen layers (all by default), layer by layer."""
    chosen = range(model.config.num_hidden_layers) if layers is None else layers
    return [f"layers.{layer}.{MODULES[kind]}" for layer in chosen for kind in kinds]


def new_vectors(model, sites, variant):
    """Trainable fp32 vectors with the values that training starts from (scale 1, bias 0, layer norm 1 and 0)."""
    return {
        f"{site}.{name}": torch.full((width_of(model, site),), INITIAL[name]).requires_grad_()
        for site in sites
        for name in VECTORS[variant]
    }


def width_of(model, site):
    return module_of(model, site).out_features


def random_vectors(model, sites, variant, generator, scale=(-8.0, 17.0), bias=(-2.0, 2.0), representable=None):
    """Trainable fp32 vectors with uniform values, some of each site's scales and biases exactly zero.

    `representable` names a dtype to which all values are rounded first, so that a run in that dtype has the same values.
    """
    ranges = {"scale": scale, "bias": bias, "ln.weight": (-1.5, 2.0), "ln.bias": (-0.5, 0.5)}
    vectors = new_vectors(model, sites, variant)
    with torch.no_grad():
        for name, vector in vectors.items():
            kind = name.split("_proj.")[1]
            vector.uniform_(*ranges[kind], generator=generator)
            if kind in ("scale", "bias"):
                vector[torch.randperm(len(vector), generator=generator)[: 1 + len(vector) // 32]] = 0.0
            if representable is not None:
                vector.copy_(vector.to(representable).float())
    return vectors


def edit(h, vectors, site, rounded=False):
    """scale * h + bias, then the layer norm if there is one; without the parts that a variant lacks.

    The edit is computed in the vectors' dtype and rounded once to that of h [.., width]. With `rounded` it is computed
    as in the reference implementation in bf16: the vectors, the product and the sum are rounded to the dtype of h.
    """
    parts = {n: vectors.get(f"{site}.{n}") for n in INITIAL}
    if rounded:
        parts = {n: None if v is None else v.to(h.dtype) for n, v in parts.items()}
    dtype = next(v.dtype for v in parts.values() if v is not None)
    y = h.to(dtype)
    if parts["scale"] is not None:
        y = y * parts["scale"]
    if parts["bias"] is not None:
        y = y + parts["bias"]
    if parts["ln.weight"] is not None:
        y = F.layer_norm(y, y.shape[-1:], parts["ln.weight"], parts["ln.bias"], LAYER_NORM_EPS)
    return y.to(h.dtype)


@contextlib.contextmanager
def edited(model, vectors, rounded=False):
    """Within it the model's forward passes are edited by `vectors` (None or empty: not at all)."""
    sites = dict.fromkeys(name.split("_proj.")[0] + "_proj" for name in vectors or {})
    hooks = [
        module_of(model, site).register_forward_hook(
            lambda module, inputs, h, site=site: edit(h, vectors, site, rounded)
        )
        for site in sites
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def micro_batch(sequences, targets=None):
    """One micro-batch from lists of token ids; by default every position's target is its sequence's next id."""
    targets = targets or [ids[1:] + [-1] for ids in sequences]
    starts = [0]
    for ids in sequences:
        starts.append(starts[-1] + len(ids))
    flat = [target for row in targets for target in row]
    return {
        "tokenIds": [token for ids in sequences for token in ids],
        "sequenceStarts": starts,
        "targets": flat,
        "supervisedTokens": sum(target >= 0 for target in flat),
    }


def sequences_of(micro):
    """(token ids, targets) of each sequence of a micro-batch."""
    starts = micro["sequenceStarts"]
    return [(micro["tokenIds"][a:b], micro["targets"][a:b]) for a, b in zip(starts, starts[1:])]


def supervised(micros):
    return sum(target >= 0 for micro in micros for target in micro["targets"])


def logits_of(model, ids):
    """Logits of every position of one sequence, [len(ids), vocabulary], in the model's dtype."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def loss_sum(logits, targets):
    """Summed cross-entropy in nats over the targets that are not -1, in float32 (float64 for float64 logits)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits, torch.tensor(targets), ignore_index=-1, reduction="sum")


def loss_and_gradients(model, micros, parameters):
    """Loss (sum over the supervised tokens of all micro-batches / their number) and its gradients.

    Each sequence runs forward and backward separately; gradients are summed in float32 (float64 for float64 parameters), so
    that the sum over sequences is not rounded to bf16. `parameters` is name -> tensor with requires_grad.
    """
    count = supervised(micros)
    total = 0.0
    sums = {n: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for n, p in parameters.items()}
    for micro in micros:
        for ids, targets in sequences_of(micro):
            loss = loss_sum(logits_of(model, ids), targets) / count
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients):
                if gradient is not None:
                    sums[name] += gradient
            total += loss.item()
    return total, sums


def greedy(model, prompt, count):
    """`count` greedy ids after `prompt` without a cache, and the smallest margin of a chosen logit over the next best."""
    ids, lead = list(prompt), float("inf")
    for _ in range(count):
        with torch.no_grad():
            best = torch.topk(logits_of(model, ids)[-1].float(), 2)
        ids.append(int(best.indices[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
    return ids[len(prompt) :], lead


def relative_error(value, reference):
    """||value - reference|| / ||reference|| in float64 (0 for two zeros)."""
    value, reference = value.double(), reference.double()
    norm = reference.norm().item()
    return (value - reference).norm().item() / norm if norm else float(value.norm().item() != 0)


# transformers computes norms, softmax and rotary angles in float32 for any model dtype; these compute in float64.


def _norm64(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def _rotary64(self, x, position_ids):
    angles = position_ids[..., None].double() * self.inv_freq.double()
    angles = torch.cat((angles, angles), -1)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling


def _attention64(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
    value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
    weights = (query @ key.transpose(2, 3) * scaling + attention_mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register("float64", _attention64)
AttentionMaskInterface.register("float64", eager_mask)


def load_float64(folder):
    """The folder's model in float64 throughout: the reference for errors. The rotary frequencies stay float32."""
    if json.loads((Path(folder) / "config.json").read_text())["model_type"] == "gpt2":
        return load_model(folder).double()  # its norms and softmax follow the model's dtype
    model = load_model(folder, attention="float64")
    frequencies = model.model.rotary_emb.inv_freq
    model.double()
    model.model.rotary_emb.inv_freq = frequencies
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):  # each family has its own class of the same code
            module.forward = MethodType(_norm64, module)
        elif type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = MethodType(_rotary64, module)
    return model


def as_float64(vectors):
    """Trainable float64 copies."""
    return {name: vector.detach().double().requires_grad_() for name, vector in vectors.items()}


def save_adapter(folder, vectors, kinds, variant, layers):
    """Writes an adapter folder: fp32 vectors by name, and their description."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: v.detach().float().contiguous() for n, v in vectors.items()}, folder / "adapter_model.safetensors")
    config = {"format": 1, "kind": "red", "variant": variant, "sites": list(kinds), "layers": list(layers)}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_adapter(folder):
    """The vectors of an adapter folder, trainable, by name; the names determine the sites and the variant."""
    return {n: v.float().requires_grad_() for n, v in load_file(Path(folder) / "adapter_model.safetensors").items()}
