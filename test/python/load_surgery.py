"""The same surgery in PyTorch, on Hugging Face's own classes with the document's own modules, then Node's weights with
strict=True, then the same hidden states.

    python load_surgery.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn as nn
import transformers
from safetensors.torch import load_file, load_model
from transformers import AutoConfig, AutoModel

from common import TOLERANCE

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "fixtures"))
from seed_text import (  # noqa: E402
    AdapterFusion, AdapterLayer, DynamicAdapter, HierarchicalAdapter, MultiTaskAdapterModel
)


class Sequential(nn.Sequential):
    """nn.Sequential where the first module is one of Hugging Face's, which take a mask and may give tuples."""

    def forward(self, x, *args, **kwargs):
        for place, module in enumerate(self):
            whole = isinstance(x, tuple)
            first = x[0] if whole else x
            out = module(first, *args, **kwargs) if place == 0 else module(first)
            x = (out, *x[1:]) if whole else out
        return x


class FusedAdapters(nn.Module):
    def __init__(self, hidden_size, adapters):
        super().__init__()
        self.adapters = nn.ModuleDict(adapters)
        self.fusion = AdapterFusion(list(adapters), hidden_size)

    def forward(self, x):
        rows = x.flatten(0, 1)
        outputs = [adapter(x).flatten(0, 1) for adapter in self.adapters.values()]
        return self.fusion(rows, outputs).view(x.shape)


class Surgeon:
    def __init__(self, model, bare):
        self.model, self.made, self.bare = model, [], bare

    def path(self, path):
        """The bare model has no prefix."""
        return path.split(".", 1)[1] if self.bare else path

    def build(self, module):
        if "shared" in module:
            return self.made[module["shared"]]
        if module["kind"] == "module":
            return self.model.get_submodule(self.path(module["path"]))
        made = self.new(module)
        self.made.append(made)
        return made

    def new(self, module):
        kind = module["kind"]
        if kind == "sequential":
            return Sequential(*[self.build(part) for part in module["modules"]])
        hidden = module["hidden_size"]
        if kind == "adapter_layer":
            return AdapterLayer(hidden, module["adapter_size"], module["activation"])
        if kind == "hierarchical":
            return HierarchicalAdapter(hidden, module["adapter_sizes"])
        if kind == "dynamic":
            return DynamicAdapter(hidden, module["max_adapter_size"])
        assert kind == "fused" and module["num_heads"] == 8
        return FusedAdapters(hidden, {name: self.build(part) for name, part in module["adapters"].items()})

    def operate(self, operations):
        for operation in operations:
            built = [(self.path(one["path"]), self.build(one["with"])) for one in operation["replace"]]
            for path, module in built:
                parent, name = path.rsplit(".", 1)
                setattr(self.model.get_submodule(parent), name, module)


def check(folder, case):
    """Node's files, its state dict and its folders': exactly the names that are here, and loaded with strict=True."""
    name = case.get("modelClass")
    source = case["model"] if name is None else folder
    files = [folder / "model.safetensors", folder / "state.safetensors", folder / "bin" / "pytorch_model.bin"]
    return max(check_file(folder, file, case, name, source) for file in files)


def check_file(folder, file, case, name, source):
    config = AutoConfig.from_pretrained(source)
    torch.manual_seed(0)
    model = (AutoModel if name is None else getattr(transformers, name)).from_pretrained(case["model"], config=config)
    operations = json.loads((folder / "surgery.json").read_text())["operations"]
    Surgeon(model, name is None).operate(operations)
    weights = torch.load(file, weights_only=True) if file.suffix == ".bin" else load_file(file)
    names = set(model.state_dict())
    # The four of the shared adapter, and what the class ties: decoder and embedding, and the decoder's two biases.
    once = {"shared": 4, "bert-words": 6, "gpt2-words": 1}.get(folder.name, 0)
    if file.name == "model.safetensors" and once > 0:
        assert len(weights) == len(names) - once, "what is shared is in the file more than once"
        load_model(model, file, strict=True)
    else:
        assert set(weights) == names, set(weights) ^ names
        model.load_state_dict(weights, strict=True)
    model.eval()
    return worst_of(model, case["rows"], case["hidden"],
                    lambda ids: model(input_ids=ids)["last_hidden_state" if name is None else "logits"])


def worst_of(model, rows, hidden, run):
    errors = []
    for row, expected in zip(rows, hidden, strict=True):
        with torch.no_grad():
            got = run(torch.tensor([row])).flatten()
        wanted = torch.tensor(expected)
        assert got.shape == wanted.shape
        errors.append(((got - wanted).abs() / (1 + wanted.abs())).max())
    return torch.stack(errors).max().item()  # not a number where one of them is


class Encoder(nn.Module):
    """A base model as the document has it: ids to a tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids).last_hidden_state


def check_tasks(folder, case):
    """The document's multi-task model with Node's adapters, strictly; a task without one gives the base output."""
    configs = {task: {"hidden_size": 32, "adapter_size": size} for task, size in case["sizes"].items()}
    model = MultiTaskAdapterModel(Encoder(AutoModel.from_pretrained(case["model"])), configs)
    weights = {key: value for key, value in model.state_dict().items() if key.startswith("base_model.")}
    for task in configs:
        model.adapters[task].activation = nn.GELU() if task == "qqp" else nn.ReLU()
        weights.update(load_file(folder / task / "adapter.safetensors"))
    model.load_state_dict(weights, strict=True)
    model.eval()
    return max(
        worst_of(model, case["rows"], hidden, lambda ids, task=task: model(ids, task))
        for task, hidden in case["hidden"].items()
    )


def main(out):
    cases = json.loads((out / "cases.json").read_text(encoding="utf-8"))
    surgeries = cases["surgeries"]
    results = {f"does the surgery {case['folder']}": check(out / case["folder"], case) for case in surgeries}
    results["loads the adapters of two tasks"] = check_tasks(out / "tasks", cases["tasks"])
    failed = 0
    for what, worst in results.items():
        fine = worst <= TOLERANCE
        failed += not fine
        print(f"{'✓' if fine else '✗'} Python {what}: largest difference {worst:.1e}")
    print(f"surgery by Node, loaded with strict=True: {len(results)} checked, {failed} failed")
    return 1 if failed or not surgeries else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
