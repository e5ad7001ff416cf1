"""What the exporter reads of --inputs and --range, and what it notes where rows vary in size and nothing says where one
ends, and of what chance would leave out."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "export"))
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import check_names, parse_inputs, parse_ranges  # noqa: E402
from torch_adapters_export.refused import Refused, Usage  # noqa: E402

torch.set_num_threads(1)


class Rows(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, values):
        return self.layer(values)


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


class Branches(Rows):
    """A module that runs, or does not, by the values of what goes in."""

    def forward(self, values):
        return torch.cond(values.sum() > 0, lambda x: self.layer(x), lambda x: 2 * x, (values,))


class Mixed(Rows):
    def forward(self, values):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(values).float()


def notes(model, inputs):
    with TemporaryDirectory() as folder:
        return write(model, parse_inputs([inputs]), Path(folder) / "rows.pt2")["notes"]


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
assert parse_ranges(["batch=2..", "length=1..9"]) == {"batch": (2, None), "length": (1, 9)}
assert "length is given twice" in refusal(parse_ranges, ["length=1..9", "length=2..9"])

(note,) = notes(Rows(), "values=float32[batch,frames,3]")
assert note.startswith("rows of one length: frames varies from batch to batch"), note
assert notes(Rows(), "values=float32[batch,4,3]") == []
assert notes(MaskedRows(), "values=float32[batch,frames,3],attention_mask=int64[batch,frames]<2") == []
# Its random numbers would be the graph's: the exporter's own check of the archive would see them.
(note,) = notes(Deep(0.5), "values=float32[batch,4,3]")
assert note.startswith("stochastic depth (drop path): every block is in the graph"), note
assert notes(Branches(), "values=float32[batch,4,3]") == []
try:
    notes(Mixed(), "values=float32[batch,4,3]")
    raise AssertionError("a region under autocast was exported")
except Refused as error:
    assert "torch.autocast" in str(error), error
assert notes(Deep(0.0), "values=float32[batch,4,3]") == []
# A name that the model does not take is told with those that it takes, before torch sees it.
assert "Linear takes no ids; it takes input" in refusal(lambda names: check_names(torch.nn.Linear(2, 2), names), ["ids"])
check_names(torch.nn.Linear(2, 2), ["input"])
print("The exporter takes what it is given, and says which sizes vary without a mask")
