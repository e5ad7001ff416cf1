"""Python's half of the check of attention that networks write out by hand: with einsum in several orders of axes, on
tensors of three axes, and PyTorch's own nn.MultiheadAttention and its layers. A prefix's answers and gradients are computed by hand from the same
weights, LoRA's at the queries by a hook.

exported_attention.py FOLDER     exports the networks, with what they give
"""

import json
import math
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

root = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "scripts" / "fixtures"), str(root / "scripts" / "export")]
import three_axes  # noqa: E402
from exported_sites import SubLayer, insert, insert_sequential, quantise  # noqa: E402
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import parse_inputs  # noqa: E402

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.backends.mha.set_fastpath_enabled(False)
folder = Path(sys.argv[1])
VOCABULARY, LENGTH, HIDDEN = 37, 3, 8
ROWS = [[7, 8, 9, 10, 11], [3, 4, 5]]
# The scores' product, the softmax's axis, the product of weights and values; where the mask goes in.
ORDERS = {
    "in turn": ("b h i d, b h j d -> b h i j", -1, "bhij,bhjd->bhid"),
    "tokens before heads": ("bqhd,bkhd->bhqk", 3, "bhqk,bkhd->bqhd"),
    "any before": ("...id,...jd->...ij", -1, "...ij,...jz"),
    "keys first": ("bkhd,bqhd->bhqk", -1, "bkhd,bhqk->bqhd"),
    "heads last": ("bqhd,bkhd->bqkh", 2, "bqkh,bkhd->bqhd"),
    "rows second": ("ibnd,jbnd->ijbn", 1, "ijbn,jbnd->ibnd"),
    "rows and heads in one": ("xid,xjd->xij", -1, "xij,xjd->xid"),
    "one head of keys": ("bqhd,bkd->bhqk", -1, "bhqk,bkd->bqhd"),
    "groups": ("bqgnd,bkgd->bgnqk", -1, "bgnqk,bkgd->bqgnd"),
}


class Einsum(nn.Module):
    def __init__(self, name, heads=2):
        super().__init__()
        self.scores, self.dim, self.mix = ORDERS[name]
        self.name, self.heads = name, 4 if name == "groups" else heads
        self.key_heads = {"one head of keys": 1, "groups": 2}.get(name, self.heads)
        self.size = HIDDEN // self.heads
        self.query, self.out = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.key, self.value = (nn.Linear(HIDDEN, self.key_heads * self.size) for _ in range(2))

    def parts(self, x):
        """[rows, tokens, heads, d] of each."""
        return [one(x).view(*x.shape[:2], heads, self.size) for one, heads in (
            (self.query, self.heads), (self.key, self.key_heads), (self.value, self.key_heads))]

    def forward(self, x, mask):
        rows, tokens, _ = x.shape
        query, key, value = self.parts(x)
        hidden = (mask == 0)[:, None, None, :]
        if self.name in ("in turn", "any before", "rows and heads in one"):
            query, key, value = (one.transpose(1, 2) for one in (query, key, value))
        if self.name == "rows and heads in one":
            query, key, value = (one.reshape(rows * self.heads, tokens, self.size) for one in (query, key, value))
            hidden = hidden.expand(rows, self.heads, 1, tokens).reshape(rows * self.heads, 1, tokens)
        if self.name == "rows second":
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
            hidden = (mask == 0).t()[None, :, :, None]
        if self.name == "heads last":
            hidden = (mask == 0)[:, None, :, None]
        if self.name == "one head of keys":
            key, value = key[:, :, 0], value[:, :, 0]
        if self.name == "groups":
            query = query.view(rows, tokens, 2, 2, self.size)
            hidden = hidden[:, None]
        # The keys are scaled in one of them, the scores in the others.
        scale = self.size ** -0.5
        if self.name == "in turn":
            key, scale = key * scale, 1.0
        factors = (key, query) if self.name == "keys first" else (query, key)
        scores = torch.einsum(self.scores, *factors) * scale
        weights = functional.dropout(scores.masked_fill(hidden, -1e9).softmax(self.dim), 0.1, self.training)
        y = torch.einsum(self.mix, weights, value) if self.name != "keys first" else torch.einsum(self.mix, value, weights)
        if self.name == "rows and heads in one":
            y = y.view(rows, self.heads, tokens, self.size)
        if self.name in ("in turn", "any before", "rows and heads in one"):
            y = y.transpose(1, 2)
        if self.name == "rows second":
            y = y.transpose(0, 1)
        return self.out(y.reshape(rows, tokens, HIDDEN))


class EinsumWeights(nn.Module):
    """Weights with the heads apart."""

    def __init__(self):
        super().__init__()
        self.heads = self.key_heads = 2
        self.size = HIDDEN // 2
        self.w = nn.ParameterList(torch.empty(HIDDEN, 2, HIDDEN // 2) for _ in range(3))
        self.o = nn.Parameter(torch.empty(2, HIDDEN // 2, HIDDEN))

    def parts(self, x):
        return [torch.einsum("bth,hnd->btnd", x, one) for one in self.w]

    def out(self, y):
        return torch.einsum("bqnd,ndh->bqh", y.view(*y.shape[:2], 2, -1), self.o)

    def forward(self, x, mask):
        query, key, value = self.parts(x)
        scores = torch.einsum("bqnd,bknd->bnqk", query, key) / math.sqrt(self.size)
        weights = scores.masked_fill((mask == 0)[:, None, None, :], -1e9).softmax(-1)
        return self.out(torch.einsum("bnqk,bknd->bqnd", weights, value).flatten(2))


class Multihead(nn.Module):
    """`needs`: its weights, averaged over heads or not, which is attention written out in baddbmm and bmm."""

    def __init__(self, needs=True, average=True, rows_first=True):
        super().__init__()
        self.heads = self.key_heads = 2
        self.own = nn.MultiheadAttention(HIDDEN, 2, 0.1, batch_first=rows_first)
        self.needs, self.average, self.rows_first = needs, average, rows_first

    def parts(self, x):
        parts = functional.linear(x, self.own.in_proj_weight, self.own.in_proj_bias).chunk(3, -1)
        return [one.view(*x.shape[:2], 2, -1) for one in parts]

    def out(self, y):
        return self.own.out_proj(y)

    def forward(self, x, mask):
        x = x if self.rows_first else x.transpose(0, 1)
        y, weights = self.own(x, x, x, key_padding_mask=mask == 0, need_weights=self.needs, average_attn_weights=self.average)
        return (y if self.rows_first else y.transpose(0, 1)), weights


class Layer(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(HIDDEN), attention
        self.norm2, self.up, self.down = nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, 12), nn.Linear(12, HIDDEN)

    def forward(self, x, mask):
        y = self.attention(self.norm1(x), mask)
        x = x + (y[0] if isinstance(y, tuple) else y)
        return x + self.down(functional.gelu(self.up(self.norm2(x)))), y[1] if isinstance(y, tuple) else None


class Net(nn.Module):
    def __init__(self, make, gives_weights=False):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = nn.ModuleList(Layer(make()) for _ in range(2))
        self.norm, self.gives_weights = nn.LayerNorm(HIDDEN), gives_weights

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for layer in self.layers:
            x, weights = layer(x, attention_mask)
        return (self.norm(x), weights) if self.gives_weights else self.norm(x)

    def behind(self, ids, mask, prefix):
        """The same with a prefix in front of the keys and values, by hand. prefix [length, 2 · layers, features]"""
        x = self.embed(ids)
        for i, layer in enumerate(self.layers):
            own = layer.attention
            query, key, value = (one.transpose(1, 2) for one in own.parts(layer.norm1(x)))
            key, value = (
                torch.cat([part.view(LENGTH, own.key_heads, -1).transpose(0, 1).expand(len(ids), -1, -1, -1), one], 2)
                .repeat_interleave(own.heads // own.key_heads, 1)
                for part, one in ((prefix[:, 2 * i], key), (prefix[:, 2 * i + 1], value)))
            hidden = (mask == 0)[:, None, None, :]
            if getattr(own, "causal", False):
                hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            hidden = functional.pad(hidden, (LENGTH, 0), value=False)
            scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
            y = scores.masked_fill(hidden, -1e9).softmax(-1) @ value
            x = x + own.out(y.transpose(1, 2).reshape(x.shape))
            x = x + layer.down(functional.gelu(layer.up(layer.norm2(x))))
        return self.norm(x)


class FlatLayer(Layer):
    """Its feed-forward block has rows and tokens in one size, as OPT's."""

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        flat = x.reshape(-1, HIDDEN)
        return (flat + self.down(functional.gelu(self.up(self.norm2(flat))))).view(x.shape), None


class Flat(Net):
    def __init__(self):
        super().__init__(lambda: Einsum("in turn"))
        self.layers = nn.ModuleList(FlatLayer(layer.attention) for layer in self.layers)


class Decoder(nn.Module):
    """PyTorch's own, whose code looks whether the mask that it is given is causal."""

    def __init__(self, **options):
        super().__init__()
        self.embedding, self.memory = nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(HIDDEN, 2, 12, batch_first=True, **options), 2)

    def forward(self, input_ids, attention_mask):
        x = self.embedding(input_ids)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.decoder(x, self.memory(x), tgt_mask=hidden, tgt_key_padding_mask=attention_mask == 0,
                            memory_key_padding_mask=attention_mask == 0)


class Encoder(nn.Module):
    def __init__(self, causal=False, turned=True, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(HIDDEN, 2, 12, **options)
        self.embedding, self.encoder = nn.Embedding(VOCABULARY, HIDDEN), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.causal, self.rows_first, self.turned = causal, options.get("batch_first", False), turned

    def forward(self, input_ids, attention_mask):
        x = self.embedding(input_ids)
        x = x if self.rows_first else x.transpose(0, 1)
        mask = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1]) if self.causal else None
        padding = torch.zeros(attention_mask.shape).masked_fill(attention_mask == 0, -math.inf)
        x = self.encoder(x, mask=mask, src_key_padding_mask=padding)
        return x if self.rows_first or not self.turned else x.transpose(0, 1)


NETS = {
    **{f"einsum, {name}": (lambda name=name: Net(lambda: Einsum(name))) for name in ORDERS},
    "einsum, weights of three axes": lambda: Net(EinsumWeights),
    **{f"three axes, {name}": (lambda form=form: Net(lambda: three_axes.ThreeAxes(*form, HIDDEN)))
       for name, form in three_axes.FORMS.items()},
    **{f"keys shared, repeated {name}": (lambda form=form: Net(lambda: three_axes.SharedKeys(*form, HIDDEN)))
       for name, form in three_axes.SHARED_KEYS.items()},
    "three axes, heads one by one": lambda: Net(lambda: three_axes.OneByOne("operator", HIDDEN)),
    "three axes, heads one by one, written out": lambda: Net(lambda: three_axes.OneByOne("matmul", HIDDEN)),
    "three axes, heads in a sum": lambda: Net(lambda: three_axes.Summed("operator", HIDDEN)),
    "multihead": lambda: Net(lambda: Multihead(False)),
    "multihead, average": lambda: Net(Multihead, True),
    "multihead, weights by head": lambda: Net(lambda: Multihead(average=False), True),
    "multihead, tokens first": lambda: Net(lambda: Multihead(rows_first=False)),
    "einsum, rows and tokens in one behind it": Flat,
    "encoder": lambda: Encoder(batch_first=True),
    "encoder, norm first": lambda: Encoder(batch_first=True, norm_first=True, bias=False),
    "encoder, causal": lambda: Encoder(True, batch_first=True),
    "decoder": Decoder,
    "decoder, norm first": lambda: Decoder(norm_first=True),
    "encoder, tokens first": Encoder,
    "encoder, tokens first, and so come out": lambda: Encoder(turned=False),
}


def batch():
    longest = max(map(len, ROWS))
    return (torch.tensor([row + [0] * (longest - len(row)) for row in ROWS]),
            torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ROWS]))


def loss_of(states):
    """Of a Linear without bias on each row's first token."""
    weight = torch.tensor([[math.cos(i + j) for j in range(HIDDEN)] for i in range(2)])
    return functional.cross_entropy(states[:, 0] @ weight.T, torch.arange(len(ROWS)) % 2), weight


def values(size):
    return torch.tensor([math.sin(i) * 0.7 for i in range(size)], requires_grad=True)


def first(output):
    return output[0] if isinstance(output, tuple) else output


def case_of(name, model):
    ids, mask = batch()
    told = {"rows": ROWS}
    with torch.no_grad():
        plain = first(model(ids, mask))
    if plain.shape[:2] != ids.shape:
        return told
    real = mask[..., None]
    told["plain"] = (plain * real).flatten().tolist()
    if not isinstance(model, Net):
        return told
    attention = model.layers[0].attention
    place = SubLayer(0, "output", residual="layers.0.norm2", output="layers.0.down")
    adapter, restore = insert_sequential(model, place, HIDDEN)
    states = first(model(ids, mask))
    loss, weight = loss_of(states)
    loss.backward()
    restore()
    told["weight"] = weight.flatten().tolist()
    told["bottleneck"] = {"states": (states * real).flatten().tolist(), **{
        key: [value.flatten().tolist(), value.grad.flatten().tolist()] for key, value in adapter.named_parameters()}}
    if isinstance(attention, three_axes.Summed):
        return told
    flat = values(LENGTH * 4 * attention.key_heads * (HIDDEN // attention.heads))
    states = model.behind(ids, mask, flat.view(LENGTH, 4, -1))
    loss_of(states)[0].backward()
    told.update(length=LENGTH, prefix={
        "values": flat.tolist(), "states": (states * real).flatten().tolist(), "gradient": flat.grad.tolist()})
    if not isinstance(attention, Einsum):
        return told
    lora, remove = insert(model, "lora", "layers.0.attention.query", HIDDEN)
    states = model(ids, mask)
    loss_of(states)[0].backward()
    remove()
    told["lora"] = {"r": lora.rank, "alpha": lora.alpha, "states": (states * real).flatten().tolist(), **{
        key: [value.flatten().tolist(), value.grad.flatten().tolist()] for key, value in lora.named_parameters()}}
    return told


def main():
    folder.mkdir(parents=True, exist_ok=True)
    inputs = parse_inputs([f"input_ids=int64[batch,sequence]<{VOCABULARY},attention_mask=int64[batch,sequence]"])
    cases = {}
    for number, (name, make) in enumerate(NETS.items()):
        torch.manual_seed(0)
        model = quantise(make().eval())
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        cases[name] = {**case_of(name, model), "archive": f"{number}.pt2"}
        write(model, inputs, folder / f"{number}.pt2")
    (folder / "cases.json").write_text(json.dumps(cases))


main()
