"""Whole models, Python's half: python whole.py read FOLDER | write FOLDER MODELS | again FOLDER

What Node wrote is loaded with from_pretrained, where every key must be used and none may be missing.
"""

import json
import re
import sys
from pathlib import Path

import torch
import transformers
from adapters import AutoAdapterModel, SeqBnConfig
from adapters.composition import Fuse, Stack
from safetensors.torch import load_file, load_model

from common import TOLERANCE, answer_of, choices_of, finish, load_base

ROW = [60, 61, 62, 63, 64, 5, 6, 98]
CLASSES = ("BertForQuestionAnswering", "BertForMultipleChoice", "BertForSequenceClassification",
           "ElectraForMultipleChoice", "DistilBertForQuestionAnswering", "RobertaForTokenClassification",
           "BertForMaskedLM", "RobertaForMaskedLM", "XLMRobertaForMaskedLM", "ElectraForMaskedLM",
           "DistilBertForMaskedLM", "GPT2LMHeadModel")
# Those with words have them tied or not.
CLASSES += tuple(f"{name}-untied" for name in CLASSES if re.search("MaskedLM|LMHead", name))
FOLDERS = {"xlmroberta": "xlm-roberta"}
EAGER = {"attn_implementation": "eager"}
# Pickled files name a decoder's bias twice; small shards spread a head over several files.
FORMS = {"": {}, "-bin": {"safe_serialization": False}, "-sharded": {"max_shard_size": 6000}}


def answer(model, head, row):
    model.active_head = head
    return answer_of(model, row).flatten()


def flat(out):
    if "start_logits" in out:
        return torch.stack([out.start_logits, out.end_logits], -1).flatten()
    return out.logits.flatten()


def difference(ours, theirs):
    """Relative to the largest: a parser's scores are sums of many products that cancel."""
    return ((ours - theirs).abs().max() / (1 + theirs.abs().max())).item()


# Their setup is not in the folder for Python.
SETUPS = {"": Stack("i", "p", "l", Fuse("a", "b")), "gpt2": "l"}


def read(folder):
    failures, count = [], 0
    for part, setup in SETUPS.items():
        case = json.loads((folder / part / "cases.json").read_text(encoding="utf-8"))
        model, info = AutoAdapterModel.from_pretrained(folder / part / "model", output_loading_info=True, **EAGER)
        if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
            failures.append(f"{part} keys: {info}")
        model.set_active_adapters(setup)
        row = [min(token, model.config.vocab_size - 1) for token in case["row"]]
        with torch.no_grad():
            for head, logits in case["logits"].items():
                worst = difference(answer(model.eval(), head, row), torch.tensor(logits))
                if not worst <= TOLERANCE:
                    failures.append(f"{part} {head}: logits differ by {worst:.1e}")
                print(f"{'✗' if worst > TOLERANCE else '✓'} Python loads the whole model {part}, head {head}: "
                      f"largest difference {worst:.1e}")
                count += 1
    finish(failures, count, "whole models written by Node, read by Python")


OWN = (".adapters.", ".loras.", "heads.", "qa_outputs", "classifier", "summary", "predictions", "lm_head", "vocab_")


def randomise(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if any(part in key for part in OWN):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)


def whole(model, setup, folder, **options):
    randomise(model)
    model.save_pretrained(folder, **options)
    model.set_active_adapters(setup)
    row = [min(token, model.config.vocab_size - 1) for token in ROW]
    with torch.no_grad():
        logits = {head: answer(model.eval(), head, row).tolist() for head in list(model.heads)}
    return {"setup": list(setup.children), "logits": logits}


def write(out, models):
    out.mkdir(parents=True, exist_ok=True)
    model = load_base(models / "bert-tiny")
    for name in list(model.heads):
        model.delete_head(name)
    model.add_adapter("a", config=SeqBnConfig(reduction_factor=8))
    model.add_adapter("l", config="lora")
    model.add_classification_head("class", num_labels=3)
    model.add_qa_head("answer")
    model.add_multiple_choice_head("choice")
    model.add_dependency_parsing_head("parse", num_labels=3)
    model.add_masked_lm_head("words")
    model.add_adapter("b", config=SeqBnConfig(reduction_factor=8))
    model.add_adapter_fusion(["a", "b"])
    gpt2 = load_base(models / "gpt2-tiny")
    for name in list(gpt2.heads):
        gpt2.delete_head(name)
    gpt2.add_adapter("l", config="lora")
    gpt2.add_causal_lm_head("words")
    gpt2.add_classification_head("class", num_labels=3)
    wholes = {
        "model": whole(model, Stack("a", "l"), out / "model"),
        # Adapters, heads and the fusion lie in many files, and one of them in several.
        "model-sharded": whole(model, Stack("a", "l"), out / "model-sharded", max_shard_size=3000),
        "gpt2": whole(gpt2, Stack("l"), out / "gpt2")
    }
    classes = {}
    for name in CLASSES:
        family = re.split("For|LMHead", name)[0].lower()
        tied = {"tie_word_embeddings": False} if name.endswith("-untied") else {}
        own = getattr(transformers, name.removesuffix("-untied")).from_pretrained(
            models / f"{FOLDERS.get(family, family)}-tiny", **tied).eval()
        randomise(own)
        row = [min(token, own.config.vocab_size - 1) for token in ROW]
        with torch.no_grad():
            inputs = choices_of(row) if "MultipleChoice" in name else {"input_ids": torch.tensor([row])}
            logits_of_class = flat(own(**inputs)).tolist()
        for form, options in FORMS.items():
            own.save_pretrained(out / f"{name}{form}", **options)
            classes[f"{name}{form}"] = logits_of_class
    (out / "cases.json").write_text(json.dumps({"wholes": wholes, "classes": classes}), encoding="utf-8")
    print("✓ Python wrote whole models and one of each class")


def names_saved(model, folder):
    """What transformers itself writes of it: of tied tensors one."""
    model.save_pretrained(folder)
    return set(load_file(folder / "model.safetensors"))


def again(folder):
    """Classes that Node wrote back: exactly the names of save_pretrained, or in PyTorch's format those of the state dict,
    strictly loaded, and every value as it was."""
    failures, folders = [], sorted((folder / "again").iterdir())
    for written in folders:
        own = json.loads((written / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        first, model = (getattr(transformers, own).from_pretrained(source) for source in (folder / written.name, written))
        expected, weights = first.state_dict(), written / "model.safetensors"
        if set(load_file(weights)) != names_saved(first, folder / "saved" / written.name):
            failures.append(f"{written.name}: other names than those of save_pretrained")
        load_model(model, weights, strict=True)
        whole = torch.load(folder / "again-bin" / written.name / "pytorch_model.bin", weights_only=True)
        other, info = getattr(transformers, own).from_pretrained(folder / "again-bin" / written.name, output_loading_info=True)
        if any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
            failures.append(f"{written.name}: {info}")
        other.load_state_dict(whole, strict=True)
        shared = lambda state: len({value.data_ptr() for value in state.values()})  # noqa: E731
        if shared(whole) != shared(expected):
            failures.append(f"{written.name}: other tensors are one")
        for got in (model.state_dict(), other.state_dict(), whole):
            if not all(torch.equal(value, got[key]) for key, value in expected.items()):
                failures.append(f"{written.name}: other values")
        print(f"✓ Python loads the {own} that Node wrote back, with strict=True")
    finish(failures, len(folders), "classes written back by Node, read by Python")


if __name__ == "__main__":
    {"read": read, "write": write, "again": again}[sys.argv[1]](*map(Path, sys.argv[2:]))
