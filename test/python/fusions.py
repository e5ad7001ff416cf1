"""Whole setups, Python's half: python fusions.py read FOLDER | python fusions.py write FOLDER MODELS"""

import json
import sys
from pathlib import Path

import torch
from adapters import SeqBnConfig
from adapters.composition import Fuse, Stack

from common import TOLERANCE, as_lists, difference, finish, load_base, logits_of, read_cases

ROWS = [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]]


def read(folder):
    cases, failures = read_cases(folder), []
    for case in cases:
        model = load_base(case["model"])
        safe = case["format"] == "safetensors"
        model.load_adapter_setup(str(folder / case["folder"]), set_active=True, use_safetensors=safe)
        model.active_head = "b"
        worst = difference([torch.tensor(row) for row in case["logits"]], logits_of(model.eval(), case["rows"]))
        if not worst <= TOLERANCE:
            failures.append(f"{case['folder']}: logits differ by {worst:.1e}")
        print(f"{'✗' if worst > TOLERANCE else '✓'} Python loads the setup {case['folder']}: largest difference {worst:.1e}")
    finish(failures, len(cases), "setups written by Node, read by Python")


def write(out, models):
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, setup in {"fuse": Fuse("a", "b"), "named": Stack("c", Fuse("a", "b", name="f"))}.items():
        for safe in (False, True):
            base = models / "bert-tiny"
            model = load_base(base)
            for adapter in ("a", "b", "c"):
                model.add_adapter(adapter, config=SeqBnConfig(reduction_factor=8))
            model.add_adapter_fusion(["a", "b"], "dynamic", name=None if name == "fuse" else "f")
            model.add_classification_head("b", num_labels=3)
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for key, value in model.named_parameters():
                    if any(part in key for part in (".adapters.", "adapter_fusion_layer", "heads.b.")):
                        value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
            model.set_active_adapters(setup)
            model.active_head = "b"
            folder = f"{name}-{'safetensors' if safe else 'bin'}"
            model.save_adapter_setup(str(out / folder), setup, use_safetensors=safe)
            cases.append({"folder": folder, "model": str(base), "logits": as_lists(logits_of(model.eval(), ROWS))})
            print(f"✓ Python wrote the setup {folder}")
    (out / "cases.json").write_text(json.dumps(cases), encoding="utf-8")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*map(Path, sys.argv[2:]))
