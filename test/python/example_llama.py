"""The example's end in Python: peft loads what Node trained on the exported Llama; the logits must be Node's.

    python example_llama.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

torch.set_num_threads(1)
folder = Path(sys.argv[1])
answers = json.loads((folder / "answers.json").read_text())
tokenizer = AutoTokenizer.from_pretrained(folder / "model")
model = PeftModel.from_pretrained(AutoModel.from_pretrained(folder / "model"), folder / "adapter").eval()
head = {}
for file in (folder / "head").glob("*.safetensors"):
    head.update(load_file(file))
# Two layers with tanh between: heads.kinds.1 and heads.kinds.4.
(first, first_bias), (last, last_bias) = (
    [head[f"heads.kinds.{index}.{part}"] for part in ("weight", "bias")] for index in (1, 4))

apart = 0.0
with torch.no_grad():
    for answer in answers:
        # A decoder's head reads the last token.
        states = model(**tokenizer(answer["text"], return_tensors="pt", return_token_type_ids=False)).last_hidden_state
        logits = last @ torch.tanh(first @ states[0, -1] + first_bias) + last_bias
        apart = max(apart, (logits - torch.tensor(answer["logits"])).abs().max().item())
assert answers and apart < 1e-4, f"the logits of Python and Node differ by {apart}"
print(f"✓ the example's LoRA on an exported Llama answers in Python as in Node ({apart:.1e})")
