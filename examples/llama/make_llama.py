"""A small Llama that has read WordNet's definitions: weights for an example, in a folder as Hugging Face's.

    python make_llama.py TEXTS TOKENIZER OUT [STEPS]

TEXTS: one text a line. TOKENIZER: a folder. The architecture is transformers' own; a published Llama or Qwen goes the
same way, from its folder or its name on the hub.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

ROWS, COLUMNS = 32, 32
MOST_LINES = 20_000


def main(texts, tokenizer_folder, out, steps=120):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=344, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.sep_token_id)
    model = LlamaForCausalLM(config)
    lines = Path(texts).read_text(encoding="utf8").splitlines()
    order = torch.randperm(len(lines))[:MOST_LINES].tolist()
    ids = torch.tensor([id for row in tokenizer([lines[i] for i in order])["input_ids"] for id in row])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        starts = torch.randint(0, len(ids) - COLUMNS, (ROWS, 1))
        rows = ids[starts + torch.arange(COLUMNS)]
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"  pretraining, step {step + 1} of {steps}: loss {loss.item():.2f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
