"""Declares special tokens in random ways, and writes what transformers makes of each: names in tokenizer_config.json and
special_tokens_map.json, extra tokens as lists and objects, added_tokens.json, the list of tokenizer.json.

    python bench/oracle/tokenizers/special_tokens.py OUT.json [COUNT] [SEED]       (transformers 5.18, tokenizers 0.23)

`special_tokens.mjs` reads OUT.json and prints every difference. test/parity/fixtures/special_tokens.json is
`OUT.json 60 7`.
"""

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import AutoTokenizer, logging

logging.set_verbosity_error()
BASE = Path(__file__).parents[3] / "test" / "parity" / "fixtures" / "tokenizer" / "llama"
NAMES = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "image_token", "tool_token"]
# Tokens of the list, pieces of the vocabulary, and texts that neither has.
CONTENTS = ["<s>", "</s>", "<unk>", "n", "▁the", "zzz", "<img>", "<|call|>", " b"]
TEXTS = ["a zzz b", "<s>n</s> the <img>x<|call|> b", "the end zzz"]


def described(rng, content):
    """A token as a string or as an object."""
    if rng.random() < 0.6:
        return content
    flags = {name: rng.random() < 0.3 for name in ("lstrip", "rstrip", "normalized", "single_word")}
    return {"__type": "AddedToken", "content": content, **flags}


def some(rng, most):
    return rng.sample(CONTENTS, rng.randint(0, most))


def extra(rng):
    if rng.random() < 0.2:
        return {name: content for name, content in zip(("image_token", "boi_token"), some(rng, 2))}
    return [described(rng, content) for content in some(rng, 3)]


def named(rng):
    chosen = {name: described(rng, rng.choice(CONTENTS)) for name in rng.sample(NAMES, rng.randint(0, 3))}
    for name in ("additional_special_tokens", "extra_special_tokens"):
        if rng.random() < 0.3:
            chosen[name] = extra(rng)
    if isinstance(chosen.get("additional_special_tokens"), dict):
        del chosen["additional_special_tokens"]
    return chosen


def case(rng, base):
    """The files of a tokenizer; null where there is none."""
    added = list(base["added_tokens"])
    size = 700
    for content in rng.sample(["zzz", "<img>", "<|call|>"], rng.randint(0, 2)):
        added.append({"id": size, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": rng.random() < 0.5})
        size += 1
    config = {"tokenizer_class": rng.choice(["PreTrainedTokenizerFast", "LlamaTokenizer"]), "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **named(rng)}
    if rng.random() < 0.3:
        config["added_tokens_decoder"] = {
            str(token["id"]): {name: value for name, value in token.items() if name != "id"} for token in added
        }
    beside = {content: size + at for at, content in enumerate(some(rng, 2))} if rng.random() < 0.4 else None
    return {"added": added, "config": config, "map": named(rng) if rng.random() < 0.5 else None, "beside": beside}


def is_ambiguous(files):
    """Whether one text is described in two ways: what transformers makes of it goes by which Python object it met first."""
    seen = {}
    for document in (files["config"], files["map"] or {}):
        for name, value in document.items():
            if name == "added_tokens_decoder":
                continue
            for token in value.values() if name.endswith("_tokens") and isinstance(value, dict) else value if isinstance(value, list) else [value]:
                content = token["content"] if isinstance(token, dict) else token
                if seen.setdefault(content, token) != token:
                    return True
    return False


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def expected(files, base):
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder / "tokenizer.json", {**base, "added_tokens": files["added"]})
        write(folder / "tokenizer_config.json", files["config"])
        write(folder / "config.json", {"model_type": "llama"})
        if files["map"] is not None:
            write(folder / "special_tokens_map.json", files["map"])
        if files["beside"] is not None:
            write(folder / "added_tokens.json", files["beside"])
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # the kinds differ
            return {"error": f"{type(error).__name__}: {error}"[:200]}
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        skipped = [tokenizer.decode(one, skip_special_tokens=True) for one in ids]
        return {"ids": ids, "skipped": skipped, "size": len(tokenizer), "eos": tokenizer.eos_token_id, "bos": tokenizer.bos_token_id}
    finally:
        shutil.rmtree(folder)


def main(out, count=400, seed=1):
    rng = random.Random(int(seed))
    base = json.loads((BASE / "tokenizer.json").read_text(encoding="utf-8"))
    cases = []
    while len(cases) < int(count):
        files = case(rng, base)
        if is_ambiguous(files):
            continue
        cases.append({"files": files, "expected": expected(files, base)})
    write(Path(out), {"texts": TEXTS, "cases": cases})
    print(f"{len(cases)} cases, {sum('error' in one['expected'] for one in cases)} of them errors")


if __name__ == "__main__":
    main(*sys.argv[1:4])
