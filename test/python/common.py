"""What both directions need: the families' model classes, one-row passes, and the seed's plain adapter module."""

import json
import sys
import warnings
from pathlib import Path

import torch
from adapters import (
    BertAdapterModel, DistilBertAdapterModel, ElectraAdapterModel, GPT2AdapterModel, RobertaAdapterModel,
    ViTAdapterModel, XLMRobertaAdapterModel
)
from torch import nn
from transformers import AutoConfig, logging

logging.set_verbosity_error()
warnings.filterwarnings("ignore")
torch.set_num_threads(1)

CLASSES = {
    "bert": BertAdapterModel, "roberta": RobertaAdapterModel, "xlm-roberta": XLMRobertaAdapterModel,
    "distilbert": DistilBertAdapterModel, "electra": ElectraAdapterModel, "gpt2": GPT2AdapterModel,
    "vit": ViTAdapterModel
}
TOLERANCE = 1e-5


class AdapterLayer(nn.Module):
    """An adapter as people write it by hand; its keys are the plain dialect."""

    def __init__(self, hidden_size, adapter_size):
        super().__init__()
        self.down_project = nn.Linear(hidden_size, adapter_size)
        self.up_project = nn.Linear(adapter_size, hidden_size)

    def forward(self, x):
        return x + self.up_project(torch.relu(self.down_project(x)))


def load_base(folder):
    model_type = AutoConfig.from_pretrained(folder).model_type
    # Where no mask is given, the peer's other attention of GPT-2 hides a row's tokens behind those of a prefix.
    form = {"attn_implementation": "eager"} if model_type == "gpt2" else {}
    return CLASSES[model_type].from_pretrained(folder, dtype=torch.float32, **form).eval()


def logits_of(model, rows):
    """One row at a time, so that nothing is padded; a row of an image model is the numbers of an image."""
    with torch.no_grad():
        return [answer_of(model, row) for row in rows]


def answer_of(model, row):
    """The active head's answer to one row, laid out as head-inputs.mjs has it."""
    kind = model.heads[model.active_head].config["head_type"]
    if kind == "multiple_choice":
        return model(**choices_of(row)).logits[0]
    if kind == "dependency_parsing":
        # Each word's first token, and the end of the last; the second word is of two tokens.
        starts = [token for token in range(1, len(row)) if token != 3 or len(row) == 4]
        count = len(starts) - 1
        out = model(torch.tensor([row]), word_starts=torch.tensor([starts]))
        arcs, kinds = out.arc_preds[0, :count, :count + 1], out.rel_preds[0, :count, :count + 1]
        return torch.cat([arcs.flatten(), kinds.flatten()])
    out = model(**inputs_of(model.config, row))
    return torch.stack([out.start_logits, out.end_logits], -1)[0] if kind == "question_answering" else out.logits[0]


def choices_of(row):
    """A question of two choices, the row and its first half: [1, 2, width]."""
    width, half = len(row), (len(row) + 1) // 2
    return {
        "input_ids": torch.tensor([[row, row[:half] + [0] * (width - half)]]),
        "attention_mask": torch.tensor([[[1] * width, [1] * half + [0] * (width - half)]])
    }


def inputs_of(config, row):
    if config.model_type != "vit":
        return {"input_ids": torch.tensor([row])}
    return {"pixel_values": torch.tensor(row, dtype=torch.float32).view(1, config.num_channels, *config.image_size)}


def difference(ours, theirs):
    """Largest difference over all rows, relative to 1 plus the value."""
    return max(((a - b).abs() / (1 + b.abs())).max().item() for a, b in zip(ours, theirs, strict=True))


def as_lists(rows):
    return [row.tolist() for row in rows]


def read_cases(folder):
    return json.loads((Path(folder) / "cases.json").read_text(encoding="utf-8"))


def finish(failures, count, what):
    if count == 0:
        failures.append("nothing was checked")
    for failure in failures:
        print(f"✗ {failure}")
    print(f"{what}: {count} checked, {len(failures)} failed")
    sys.exit(1 if failures else 0)
