"""Whole setups, Python's half: python fusions.py read FOLDER | python fusions.py write FOLDER MODELS"""

import json
import sys
from pathlib import Path

import torch
from adapters import LoRAConfig, SeqBnConfig
from adapters.composition import Average, BatchSplit, Fuse, Parallel, Split, Stack

from common import TOLERANCE, as_lists, difference, finish, load_base, read_cases

UNEVEN = [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]]
EVEN = [[first + 3 * i for i in range(8)] for first in (7, 20, 60)]
# setup, head_setup, rows, whether they are one batch
SETUPS = {
    "fuse": (Fuse("a", "b"), "both", UNEVEN, False),
    "named": (Stack("c", Fuse("a", "b", name="f")), "both", UNEVEN, False),
    "list-of-one": (Stack("c", Fuse("a", "b", name="f")), ["both"], UNEVEN, False),
    "split": (Split("a", "b", splits=[3, 5]), "b", EVEN, False),
    "batch-split": (BatchSplit("a", "b", batch_sizes=[1, 2]), BatchSplit("a", "b", batch_sizes=[1, 2]), EVEN, True),
    "average-lora": (Average("a", "b", weights=[2, -0.5], normalize_weights=False), "b", UNEVEN, False),
    "average": (Average("a", "b", weights=[0.25, 0.75]), "both", UNEVEN, False),
    "parallel": (Parallel("a", "b"), ["a", "b"], UNEVEN, False),
    "parallel-block": (Parallel("a", "b"), Parallel("a", "b"), UNEVEN, False),
    "parallel-other-heads": (Parallel("a", "b"), ["both", "b"], UNEVEN, False),
    "batch-split-other-heads": (
        BatchSplit("a", "b", batch_sizes=[1, 2]), BatchSplit("b", "both", batch_sizes=[1, 2]), EVEN, True
    )
}


def logits_of(model, setup, head, rows, is_batch):
    """What weights its children and then takes their mean gives what the weights say where each is as many times itself."""
    if isinstance(setup, Average):
        setup = Average(*setup.children, weights=[len(setup) * weight for weight in setup.weights],
                        normalize_weights=False)
    model.set_active_adapters(setup)
    model.active_head = head
    with torch.no_grad():
        outputs = [model(torch.tensor(batch)) for batch in ([rows] if is_batch else [[row] for row in rows])]
    # Of several heads one after the other.
    return [torch.cat([one.logits.flatten() for one in (out if "head_outputs" in out else [out])]) for out in outputs]


def read(folder):
    cases, failures = read_cases(folder), []
    for case in cases:
        model = load_base(case["model"])
        safe = case["format"] == "safetensors"
        if case.get("isRefused"):
            try:
                model.load_adapter_setup(str(folder / case["folder"]), set_active=True, use_safetensors=safe)
                failures.append(f"{case['folder']}: Python takes it, and Node warned of it")
            except (AttributeError, ValueError) as error:
                print(f"✓ Python refuses the setup {case['folder']}: {error}")
            continue
        model.load_adapter_setup(str(folder / case["folder"]), set_active=True, use_safetensors=safe)
        got = logits_of(model.eval(), model.active_adapters, model.active_head, case["rows"], case["isBatch"])
        worst = difference([torch.tensor(row) for row in case["logits"]], got)
        if not worst <= TOLERANCE:
            failures.append(f"{case['folder']}: logits differ by {worst:.1e}")
        print(f"{'✗' if worst > TOLERANCE else '✓'} Python loads the setup {case['folder']}: largest difference {worst:.1e}")
    finish(failures, len(cases), "setups written by Node, read by Python")


def write(out, models):
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, (setup, head, rows, is_batch) in SETUPS.items():
        for safe in (False, True):
            base = models / "bert-tiny"
            model = load_base(base)
            for adapter in ("a", "b", "c"):
                model.add_adapter(adapter, config=LoRAConfig(r=2) if "lora" in name else SeqBnConfig(reduction_factor=8))
            if "lora" not in name:
                model.add_adapter_fusion(["a", "b"], "dynamic", name="f" if name in ("named", "list-of-one") else None)
            for one in ("a", "b", "both"):
                model.add_classification_head(one, num_labels=3)
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for key, value in model.named_parameters():
                    if any(part in key for part in (".adapters.", ".loras.", "adapter_fusion_layer", "heads.")):
                        value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
            folder = f"{name}-{'safetensors' if safe else 'bin'}"
            model.save_adapter_setup(str(out / folder), setup, head_setup=head, use_safetensors=safe)
            logits = as_lists(logits_of(model.eval(), setup, head, rows, is_batch))
            cases.append({"folder": folder, "model": str(base), "rows": rows, "isBatch": is_batch, "logits": logits})
            print(f"✓ Python wrote the setup {folder}")
    (out / "cases.json").write_text(json.dumps(cases), encoding="utf-8")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*map(Path, sys.argv[2:]))
