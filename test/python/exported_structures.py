"""Python's half of the check of networks of other structures than transformers have: blocks in no list, attention and
feed-forward added one after the other to one stream, convolutions beside attention, modules that run twice, tied
Linears, modules that are called as what holds adapters. Adapters in them are computed by hand, or by PEFT.

exported_structures.py FOLDER          exports the networks, with what they give
exported_structures.py FOLDER check    loads what exported_structures.mjs wrote there into PEFT
"""

import json
import math
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional

root = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "scripts" / "fixtures"), str(root / "scripts" / "export")]
from exported_sites import Bottleneck, insert, insert_at_weight, quantise, quantised  # noqa: E402
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import parse_inputs  # noqa: E402

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.backends.mha.set_fastpath_enabled(False)
folder = Path(sys.argv[1])
VOCABULARY, HIDDEN = 29, 8
OUR_NAMES = ("adapters", "loras", "heads", "refts")
ROWS = [[7, 8, 9, 10, 11], [3, 4, 5]]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))

    def forward(self, x, mask):
        q, k, v = (one(x).unflatten(-1, (2, -1)).transpose(1, 2) for one in (self.q, self.k, self.v))
        y = functional.scaled_dot_product_attention(q, k, v, mask[:, None, None] == 1)
        return self.o(y.transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    """Mixes tokens as LFM2's short convolutions do."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.over = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1, groups=HIDDEN)

    def forward(self, x, mask):
        return self.out(self.over((self.into(x) * mask[..., None]).transpose(1, 2)).transpose(1, 2))


class Layer(nn.Module):
    def __init__(self, mixer=Attention, norms=2):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(norms))
        self.mixer = mixer()
        self.ff = nn.Sequential(nn.Linear(HIDDEN, 12), nn.GELU(), nn.Linear(12, HIDDEN))
        self.sites = {}

    def add(self, r, h, kind):
        """With the adapter that stands at the sum."""
        s = r + h
        return s + self.sites[kind](s) if kind in self.sites else s


class InTurn(Layer):
    def forward(self, x, mask):
        x = self.add(x, self.mixer(self.norms[0](x), mask), "attention")
        return self.add(x, self.ff(self.norms[1](x)), "output")


class AttentionFirst(Layer):
    def forward(self, x, mask):
        y = self.norms[0](x)
        return self.add(self.add(x, self.mixer(y, mask), "attention"), self.ff(y), "output")


class FeedForwardFirst(Layer):
    def forward(self, x, mask):
        y = self.norms[0](x)
        return self.add(self.add(x, self.ff(y), "output"), self.mixer(y, mask), "attention")


class BothMadeBefore(Layer):
    def forward(self, x, mask):
        y = self.norms[0](x)
        attention, ff = self.mixer(y, mask), self.ff(y)
        return self.add(self.add(x, ff, "output"), attention, "attention")


class Net(nn.Module):
    def __init__(self, **layers):
        """In a list, or each by a name of its own."""
        super().__init__()
        self.embed, self.names = nn.Embedding(VOCABULARY, HIDDEN), list(layers)
        for name, layer in layers.items():
            setattr(self, name, nn.ModuleList(layer) if isinstance(layer, list) else layer)

    def places(self):
        """By their paths."""
        found = [(name, getattr(self, name)) for name in self.names]
        return {f"{name}.{i}" if isinstance(one, nn.ModuleList) else name: layer
                for name, one in found for i, layer in enumerate(one if isinstance(one, nn.ModuleList) else [one])}

    def states(self, ids, mask):
        every = [self.embed(ids)]
        for layer in self.places().values():
            every.append(layer(every[-1], mask))
        return every

    def forward(self, input_ids, attention_mask):
        return self.states(input_ids, attention_mask)[-1]


class Twice(nn.Module):
    """PyTorch's attention, called twice with the same weights."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(VOCABULARY, HIDDEN), nn.LayerNorm(HIDDEN)
        self.att = nn.MultiheadAttention(HIDDEN, 2, batch_first=True)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for _ in range(2):
            y = self.norm(x)
            x = x + self.att(y, y, y, key_padding_mask=attention_mask == 0, need_weights=False)[0]
        return x


class Memory(nn.Module):
    """Tokens, each with the mean of all, attend to what the network keeps: no one product makes query, key and value."""

    def __init__(self):
        super().__init__()
        self.embed, self.memory = nn.Embedding(VOCABULARY, HIDDEN), nn.Parameter(torch.empty(3, HIDDEN))
        self.att = nn.MultiheadAttention(HIDDEN, 2, batch_first=True)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None]
        x = self.embed(input_ids)
        x = x + (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        kept = self.memory[None].expand(x.shape[0], -1, -1)
        return (x + self.att(x, kept, kept, need_weights=False)[0]) * mask


class Repeated(Net):
    """The first of its blocks once more, by another name."""

    def __init__(self, *blocks):
        super().__init__(layers=[*blocks, blocks[0]])

    def places(self):
        return {f"layers.{i}": layer for i, layer in enumerate(self.layers[:-1])}

    def states(self, ids, mask):
        every = [self.embed(ids)]
        for layer in self.layers:
            every.append(layer(every[-1], mask))
        return every


class Tied(nn.Module):
    """Two Linears with one weight, and one Linear of another type."""

    def __init__(self):
        super().__init__()
        self.embed, self.first, self.second = nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.second.weight = self.first.weight
        self.wide = nn.Linear(HIDDEN, HIDDEN).double()

    def forward(self, input_ids, attention_mask):
        x = self.second(self.first(self.embed(input_ids)).tanh()) * attention_mask[..., None]
        return x + self.wide(x.double()).float()


SHARED = "one block under two names"
# With adapters at sub-layers; and at Linears.
STRUCTURES = {
    SHARED: lambda: Repeated(InTurn(), InTurn()),
    "a block in no list": lambda: Net(block=InTurn()),
    "two blocks by names": lambda: Net(one=InTurn(), other=InTurn()),
    "attention, then feed-forward of one stream": lambda: Net(layers=[AttentionFirst(norms=1), AttentionFirst(norms=1)]),
    "feed-forward, then attention of one stream": lambda: Net(layers=[FeedForwardFirst(norms=1), FeedForwardFirst(norms=1)]),
    "both of one stream, made before": lambda: Net(layers=[BothMadeBefore(norms=1), BothMadeBefore(norms=1)]),
    "a convolution and attention": lambda: Net(layers=[InTurn(Convolution), InTurn()]),
    **{f"a list called {name}": (lambda name=name: Net(**{name: [InTurn(), InTurn()]})) for name in OUR_NAMES},
}
# By target_modules of PEFT's LoRA; that at PyTorch's attention has a form of its own.
PEFT = {**{f"a list called {name}": ["q", "o", "ff.2"] for name in OUR_NAMES}, "a module called twice": ["att"],
        SHARED: ["q", "o", "ff.2"]}
LINEARS = {
    "a module called twice": (Twice, {"att.out_proj": insert_at_weight}),
    "attention to a memory": (Memory, {"att.out_proj": insert_at_weight}),
    "tied Linears": (Tied, {"first": insert, "second": insert}),
}


class Linears(nn.Module):
    """No token sees another, and nothing tells where rows end."""

    def __init__(self):
        super().__init__()
        self.embed, self.linear = nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

    def forward(self, input_ids):
        return self.linear(self.embed(input_ids))


def batch():
    longest = max(map(len, ROWS))
    return (torch.tensor([row + [0] * (longest - len(row)) for row in ROWS]),
            torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ROWS]))


def real(states, mask):
    return (states * mask[..., None]).flatten().tolist()


def told(states, mask, adapters):
    """With the gradients of a Linear's loss on each row's first token."""
    weight = torch.tensor([[math.cos(i + j) for j in range(HIDDEN)] for i in range(2)])
    functional.cross_entropy(states[:, 0] @ weight.T, torch.arange(len(ROWS)) % 2).backward()
    return {"states": real(states, mask), "weight": weight.flatten().tolist(), "parameters": {
        name: [value.flatten().tolist(), value.grad.flatten().tolist()]
        for place, adapter in adapters.items() for name, value in ((f"{place}.{key}", value)
                                                                   for key, value in adapter.named_parameters())}}


def structure_case(net):
    ids, mask = batch()
    with torch.no_grad():
        every = net.states(ids, mask)
        # A layer that runs again has no number of its own.
        case = {"rows": ROWS, "plain": [real(one, mask) for one in (every[-1:] if isinstance(net, Repeated) else every)]}
    adapters = {}
    for path, layer in net.places().items():
        for kind in ("attention", "output"):
            layer.sites[kind] = adapters[f"{path}.{kind}"] = Bottleneck(f"{path} {kind}", HIDDEN)
    case.update(told(net(ids, mask), mask, adapters))
    for layer in net.places().values():
        layer.sites.clear()
    return case


def linears_case(net, places):
    ids, mask = batch()
    with torch.no_grad():
        case = {"rows": ROWS, "plain": [real(net(ids, mask), mask)], "targets": list(places)}
    made = {path: put(net, "lora", path, *([HIDDEN] if put is insert else [])) for path, put in places.items()}
    case.update(told(net(ids, mask), mask, {path: adapter for path, (adapter, _) in made.items()}))
    for _, remove in made.values():
        remove()
    return case


def peft_case(net, targets, name):
    """A folder of PEFT's, and what the network gives with it. PEFT changes the network."""
    ids, mask = batch()
    wrapped = get_peft_model(net, LoraConfig(r=2, lora_alpha=6, target_modules=targets, init_lora_weights=False))
    with torch.no_grad():
        for key, value in wrapped.named_parameters():
            if "lora_" in key:
                value.copy_(quantised(key, value.shape, 0.25))
        wrapped.save_pretrained(folder / name)
        return {"folder": name, "states": real(wrapped(ids, mask), mask)}


def make(kind):
    torch.manual_seed(0)
    net = kind().eval()
    for parameter in quantise(net).parameters():
        parameter.requires_grad_(False)
    return net


def main():
    folder.mkdir(parents=True, exist_ok=True)
    ids, mask = f"input_ids=int64[batch,sequence]<{VOCABULARY}", "attention_mask=int64[batch,sequence]"
    inputs, cases = parse_inputs([f"{ids},{mask}"]), {}

    def export(name, net, case):
        cases[name] = {**case, "archive": f"{len(cases)}.pt2"}
        write(net, inputs, folder / cases[name]["archive"])

    for name, kind in STRUCTURES.items():
        net = make(kind)
        export(name, net, structure_case(net))
    for name, (kind, places) in LINEARS.items():
        net = make(kind)
        export(name, net, linears_case(net, places))
    kinds = {**STRUCTURES, **{name: kind for name, (kind, _) in LINEARS.items()}}
    for name, targets in PEFT.items():
        cases[name]["peft"] = peft_case(make(kinds[name]), targets, name.replace(" ", "-"))
    net = make(Linears)
    write(net, parse_inputs([ids]), folder / "linears.pt2")
    first = [net(torch.tensor([row]))[0, 0].tolist() for row in ROWS]
    (folder / "cases.json").write_text(json.dumps({"cases": cases, "linears": {"rows": ROWS, "first": first}}))


def check():
    told = json.loads((folder / "ours" / "answers.json").read_text())
    ids, mask = batch()
    for name, one in told.items():
        model = PeftModel.from_pretrained(make(LINEARS[one["network"]][0]), folder / "ours" / name)
        with torch.no_grad():
            away = (torch.tensor(real(model(ids, mask), mask)) - torch.tensor(one["answers"])).abs().max().item()
        assert away < 1e-5, f"{name} is off by {away}"
        print(f"PEFT answers with LoRA of Node's at {name} of an nn.MultiheadAttention as Node does ({away:.1e})")


check() if sys.argv[2:] == ["check"] else main()
