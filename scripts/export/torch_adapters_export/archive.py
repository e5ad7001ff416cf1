"""The archive: torch.export's own, with the config, the tokenizer and names of inputs and outputs beside the graph."""

import contextlib
import dataclasses
import inspect
import json
import operator
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

from .bounds import products_bounded
from .gradients import check_gradients
from .graph import MODES, export_with_signatures, modules_to_preserve, nodes_of
from .inputs import dynamic_shapes, other_examples, other_sizes, unmasked, varying
from .models import every_layer, masks_as_given, note, plain_layer_norms, prepare, savable_masks, uncached_positions
from .modes import check_eval, evaluated, furthest, leave_training
from .refused import Refused, Usage, explained, first_line, sizes_apart

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")
# What transformers makes those from.
TOKENIZER_SOURCES = ("vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")


def output_names(output):
    """Names of the flat outputs in their order: keys, or fields of a dataclass (those that are not None) or named tuple."""
    if isinstance(output, dict):
        items = output.items()
    elif dataclasses.is_dataclass(output):
        values = [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
        items = [(name, value) for name, value in values if value is not None]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        items = zip(output._fields, output)
    else:
        items = [("output", output)]
    named = [(name, len(tree_leaves(value))) for name, value in items]
    return [f"{name}" if count == 1 else f"{name}.{i}" for name, count in named for i in range(count)]


@contextlib.contextmanager
def kept_buffers(model):
    """A pass in training mode moves what BatchNorm has counted: the archive is to have what the model came with."""
    # One value in many places (expand) is none that a pass moves.
    before = [(buffer, buffer.clone()) for buffer in model.buffers() if 0 not in buffer.stride()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def same_modules(model):
    """Names of modules that named_modules() leaves out, each with the one that it has: torch.export goes by any of them."""
    first = {}
    names = [(name, first.setdefault(id(module), name)) for name, module in model.named_modules(remove_duplicate=False)]
    return {name: own for name, own in names if name != own}


def linear_subclasses(model):
    """Paths of the Linears that have a forward, hooks, or a computed weight: PEFT's adapters stand around all that they do."""
    def has_own(module):
        own = getattr(module.forward, "__func__", None) is not torch.nn.Linear.forward
        return own or module._forward_hooks or module._forward_pre_hooks or "weight" not in module._parameters

    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and has_own(module)]


def describe(model, examples, notes):
    """What stands in torch_adapters.json."""
    config = getattr(model, "config", None)
    fields = json.loads(config.to_json_string(use_diff=False)) if hasattr(config, "to_json_string") else None
    with torch.no_grad():
        names = output_names(model(**examples))
    return {
        "format": 1, "class": type(model).__name__, "module": type(model).__module__, "base_model_prefix": getattr(model, "base_model_prefix", ""),
        "model_type": (fields or {}).get("model_type"), "config": fields, "input_names": list(examples),
        "takes_inputs_embeds": "inputs_embeds" in inspect.signature(model.forward).parameters,
        "same_modules": same_modules(model), "linear_subclasses": linear_subclasses(model),
        "output_names": names, "notes": notes
    }


def narrower(ranges, apart, error, notes):
    """The ranges without their largest or first sizes, where it is for these alone that a graph would be another one."""
    found = dict(ranges)
    for name, size in apart.items():
        low, high = ranges.get(name, (1, None))
        if size not in (high, 1, 2):
            raise error
        found[name] = (low, size - 1) if size == high else (size + 1, high)
        bound = f"at most {size - 1}" if size == high else f"at least {size + 1}"
        note(notes, f"{name} is {bound}: at {size} the model's code does something else, and a graph has one way")
    if not apart:
        raise error
    return found


def check_outputs(told):
    """A class with a head answers by one output; torch-adapters has heads of its own for the others."""
    names, read = told["output_names"], {"logits", "last_hidden_state", "pooler_output"}
    logits = [name for name in names if name.endswith("logits")]
    answers = {"start_logits", "end_logits"} == set(logits)
    if logits and not answers and not read.intersection(names):
        raise Refused(f"{told['class']} gives {', '.join(logits)}: fromExported takes a class with a head by one output, "
                      "logits, or by start_logits and end_logits.\n  What to try: export the base model (--class AutoModel), "
                      "and add a head where the archive is opened, as model.addClassificationHead('x').")


def without_tokenizer(source, why, is_asked, notes):
    if is_asked:
        raise Usage(f"--tokenizer {source}: {why}; expected a folder or a name on the hub that has one, or none, to leave it out")
    note(notes, f"no tokenizer is in the archive: {why}")


def tokenizer_files(source, notes, is_asked=False):
    """Those of the tokenizer and of the processor of images, as transformers saves them.

    is_asked: by --tokenizer, so that there has to be one."""
    from transformers import AutoTokenizer

    folder, given = Path(source), Path(source) / "preprocessor_config.json"
    if folder.is_dir() and not any((folder / name).is_file() for name in (*TOKENIZER_FILES, *TOKENIZER_SOURCES)):
        without_tokenizer(source, f"{source} has none", is_asked, notes)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        except Exception as error:  # noqa: BLE001 - a model of images has none; anything else is worth a line
            without_tokenizer(source, first_line(error), is_asked and not given.is_file(), notes)
        paths = [Path(folder) / name for name in TOKENIZER_FILES] + [given]
        files = {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    if "tokenizer_config.json" in files and "tokenizer.json" not in files:
        note(notes, "the tokenizer has no tokenizer.json: give one by the option tokenizer where the archive is opened")
    return files


TOLERANCE = 1e-5


def difference(model, file, inputs, ranges):
    """The archive, read again, against the model: the same seed gives both the same dropout. Relative, the largest."""
    given = other_sizes(inputs, ranges)
    results = []
    loaded = torch.export.load(file)
    for run in (model, loaded.module()):
        torch.manual_seed(0)
        with torch.no_grad(), kept_buffers(run):
            results.append(tree_leaves(run(**given)))
    graph = evaluated(loaded)
    check_eval(model, graph, given, kept_buffers)
    check_gradients(model, graph, given, kept_buffers)
    return furthest(*results)


def steps(program):
    """Nodes that run, as the archive counts them: no inputs, no outputs, no parts of a node's several values, and of a region
    with a mode those inside."""
    def runs(node):
        return node.op == "call_function" and node.target is not operator.getitem and getattr(node.target, "_name", "") not in MODES
    return sum(runs(node) for node in nodes_of(program.graph_module))


def write(model, inputs, file, ranges=None, files=None, notes=None):
    """Exports `model` to `file`, whole or not at all; gives what there is to tell."""
    ranges, notes = ranges or {}, [] if notes is None else notes
    prepare(model, notes)
    if open_sizes := unmasked(inputs):
        note(notes, f"one length at a time: {', '.join(open_sizes)} varies from batch to batch, but no attention_mask is among "
             "the inputs to hide padding with; rows of each length take a pass, unless tokens see only those before them")
    examples = {name: value.example for name, value in inputs.items()}
    # In a folder of its own: the archive's entries begin with the file's name.
    workplace = tempfile.mkdtemp(prefix=".torch-adapters-export-", dir=Path(file).parent)
    unfinished = str(Path(workplace) / Path(file).name)
    try:
        with warnings.catch_warnings(), every_layer(model, notes):
            warnings.simplefilter("ignore")
            try:
                leave_training(model, examples, kept_buffers, lambda text: note(notes, text))
                with kept_buffers(model):
                    paths, without = modules_to_preserve(model, examples)
                    told = describe(model, examples, notes)
            except Exception as error:
                doing = f"{type(model).__name__} does not take the example inputs"
                raise explained(error, doing, other_examples(model), varying(inputs)) from error
            check_outputs(told)

            def save(program, refused):
                told["not_preserved"] = {**without, **refused}
                extra = {"torch_adapters.json": json.dumps(told), **(files or {})}
                torch.export.save(program, unfinished, extra_files=extra)

            with savable_masks(), masks_as_given(), products_bounded(), plain_layer_norms(model), uncached_positions(model):
                try:
                    program, refused = export_with_signatures(model, examples, dynamic_shapes(inputs, ranges), paths, save)
                except Refused as error:
                    ranges = narrower(ranges, sizes_apart(error.__cause__), error, notes)
                    program, refused = export_with_signatures(model, examples, dynamic_shapes(inputs, ranges), paths, save)
            worst = difference(model, unfinished, inputs, ranges)
        if not worst <= TOLERANCE:
            raise Refused(
                f"the archive does not give what the model gives: relative difference {worst:.1e}, expected at most "
                f"{TOLERANCE:.0e}. The model does something by chance or by size that its graph does not hold; "
                "nothing was written.")
        os.replace(unfinished, file)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return {**told, "difference": worst, "nodes": steps(program), "bytes": os.path.getsize(file),
            "preserved": [path for path in paths if path not in refused]}
