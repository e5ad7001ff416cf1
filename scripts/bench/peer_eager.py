"""The other side of the row `exported`: the model that was exported, in eager PyTorch, with the adapters put in by surgery.

What somebody writes who has no library for adapters: nothing stands between PyTorch and the model but the adapters' own
operators, so it is faster than the adapters library.
"""

from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from transformers import BertModel


class AdaptedOutput(torch.nn.Module):
    """BertOutput with a bottleneck as adapters' SeqBnConfig places it: LN(h + up(relu(down(LN(h + r)))) + r)."""

    def __init__(self, output, size):
        super().__init__()
        hidden = output.dense.out_features
        self.dense, self.LayerNorm, self.dropout = output.dense, output.LayerNorm, output.dropout
        self.down, self.up = torch.nn.Linear(hidden, size), torch.nn.Linear(size, hidden)

    def forward(self, hidden_states, input_tensor):
        h = self.dropout(self.dense(hidden_states))
        adapted = self.up(torch.relu(self.down(self.LayerNorm(h + input_tensor))))
        return self.LayerNorm(adapted + h + input_tensor)


class EagerTagger(torch.nn.Module):
    def __init__(self, model, adapter):
        super().__init__()
        self.bert = BertModel.from_pretrained(model, add_pooling_layer=False, attn_implementation="sdpa")
        self.requires_grad_(False)
        tensors = {}
        for file in Path(adapter).glob("*.safetensors"):
            tensors.update(load_file(file))
        for index, layer in enumerate(self.bert.encoder.layer):
            own = {key.partition(f".layer.{index}.output.adapters.bench.")[2]: value for key, value in tensors.items()}
            layer.output = AdaptedOutput(layer.output, own["adapter_down.0.weight"].shape[0])
            layer.output.down.load_state_dict({key: own[f"adapter_down.0.{key}"] for key in ("weight", "bias")})
            layer.output.up.load_state_dict({key: own[f"adapter_up.{key}"] for key in ("weight", "bias")})
        head = {key.rpartition(".")[2]: value for key, value in tensors.items() if key.startswith("heads.bench.")}
        self.head = torch.nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
        self.head.load_state_dict(head)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.head(self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        logits = logits.flatten(0, 1)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels.flatten())
        return SimpleNamespace(logits=logits, loss=loss)
