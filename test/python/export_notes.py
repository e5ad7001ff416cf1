"""What the exporter notes where rows vary in size and nothing says where one ends."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "export"))
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import parse_inputs  # noqa: E402

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


def notes(model, inputs):
    with TemporaryDirectory() as folder:
        return write(model, parse_inputs(inputs), Path(folder) / "rows.pt2")["notes"]


(note,) = notes(Rows(), "values=float32[batch,frames,3]")
assert note.startswith("rows of one length: frames varies from batch to batch"), note
assert notes(Rows(), "values=float32[batch,4,3]") == []
assert notes(MaskedRows(), "values=float32[batch,frames,3],attention_mask=int64[batch,frames]<2") == []
print("The exporter says which sizes vary without a mask")
