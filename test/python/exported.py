"""PEFT's half of the check of exported networks: loads Node's folder on the same Llama, and saves one of its own.

exported.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "fixtures"))
from exported_models import SPECS  # noqa: E402
from exported_sites import quantise  # noqa: E402
from seeded import normal  # noqa: E402

torch.set_num_threads(1)
folder = Path(sys.argv[1])
ours = json.loads((folder / "ours.json").read_text())


def base():
    torch.manual_seed(0)
    return quantise(SPECS["llama"].make().eval())


def states(model):
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).last_hidden_state.flatten() for row in ours["rows"]]


model = PeftModel.from_pretrained(base(), folder / "ours").eval()
apart = max((got - torch.tensor(wanted)).abs().max().item() for got, wanted in zip(states(model), ours["states"]))
assert apart < 1e-5, f"Node's LoRA is off by {apart}"
print(f"PEFT answers with a LoRA of Node's on an exported Llama as Node does ({apart:.1e})")

theirs = get_peft_model(base(), LoraConfig(r=3, lora_alpha=5, target_modules=["k_proj", "v_proj", "down_proj"])).eval()
with torch.no_grad():
    for name, value in theirs.named_parameters():
        if "lora_" in name:
            value.copy_(normal(name, tuple(value.shape), 0.2))
theirs.save_pretrained(folder / "theirs")
(folder / "theirs.json").write_text(json.dumps({"states": [state.tolist() for state in states(theirs)]}))
