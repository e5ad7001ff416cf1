"""Loads what native/core/state wrote, and compares every value: python check_state.py FOLDER"""

import collections
import pathlib
import sys
import zipfile

import torch
from safetensors import safe_open
from safetensors.torch import load_file

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def expected_tensors():
    tensors = {name: torch.tensor([0.0, 1.0], dtype=torch.float64).to(getattr(torch, name)) for name in DTYPES}
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors |= {"base": base, "again": base, "row": base[1], "turned": base.t()}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 4)}
    return tensors


def same_tensors(found, where):
    expected = expected_tensors()
    assert set(found) == set(expected), (where, set(found) ^ set(expected))
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, (where, name, found[name].dtype)
        assert torch.equal(found[name], tensor), (where, name, found[name])


def check_checkpoint(path, mmap):
    value = torch.load(path, weights_only=True, mmap=mmap)
    assert type(value) is dict and type(value["tensors"]) is collections.OrderedDict
    same_tensors(value["tensors"], path)
    assert value["tensors"]["base"].data_ptr() == value["tensors"]["again"].data_ptr()
    rest = {key: item for key, item in value.items() if key != "tensors"}
    assert rest == {
        "epoch": 3, "large": 1 << 40, "loss": 0.25, "note": "naïve", "nothing": None, "flags": [True, False],
        "nested": (1, (), []),
    }, rest


def main(folder):
    for mmap in (False, True):
        check_checkpoint(folder / "everything.pt", mmap)
        same_tensors(torch.load(folder / "tensors.bin", weights_only=True, mmap=mmap), "tensors.bin")
    same_tensors(load_file(folder / "tensors.safetensors"), "tensors.safetensors")
    with safe_open(folder / "tensors.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "note": "naïve"}, file.metadata()
    # Sizes in 64 bits, as past 4 GB.
    assert torch.load(folder / "wide.zip", weights_only=True) == 7
    for name in ("everything.pt", "tensors.bin", "wide.zip"):
        with zipfile.ZipFile(folder / name) as archive:
            assert archive.testzip() is None, (name, archive.testzip())
    print("✓ Python reads everything.pt, tensors.bin, tensors.safetensors, wide.zip: as they were written")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
