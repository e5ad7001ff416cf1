"""Loads what Node wrote: python load_ours.py FOLDER"""

import json
import sys
from pathlib import Path

import torch
from adapters.methods.reft import ReftUnit
from safetensors.torch import load_file

from common import TOLERANCE, AdapterLayer, difference, finish, load_base, logits_of, read_cases


def weights_in(folder):
    """All tensors of a folder, adapter and head."""
    weights = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".safetensors":
            weights.update(load_file(file))
        elif file.suffix in (".bin", ".pt"):
            weights.update(torch.load(file, weights_only=True))
    return weights


def check_keys(model, folder):
    """The peer only logs missing and unexpected keys: every tensor is compared with what it holds after loading."""
    state = model.state_dict()
    owners = (".adapters.a.", ".loras.a.", ".invertible_adapters.a.", ".prefix_tunings.a.", ".prefix_gates.a.", ".refts.a.",
              ".prompt_tunings.a.",
              ".shared_parameters.a.")
    added = {name for name in state if any(owner in f".{name}" for owner in owners) or name.startswith("heads.a.")}
    # A prefix is in every layer once more.
    added = {name for name in added if ".prefix_tuning.pool." not in name}
    words = getattr(model.get_input_embeddings(), "weight", None)
    tied = {name for name in added if words is not None and state[name].data_ptr() == words.data_ptr()}
    weights = weights_in(folder)
    problems = [f"missing key {name}" for name in sorted(added - tied - set(weights))]
    problems += [f"unexpected key {name}" for name in sorted(set(weights) - added)]
    problems += [f"{name} differs" for name in sorted(set(weights) & added) if not torch.equal(weights[name], state[name])]
    return problems


def mend_direft(model, folder):
    """The peer does not read in a folder that it holds a DiReFT."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["config"]
    for unit in model.modules():
        if isinstance(unit, ReftUnit):
            unit.subtract_projection = config.get("subtract_projection", True)


def check_adapterhub(case, folder):
    model = load_base(case["model"])
    safe = case["format"] == "safetensors"
    if case.get("kind") == "head":
        _, name = model.load_head(str(folder), use_safetensors=safe)
        model.active_head = name
    else:
        name = model.load_adapter(str(folder), use_safetensors=safe, set_active=True)
        mend_direft(model, folder)
    problems = check_keys(model, folder) + ([] if name == "a" else [f"it is called {name}"])
    worst = difference([torch.tensor(row) for row in case["logits"]], logits_of(model, case["rows"]))
    if not worst <= TOLERANCE:
        problems.append(f"logits differ by {worst:.1e}")
    return worst, problems


def check_plain(case, folder):
    """Every adapter of the file fits the hand-written module, strictly, and holds the weights of the other folder."""
    twin = weights_in(folder.parent / case["twin"])
    layers = {}
    for key, value in weights_in(folder).items():
        if ".adapters.a." in key:
            place, inner = key.split(".adapters.a.")
            layers.setdefault(place, {})[inner] = value
    problems = [] if layers else ["no adapter in the file"]
    for place, state in layers.items():
        layer = AdapterLayer(*reversed(state["down_project.weight"].shape))
        layer.load_state_dict(state, strict=True)
        pairs = [("down_project", "adapter_down.0"), ("up_project", "adapter_up")]
        for plain, hub in pairs:
            for part in ("weight", "bias"):
                if not torch.equal(state[f"{plain}.{part}"], twin[f"{place}.adapters.a.{hub}.{part}"]):
                    problems.append(f"{place} {plain}.{part} differs")
    return 0.0, problems


def main(folder):
    cases = read_cases(folder)
    failures = []
    for case in cases:
        check = check_plain if case["dialect"] == "plain" else check_adapterhub
        worst, problems = check(case, folder / case["folder"])
        failures += [f"{case['folder']}: {problem}" for problem in problems]
        print(f"{'✗' if problems else '✓'} Python loads {case['folder']}: largest difference {worst:.1e}")
    finish(failures, len(cases), "written by Node, read by Python")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
