"""Writes the benchmark's models: BERT of a given size with weights N(0, 0.02), and adapters of several
methods, each with its head.

    python peer_models.py FOLDER JSON      JSON: the config's fields and the adapter's reduction_factor
"""

import json
import sys
from pathlib import Path

import torch
from adapters import AdapterConfig, BertAdapterModel, LoRAConfig, SeqBnConfig
from transformers import BertConfig


def main(folder, spec):
    torch.manual_seed(0)
    reduction_factor = spec.pop("reduction_factor")
    config = BertConfig(**spec, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = BertAdapterModel(config)
    model.add_adapter("bench", config=SeqBnConfig(reduction_factor=reduction_factor))
    model.add_adapter("lora", config=LoRAConfig(r=8, alpha=16))
    presets = ("ia3", "dora", "par_bn", "mam", "unipelt", "compacter", "loreft")
    # Compacter's bottleneck has four parts at least, in a narrow model, too.
    own = {"compacter": {"reduction_factor": min(32, config.hidden_size // 4)}}
    for name in presets:
        model.add_adapter(name, config=AdapterConfig.load(name, **own.get(name, {})))
    folders = {"bench": "adapter", "lora": "lora"} | {name: name for name in presets}
    for name in folders:
        model.add_classification_head(name, num_labels=2)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # An orthogonal matrix keeps its signs on the diagonal of what it is made of.
            if "LayerNorm" not in name and "parametrizations" not in name:
                value.normal_(0.0, 0.02)
    model.config.name_or_path = model.base_model.config.name_or_path = folder.name
    for name, target in folders.items():
        # Prefixes stand in every layer as one tensor, which safetensors does not take.
        model.save_adapter(str(folder / target), name, use_safetensors=name not in ("mam", "unipelt"))
        model.base_model.delete_adapter(name)
    model.base_model.config.architectures = ["BertModel"]
    model.base_model.save_pretrained(folder / "model")
    # The folder is the base alone: what adapters notes in the config belongs to nobody here.
    path = folder / "model" / "config.json"
    fields = json.loads(path.read_text())
    for extra in ("adapters", "prediction_heads", "custom_heads"):
        fields.pop(extra, None)
    path.write_text(json.dumps(fields, indent=2) + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    main(target, json.loads(sys.argv[2]))
