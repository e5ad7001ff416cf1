"""Networks of rows, exported as the exporter does it: what it notes and what it refuses."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "export"))
from torch_adapters_export.__main__ import quiet  # noqa: E402
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import in_range, parse_inputs  # noqa: E402
from torch_adapters_export.refused import Refused  # noqa: E402

torch.set_num_threads(1)


class Rows(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, values):
        return self.layer(values)


def notes(model, inputs, ranges=None):
    with TemporaryDirectory() as folder:
        given = in_range(parse_inputs([inputs]), ranges or {})
        return write(model, given, Path(folder) / "rows.pt2", ranges)["notes"]


def refused(model, inputs="values=float32[batch,4,3]", ranges=None):
    try:
        with quiet():
            notes(model, inputs, ranges)
    except Refused as error:
        return str(error)
    raise AssertionError(f"{type(model).__name__} was exported")
