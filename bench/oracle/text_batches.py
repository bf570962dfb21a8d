#!/usr/bin/env python3
"""Token ids of real text, for the other scripts here and for the runs compared with them.

  python text_batches.py --model FOLDER --text FILE --ids ids.json --batches batches.jsonl

Sequences are random stretches of the text, tokenized with the model's tokenizer.json, each after a BOS. --ids gets ten sequences of 1 to
512 tokens; --batches gets --steps lines of {"micro": [micro-batch, ...]} with --accumulation micro-batches of unequal numbers of supervised
tokens. For a model without tokenizer.json the ids are the text's bytes, shifted past the first three ids and folded into its vocabulary.
"""
import argparse
import json
import random
from pathlib import Path

from transformers import AutoConfig, PreTrainedTokenizerFast

import reference

LENGTHS = (512, 1, 2, 3, 17, 64, 65, 200, 333, 511)


def token_stream(model, text):
    """All of the text's ids, and the BOS id."""
    config = AutoConfig.from_pretrained(model)
    tokenizer = Path(model) / "tokenizer.json"
    if tokenizer.exists():
        fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer))
        return fast.encode(text, add_special_tokens=False), config.bos_token_id
    return [3 + byte % (config.vocab_size - 3) for byte in text.encode()], config.bos_token_id


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--ids")
    parser.add_argument("--batches")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--accumulation", type=int, default=3)
    parser.add_argument("--longest", type=int, default=96, help="tokens of the longest sequence of a batch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    stream, bos = token_stream(options.model, Path(options.text).read_text()[: 2 << 20])

    def sequence(length):
        start = draw.randrange(len(stream) - length)
        return [bos] + stream[start : start + length - 1]

    def micro():
        sequences = [sequence(draw.randint(2, options.longest)) for _ in range(draw.randint(1, 5))]
        targets = []
        for ids in sequences:
            prompt = draw.randrange(len(ids) - 1)  # its targets have no loss, like a prompt's
            targets.append([-1 if i < prompt else token for i, token in enumerate(ids[1:])] + [-1])
        return reference.micro_batch(sequences, targets)

    if options.ids:
        Path(options.ids).write_text(json.dumps([sequence(length) for length in LENGTHS]) + "\n")
    if options.batches:
        lines = [{"micro": [micro() for _ in range(options.accumulation)]} for _ in range(options.steps)]
        Path(options.batches).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
