"""What the exporter reads of --inputs and --range, what it notes where rows vary in size and nothing says where one ends,
and of what chance would leave out, and how short it is about what it refuses."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import sympy
import torch
from export_support import Rows, notes, refused
from torch.nn import functional
from torch_adapters_export.archive import output_names, write
from torch_adapters_export.bounds import is_true
from torch_adapters_export.inputs import check_names, check_open_sizes, in_range, parse_inputs, parse_ranges
from torch_adapters_export.models import in_float32
from torch_adapters_export.refused import Refused, Usage


class MaskedRows(Rows):
    def forward(self, values, attention_mask):
        return self.layer(values) * attention_mask[..., None]


class DropPath(torch.nn.Module):
    """Stochastic depth, as transformers and timm have it."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training or self.drop_prob == 0:
            return x
        return x * (torch.rand((x.shape[0], 1, 1)) >= self.drop_prob) / (1 - self.drop_prob)


class Deep(Rows):
    def __init__(self, drop_prob):
        super().__init__()
        self.path = DropPath(drop_prob)

    def forward(self, values):
        return values + self.path(self.layer(values))


class Cut(Rows):
    """Cuts its mask out of one for all positions, as GPT-2's eager attention does: where there is nothing to cut, that is
    another graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.ones(9, 9).tril(), persistent=False)

    def forward(self, values):
        tokens = values.shape[1]
        return self.seen[:tokens, :tokens] @ self.layer(values)


class Neighbours(Rows):
    """Each token beside the one before it, as MobileBERT's words: with two there is one such pair alone."""

    def forward(self, values):
        return self.layer(values + torch.nn.functional.pad(values[:, 1:], [0, 0, 0, 1, 0, 0], value=0.0))


class Strided(Rows):
    """Convolutions that leave a quarter of the places less one, which attend to each other under a mask of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv1d(3, 3, 4, 2), torch.nn.Conv1d(3, 3, 3, 2)

    def forward(self, values):
        x = self.second(self.first(values.transpose(1, 2))).transpose(1, 2)[:, None]
        count = x.shape[2]
        seen = torch.ones(1, 1, 1, count, dtype=torch.bool).expand(1, 1, count, count)
        return functional.scaled_dot_product_attention(x, x, x, attn_mask=seen)[:, 0]


class Halved(Rows):
    """Takes two places at once, and so an even number of them."""

    def forward(self, values):
        return self.layer(values.reshape(values.shape[0], values.shape[1] // 2, 2, 3).sum(2))


class Otherwise(Rows):
    """Gives something else in training, in its own code."""

    def forward(self, values):
        y = functional.dropout(self.layer(values), 0.5, self.training)
        return 1.1 * y if self.training else y


class Around(torch.nn.Module):
    """A module of that kind among others, which drop values in training and have norms that count then."""

    def __init__(self):
        super().__init__()
        self.inner, self.drop, self.norm = Otherwise(), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(3)
        self.norm.running_mean.fill_(0.3)

    def forward(self, values):
        x = functional.dropout(self.drop(self.inner(values)), 0.1, self.training)
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Slopes(Rows):
    """A layer of PyTorch's whose slopes are drawn in training."""

    def __init__(self):
        super().__init__()
        self.slopes = torch.nn.RReLU()

    def forward(self, values):
        return self.slopes(self.layer(values))


class Twice(Rows):
    """It passes for one of PyTorch's own, whose modes are known, and is none."""

    def forward(self, values):
        return self.layer(values) * (2 if self.training else 1)


Twice.__module__ = "torch.nn.modules"


class Branches(Rows):
    """A module that runs, or does not, by the values of what goes in."""

    def forward(self, values):
        return torch.cond(values.sum() > 0, lambda x: self.layer(x), lambda x: 2 * x, (values,))


class Mixed(Rows):
    def forward(self, values):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(values).float()


class Turned(Rows):
    """Gradients are off by the call that a constructor makes, too."""

    def forward(self, values):
        with torch.set_grad_enabled(False):
            values = self.layer(values)
        return 2 * values


class Lost(Rows):
    """torch.export drops torch.no_grad there; without gradients all the same, where they end by themselves."""

    def __init__(self, ends):
        super().__init__()
        self.ends = ends

    def forward(self, values):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            still = self.layer(values)
        return values + (still.detach() if self.ends else still).float()


class Still(Rows):
    """A module that runs without gradients, of which torch.export leaves marks in the graph inside the graph."""

    def forward(self, values):
        with torch.no_grad():
            values = self.layer(values)
        return 2 * values


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LSTM(3, 3, batch_first=True)

    def forward(self, values):
        return self.layer(values)[0]


def refusal(parse, texts):
    try:
        return f"nothing, but {parse(texts)}"
    except Usage as error:
        return str(error)


# Given again, an option adds to what there is; a size has one value in all.
apart = parse_inputs(["ids=int64[batch,length]<9", "mask=int64[batch,length],image=float32[batch,3]"])
together = parse_inputs(["ids=int64[batch,length]<9,mask=int64[batch,length],image=float32[batch,3]"])
assert list(apart) == ["ids", "mask", "image"] and apart["ids"].example.shape == apart["mask"].example.shape
assert all(torch.equal(apart[name].example, together[name].example) for name in apart)
assert "ids is given twice" in refusal(parse_inputs, ["ids=int64[batch]", "ids=int64[batch,length]"])
assert "ids is given twice" in refusal(parse_inputs, ["ids=int64[batch],ids=int64[batch,length]"])
assert "whole numbers below 0" in refusal(parse_inputs, ["ids=int64[batch]<0"])
assert "ids has 2 rows, always; expected a name for the first size" in refusal(parse_inputs, ["ids=int64[2,length]"])
assert parse_ranges(["batch=2..", "length=1..9"]) == {"batch": (2, None), "length": (1, 9)}
assert "length is given twice" in refusal(parse_ranges, ["length=1..9", "length=2..9"])

two = parse_inputs(["x=float32[batch,3,height,width]"])
assert "x varies in height and width;" in refusal(check_open_sizes, two), refusal(check_open_sizes, two)
assert "as in x=float32[batch,3,32,width]" in refusal(check_open_sizes, two), refusal(check_open_sizes, two)
check_open_sizes(parse_inputs(["x=float32[batch,3,8,width],ids=int64[batch,some,more]"]))

(note,) = notes(Rows(), "values=float32[batch,frames,3]")
assert note.startswith("one length at a time: frames varies from batch to batch"), note
assert notes(Rows(), "values=float32[batch,4,3]") == []
assert notes(MaskedRows(), "values=float32[batch,frames,3],attention_mask=int64[batch,frames]<2") == []
# Its random numbers would be the graph's: the exporter's own check of the archive would see them.
(note,) = notes(Deep(0.5), "values=float32[batch,4,3]")
assert note.startswith("stochastic depth (drop path): every block is in the graph"), note
# What the code of a module does in training alone is not in the graph, which answers as eval() does; dropout of others is.
assert notes(Deep(0.0), "values=float32[batch,4,3]") == []
(note,) = notes(Around(), "values=float32[batch,4,3]")
assert note.startswith("Otherwise: its code does something else in training than in eval()"), note
with TemporaryDirectory() as folder:
    write(Around(), parse_inputs(["values=float32[batch,4,3]"]), Path(folder) / "around.pt2")
    nodes = torch.export.load(Path(folder) / "around.pt2").graph.nodes
    assert sum("dropout" in str(node.target) for node in nodes) == 3, nodes
# Positions that are kept bound the rows: the hint has torch's own bounds.
class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("places", torch.zeros(1, 48, 8))

    def forward(self, values):
        return values + self.places[:, : values.shape[1]]


try:
    notes(Positions(), "values=float32[batch,frames,8]")
    raise AssertionError("rows of any length of 48 positions were exported")
except Refused as error:
    assert "try: --range frames=1..48, in which the code is the same." in str(error), error
# Spectral norm's iteration goes no further, be it a parametrization or a hook, and a Linear beside it is no reason to tell.
for norm, name in ((torch.nn.utils.parametrizations.spectral_norm, "_SpectralNorm"), (torch.nn.utils.spectral_norm, "Linear")):
    (note,) = notes(torch.nn.Sequential(norm(torch.nn.Linear(3, 3)), torch.nn.ReLU()), "input=float32[batch,4,3]")
    assert note.startswith(f"{name}: its code does something else"), note
assert notes(Branches(), "values=float32[batch,4,3]") == []
assert notes(Mixed(), "values=float32[batch,4,3]") == []
assert notes(Turned(), "values=float32[batch,4,3]") == []
assert notes(Lost(True), "values=float32[batch,4,3]") == []
try:
    notes(Lost(False), "values=float32[batch,4,3]")
    raise AssertionError("gradients that a model does not have were exported")
except Refused as error:
    assert "drops torch.no_grad inside of torch.autocast" in str(error) and "x.detach()" in str(error), error
with TemporaryDirectory() as folder:
    told = write(Still(), parse_inputs(["values=float32[batch,4,3]"]), Path(folder) / "still.pt2")
assert told["not_preserved"] == {"layer": "it is called under torch.no_grad() or torch.autocast()"}, told["not_preserved"]
assert "layer" not in told["preserved"], told["preserved"]
assert notes(Deep(0.0), "values=float32[batch,4,3]") == []
# A name that the model does not take is told with those that it takes, before torch sees it.
assert "Linear takes no ids; it takes input" in refusal(lambda names: check_names(torch.nn.Linear(2, 2), names), ["ids"])
check_names(torch.nn.Linear(2, 2), ["input"])


# What is refused is said in a few lines: what, why, what to try, and where in the model's code.
class Answers(Rows):
    def forward(self, values):
        words, order, _ = self.layer(values).unbind(-1)
        return {"prediction_logits": words, "order_logits": order}


class Deciding(Rows):
    def forward(self, values):
        for _ in range(int(values.sum())):
            values = self.layer(values)
        return values


@dataclass
class Fields:
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclass
class Unnamed(Fields):
    pass


class Tupled(NamedTuple):
    hidden: torch.Tensor
    logits: torch.Tensor


class Gives(Rows):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, values):
        hidden = self.layer(values)
        return self.made(hidden=hidden, logits=hidden * 2)


torch.export.register_dataclass(Fields, serialized_type_name="Fields")
torch.export.register_dataclass(Unnamed)
for made, names in ((Fields, ["logits", "hidden"]), (Tupled, ["hidden", "logits"]), (dict, ["hidden", "logits"])):
    assert output_names(Gives(made)(torch.ones(1, 2, 3))) == names, made
with TemporaryDirectory() as folder:
    told = write(Gives(Fields), parse_inputs(["values=float32[batch,4,3]"]), Path(folder) / "fields.pt2")
assert told["output_names"] == ["logits", "hidden"], told


assert refused(Answers()).startswith("Answers gives prediction_logits, order_logits: "), refused(Answers())
said = refused(Gives(Unnamed))
assert "what its forward gives cannot be written" in said and "serialized_type_name" in said, said
said = refused(Gives(Tupled))
assert "a NamedTuple, which cannot be written" in said and "return a tuple or a dict" in said, said
said = refused(Deciding())
assert said.startswith("torch.export refuses Deciding: the model decides by values of its tensors"), said
assert "export_notes.py, line" in said and "for _ in range(int(values.sum()))" in said, said
said = refused(Rows(), "values=float32[batch,5]")
assert said.startswith("Rows does not take the example inputs: they do not fit its forward, which takes values."), said
assert "--inputs 'values=float32[batch,sequence,768]'" in said, said


class Kernels(torch.nn.Module):
    """Rows of eight values at the least, where examples have fewer."""

    def forward(self, values):
        return functional.conv1d(values, torch.ones(3, 3, 8))


said = refused(Kernels(), "values=float32[batch,3,frames]")
assert "a convolution or a pooling reads more than a row" in said and "by --range frames=64..4000" in said, said
notes(Kernels(), "values=float32[batch,3,frames]", {"frames": (64, 4000)})


assert notes(Slopes(), "values=float32[batch,4,3]") == []
said = refused(Twice())
assert "does not answer as the model does in eval()" in said, said


# Examples lie within the ranges that are given.
given = in_range(parse_inputs(["values=float32[batch,frames,wide]"]), {"frames": (20, None), "wide": (1, 3)})
assert given["values"].example.shape == (2, 21, 3), given["values"].example.shape
assert given["values"].dims == ("batch", "frames", "wide"), given["values"].dims

# A network of one type is one of float32; casts between several are the network's own.
told = []
in_float32(half := Rows().half(), told)
assert half.layer.weight.dtype == torch.float32 and told == ["the weights, float16, are float32 in the archive"], told
mixed = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).double())
in_float32(mixed, told)
assert mixed[1].weight.dtype == torch.float64 and len(told) == 1, told


# A size that is a graph of its own is left out where it is the largest, and named with the option to leave it out by.
(note, _) = sorted(notes(Cut(), "values=float32[batch,frames,3]", {"frames": (1, 9)}))
assert note.startswith("frames is at most 8: at 9 "), note
told = notes(Neighbours(), "values=float32[batch,frames,3]")
assert any(note.startswith("frames is at least 3: at 2 ") for note in told), told
# What torch cannot prove of a product of sizes, and what is true of all of them, is no reason to refuse.
assert len(notes(Strided(), "values=float32[batch,frames,3]", {"frames": (12, None)})) == 1
x = sympy.Symbol("x", integer=True)
assert is_true(sympy.Ge(x * x - 2 * x + 1, 2), lambda _: 3) and not is_true(sympy.Ge(x * x - 2 * x + 1, 2), lambda _: 2)
assert is_true(sympy.Ne(4, x * x), lambda _: 3) and not is_true(sympy.Ne(4, x * x), lambda _: 1)
assert is_true(sympy.Lt(x, x * x), lambda _: 2) and not is_true(sympy.Lt(x, 5), lambda _: 2)
said = refused(Halved(), "values=float32[batch,frames,3]", {"frames": (7, None)})
assert "a number in the place of frames in --inputs" in said and "--range frames=FROM..TO" in said, said
# Recurrent layers take rows of one length; the hint for others says so.
assert notes(Recurrent(), "values=float32[batch,4,3]") == []
said = refused(Recurrent(), "values=float32[batch,frames,3]")
assert "try: a number in the place of frames in --inputs, for rows of one length" in said, said
for ranges in (None, {"frames": (1, 10)}):
    said = refused(Cut(), "values=float32[batch,frames,3]", ranges)
    assert "What to try: --range frames=1..8, since the model does something else at 9" in said, said

print("The exporter takes what it is given, says which sizes vary without a mask, and is short about what it refuses")
