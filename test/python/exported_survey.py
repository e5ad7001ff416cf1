"""Python's half of the check of architectures that have no fixtures: those of scripts/fixtures/exported_survey.py that
torch.export takes, with what they give plainly and with LoRA at one of their Linears.

exported_survey.py FOLDER [MODEL…]
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
import transformers as hf

root = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "scripts" / "fixtures"), str(root / "scripts" / "export")]
sys.argv, (folder, *names) = sys.argv[:1], sys.argv[1:]
from exported_sites import insert, quantise  # noqa: E402
from exported_survey import TINY  # noqa: E402
from torch_adapters_export.archive import write  # noqa: E402
from torch_adapters_export.inputs import huggingface_inputs, huggingface_ranges  # noqa: E402
from torch_adapters_export.refused import Refused  # noqa: E402

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch._logging.set_logs(all=logging.CRITICAL)
folder = Path(folder)
ROWS = [[7, 8, 9, 10, 11], [3, 4, 5]]


def batch(inputs, pad):
    """What goes in, which of the output's tokens count, and the rows as Node has them."""
    main = next(iter(inputs))
    if main != "input_ids":
        shape = [60] if inputs[main].dims[1:] == ("samples",) else inputs[main].example.shape[1:]
        values = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
        return {main: values}, None, {main: [row.flatten().tolist() for row in values]}
    longest = max(map(len, ROWS))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in ROWS])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ROWS])
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: value for name, value in given.items() if name in inputs}, mask, {main: ROWS}


def states(model, given, mask):
    """Of each row by itself, where rows differ in length: some networks read what stands behind a shorter one."""
    with torch.no_grad():
        if mask is None:
            return model(**given)[0].flatten().tolist()
        lengths = mask.sum(1).tolist()
        rows = [model(**{name: value[i:i + 1, :length] for name, value in given.items()})[0][0]
                for i, length in enumerate(lengths)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).flatten().tolist()


def linear_of(model):
    """The last one that is called once: every other lies behind it."""
    calls = {}
    handles = [module.register_forward_hook(lambda *_, path=path: calls.update({path: calls.get(path, 0) + 1}))
               for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return calls, handles


def tried(name):
    torch.manual_seed(0)
    config = hf.AutoConfig.for_model(name, **TINY[name])
    model = quantise(hf.AutoModel.from_config(config))
    inputs = huggingface_inputs(model, config)
    try:
        told = write(model, inputs, folder / f"{name}.pt2", huggingface_ranges(config))
    except Refused:
        return None
    model.eval()
    given, mask, rows = batch(inputs, config.pad_token_id or 0)
    case = {"outputs": told["output_names"], "rows": rows, "states": states(model, given, mask)}
    calls, handles = linear_of(model)
    states(model, given, mask)
    for handle in handles:
        handle.remove()
    once = [path for path, count in calls.items() if count == 1 and "pooler" not in path and "." in path]
    if once:
        lora, remove = insert(model, "lora", once[0], 0)
        case["lora"] = {"path": once[0], "r": lora.rank, "alpha": lora.alpha, "states": states(model, given, mask),
                        **{key: value.flatten().tolist() for key, value in lora.named_parameters()}}
        remove()
    return case


folder.mkdir(parents=True, exist_ok=True)
# BART's rows are two, and T5 has fixtures.
cases = {name: tried(name) for name in names or TINY if name != "bart"}
(folder / "cases.json").write_text(json.dumps({name: case for name, case in cases.items() if case}))
