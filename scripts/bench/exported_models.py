"""Writes what the row `exported` of the benchmark has beside its model: an adapter with a head that reads every token.

    python exported_models.py MODEL FOLDER REDUCTION_FACTOR
"""

import sys

import torch
from adapters import BertAdapterModel, SeqBnConfig


def main(model_folder, folder, reduction_factor):
    torch.manual_seed(1)
    model = BertAdapterModel.from_pretrained(model_folder)
    model.add_adapter("bench", config=SeqBnConfig(reduction_factor=reduction_factor))
    model.add_tagging_head("bench", num_labels=2, layers=1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if ".bench." in name:
                value.normal_(0.0, 0.02)
    model.save_adapter(folder, "bench", use_safetensors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
