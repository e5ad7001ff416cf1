#!/usr/bin/env python3
"""Writes a model as an archive of torch.export, which torch-adapters reads: AutoModel.fromExported('OUT.pt2').

    torch-adapters-export bert-base-uncased bert.pt2
    torch-adapters-export ./my-llama llama.pt2 --dtype bfloat16
    torch-adapters-export openai/whisper-tiny whisper.pt2 --part encoder
    torch-adapters-export my_package.nets:make net.pt2 --inputs 'x=float32[batch,3,32,32]'

MODEL is a Hugging Face name or folder, or module:factory: a function without arguments that gives a torch.nn.Module,
or a pair (module, {input name: example tensor}). The archive has the model in training mode (dropout is there, and is
left out when the model answers), its weights once each, its config and tokenizer, and what goes in and comes out of
every module, so that adapters find their places.

Python and torch >= 2.9 are needed here and now, never again where the archive is used.
"""

import argparse
import contextlib
import importlib
import inspect
import io
import json
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")


class Refused(Exception):
    """What a user reads instead of a stack of calls: what failed, then what to try."""


def say(text):
    print(text, file=sys.stderr)


# --- What goes in -----------------------------------------------------------------------------------------------

class Input:
    """One input: its example, and for every dimension the name of what varies (None where the size is fixed)."""

    def __init__(self, example, dims):
        self.example = example
        self.dims = dims


def parse_inputs(text, sizes):
    """'ids=int64[batch,seq]<100,image=float32[batch,3,32,32]': names in brackets vary, numbers do not."""
    import torch

    found = {}
    part = r"\s*(\w+)=(\w+)\[([^\]]*)\](?:<(\d+))?\s*(?:,|$)"
    if not re.fullmatch(f"(?:{part})+", text):
        raise Refused(f"--inputs: cannot read {text!r}; expected NAME=DTYPE[SIZES] or NAME=DTYPE[SIZES]<LIMIT, "
                      "separated by commas, as in 'ids=int64[batch,seq]<100,image=float32[batch,3,32,32]'")
    for name, dtype, shape, limit in re.findall(part, text):
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype):
            raise Refused(f"--inputs: {name} has dtype {dtype!r}; expected one of torch's, as float32 or int64")
        dims = [entry.strip() for entry in shape.split(",") if entry.strip()]
        lengths = [int(dim) if dim.isdigit() else sizes.setdefault(dim, 2 + len(sizes)) for dim in dims]
        generator = torch.Generator().manual_seed(0)
        if kind.is_floating_point:
            example = torch.randn(lengths, generator=generator).to(kind)
        else:
            example = torch.randint(0, int(limit or 2), lengths, generator=generator).to(kind)
        found[name] = Input(example, [None if dim.isdigit() else dim for dim in dims])
    return found


def accepts(model, name):
    return name in inspect.signature(model.forward).parameters


def text_inputs(model, config, prefix=""):
    """Ids and mask of two rows, the second shorter."""
    import torch

    rows, length = 2, 7
    vocabulary = getattr(config, "vocab_size", 2)
    ids = torch.randint(0, vocabulary, (rows, length), generator=torch.Generator().manual_seed(len(prefix)))
    pad = getattr(config, "pad_token_id", None)
    # RoBERTa counts its positions from the padding id: rows have none but where the mask says so.
    ids = torch.where(ids == pad, (ids + 1) % vocabulary, ids) if pad is not None else ids
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[1, -2:] = 0
    if pad is not None:
        ids[1, -2:] = pad
    dims = ["batch", f"{prefix}sequence"]
    found = {f"{prefix}input_ids": Input(ids, dims)}
    if accepts(model, f"{prefix}attention_mask"):
        found[f"{prefix}attention_mask"] = Input(mask, dims)
    if not prefix and accepts(model, "token_type_ids") and getattr(config, "type_vocab_size", 0) > 1:
        found["token_type_ids"] = Input(torch.zeros_like(ids), dims)
    return found


def image_inputs(config):
    import torch

    size = config.image_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    shape = (2, getattr(config, "num_channels", 3), height, width)
    return {"pixel_values": Input(torch.randn(shape, generator=torch.Generator().manual_seed(0)),
                                  ["batch", None, None, None])}


def huggingface_inputs(model):
    """By what the model calls its main input."""
    import torch

    config, main = model.config, getattr(model, "main_input_name", "input_ids")
    generator = torch.Generator().manual_seed(0)
    if main == "pixel_values" and hasattr(config, "image_size"):
        return image_inputs(config)
    if main == "input_features" and hasattr(config, "max_source_positions"):
        # Whisper's encoder takes 30 seconds, always: two frames a position.
        shape = (2, config.num_mel_bins, 2 * config.max_source_positions)
        return {main: Input(torch.randn(shape, generator=generator), ["batch", None, None])}
    if main == "input_values":
        return {main: Input(torch.randn((2, 4000), generator=generator), ["batch", "samples"])}
    if main != "input_ids" or not accepts(model, "input_ids"):
        raise Refused(f"{type(model).__name__} takes {main!r}, and its sizes are not known here; "
                      "give them by --inputs, as in --inputs 'x=float32[batch,3,32,32]'")
    found = text_inputs(model, config)
    if accepts(model, "decoder_input_ids"):
        found.update(text_inputs(model, config, "decoder_"))
    return found


def longest(config):
    """The longest row that the table of positions has room for, where there is one."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if limit and getattr(config, "model_type", "") in OFFSET_POSITIONS:
        limit -= config.pad_token_id + 1
    return limit if isinstance(limit, int) and limit > 1 else None


# Families whose positions start behind the padding id.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "longformer", "mpnet",
                    "roberta-prelayernorm", "xmod", "esm", "ibert", "luke", "markuplm", "layoutlmv3"}


# --- The model --------------------------------------------------------------------------------------------------

def load_factory(spec, inputs):
    import torch

    module_name, _, attribute = spec.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise Refused(f"MODEL {spec}: {error}; expected module:factory, where the module can be imported from here "
                      "(PYTHONPATH or the current folder)") from error
    made = factory()
    model, examples = made if isinstance(made, tuple) else (made, {})
    if not isinstance(model, torch.nn.Module):
        raise Refused(f"MODEL {spec}: the factory gave {type(model).__name__}; expected a torch.nn.Module, or a pair "
                      "of one and its example inputs by name")
    if not inputs:
        # What a factory gives as an example varies in the first dimension alone.
        inputs = {name: Input(value, ["batch"] + [None] * (value.dim() - 1)) for name, value in examples.items()}
    if not inputs:
        raise Refused(f"MODEL {spec}: no example inputs; give them by --inputs 'x=float32[batch,16]', or return "
                      "(module, {'x': tensor}) from the factory")
    return model, inputs


def load_huggingface(spec, options):
    try:
        import transformers
    except ImportError as error:
        raise Refused(f"MODEL {spec}: transformers is needed for Hugging Face's models ({error}); "
                      "python3 -m pip install transformers, or give module:factory") from error
    chosen = getattr(transformers, options.model_class, None)
    if chosen is None:
        raise Refused(f"--class: transformers {transformers.__version__} has no {options.model_class}")
    register_mask()
    try:
        model = chosen.from_pretrained(spec, dtype=options.dtype, attn_implementation=options.attention)
    except (OSError, ValueError, ImportError) as error:
        raise Refused(f"MODEL {spec}: {error}") from error
    return model


def register_mask():
    """'sdpa' whose masks are made by broadcasting: transformers makes them by vmap, which no archive can hold."""
    import torch
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, prepare_padding_mask, and_masks, \
        padding_mask_function
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def mask(batch_size, cache_position, kv_length, kv_offset=0, mask_function=None, attention_mask=None, **_):
        padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
        device = cache_position.device
        if padding is not None:
            mask_function = and_masks(mask_function, padding_mask_function(padding))
        rows = torch.arange(batch_size, device=device)[:, None, None, None]
        heads = torch.arange(1, device=device)[None, :, None, None]
        columns = (torch.arange(kv_length, device=device) + kv_offset)[None, None, None, :]
        seen = mask_function(rows, heads, cache_position[None, None, :, None], columns)
        return seen.expand(batch_size, 1, cache_position.shape[0], kv_length)

    ALL_MASK_ATTENTION_FUNCTIONS.register("exportable_sdpa", mask)
    ALL_ATTENTION_FUNCTIONS.register("exportable_sdpa", ALL_ATTENTION_FUNCTIONS["sdpa"])


def configs_of(config):
    """The config and those in it (CLIP and others hold one for each part)."""
    yield config
    for value in list(vars(config).values()):
        if type(value).__name__.endswith("Config") and value is not config:
            yield from configs_of(value)


def prepare(model, notes):
    """Training mode without what a graph cannot hold: a cache, layers and frames dropped by chance."""
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is None or not hasattr(config, "to_dict"):
            continue
        for part in configs_of(config):
            if getattr(part, "use_cache", False):
                part.use_cache = False
            if getattr(part, "_attn_implementation", None) == "sdpa":
                part._attn_implementation = "exportable_sdpa"
            if getattr(part, "apply_spec_augment", False):
                part.apply_spec_augment = False
                notes.append("spec augment: masks of random frames are not in the graph")
        for field in [name for name in vars(module) if name.endswith("layerdrop")]:
            if getattr(module, field):
                setattr(module, field, 0.0)
                notes.append("layerdrop: every layer is in the graph, always")
    return model


# --- The graph --------------------------------------------------------------------------------------------------

def holds_only_tensors(value):
    import torch

    if isinstance(value, (tuple, list)):
        return all(holds_only_tensors(entry) for entry in value)
    if isinstance(value, dict):
        return all(holds_only_tensors(entry) for entry in value.values())
    return value is None or isinstance(value, (torch.Tensor, bool, int, float, str))


def modules_to_preserve(model, examples):
    """Paths of the modules that one pass calls, with values that a signature can name; and why others are out."""
    import torch

    calls, wrong, handles = {}, {}, []
    paths = dict(model.named_modules())

    def hook(path):
        def called(_, args, kwargs, output):
            calls[path] = calls.get(path, 0) + 1
            for what, value in (("takes", (args, kwargs)), ("gives", output)):
                if not holds_only_tensors(value):
                    wrong[path] = f"it {what} what is neither tensor nor constant"
        return called

    for path, module in paths.items():
        if path:
            handles.append(module.register_forward_hook(hook(path), with_kwargs=True))
    try:
        with torch.no_grad():
            model(**examples)
    finally:
        for handle in handles:
            handle.remove()
    dropped = {path: wrong[path] for path in paths if path in wrong}
    for path, count in calls.items():
        if count > 1 and path not in dropped:
            dropped[path] = f"it is called {count} times"
    return [path for path in paths if path in calls and path not in dropped], dropped


def dynamic_shapes(inputs, ranges):
    from torch.export import Dim

    dims = {}
    for value in inputs.values():
        for name in value.dims:
            if name and name not in dims:
                low, high = ranges.get(name, (1, None))
                dims[name] = Dim(name, min=low, max=high)
    return {name: {i: dims[dim] for i, dim in enumerate(value.dims) if dim} for name, value in inputs.items()}


def export_once(model, examples, shapes, preserved):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (), examples, dynamic_shapes=shapes, strict=False,
                                      preserve_module_call_signature=tuple(preserved))
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            # Lines of the exporting machine's files; most of the graph's bytes.
            node.meta.pop("stack_trace", None)
            node.meta.pop("from_node", None)
            node.meta.pop("torch_fn", None)
    return program


def works(model, examples, shapes, preserved):
    import torch

    try:
        torch.export.save(export_once(model, examples, shapes, preserved), io.BytesIO())
    except Exception:  # noqa: BLE001 - torch.export raises whatever it met
        return False
    return True


def export_with_signatures(model, examples, shapes, paths, save):
    """Exports and saves with as many signatures as torch takes: those that it refuses are found by halves.

    `save(program, refused)` writes the archive; gives the program and why each refused path is out.
    """
    def attempt(names, refused):
        program = export_once(model, examples, shapes, names)
        save(program, refused)
        return program

    try:
        return attempt(paths, {}), {}
    except Exception as error:  # noqa: BLE001 - torch.export raises whatever it met
        reason = f"torch.export: {first_line(error)}"
    try:
        attempt([], {})
    except Exception as error:
        raise explained(error) from error
    kept = []

    def add(group):
        if works(model, examples, shapes, kept + group):
            kept.extend(group)
        elif len(group) > 1:
            add(group[:len(group) // 2])
            add(group[len(group) // 2:])

    add(paths[:len(paths) // 2])
    add(paths[len(paths) // 2:])
    refused = {path: reason for path in paths if path not in kept}
    return attempt([path for path in paths if path in kept], refused), refused


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


HINTS = (
    ("DataDependent", "the model decides by values of its tensors (an `if` or a size that depends on what goes in); "
                      "write it with torch.where or torch.cond, or export a part of it by --part"),
    ("DynamicCache", "a cache of keys and values is in the way; set use_cache to false"),
    ("specialized", "a size that was to vary is fixed by the model's code; give it as a number by --inputs"),
    ("Constraints violated", "a size that was to vary is bound by the model's code; give a number or another range "
                             "by --inputs and --range"),
    ("_add_batch_dim", "vmap in the model's masks cannot be saved; try --attention eager"),
    ("flat_apply", "vmap in the model's masks cannot be saved; try --attention eager"),
)


def explained(error):
    text = f"{type(error).__name__} {error}"
    hint = next((hint for word, hint in HINTS if word in text),
                "the model does something that no graph can hold; --part exports a part of it, --attention eager "
                "writes attention in plain operators")
    return Refused(f"torch.export refuses this model: {first_line(error)}\n  Why and what to try: {hint}.")


# --- The archive ------------------------------------------------------------------------------------------------

def output_names(model, examples):
    """Names of the flat outputs in their order."""
    import torch

    with torch.no_grad():
        output = model(**examples)
    if isinstance(output, dict):
        names = []
        for name, value in output.items():
            flat = torch.utils._pytree.tree_leaves(value)
            names += [name] if len(flat) == 1 else [f"{name}.{i}" for i in range(len(flat))]
        return names
    count = len(torch.utils._pytree.tree_leaves(output))
    return ["output"] if count == 1 else [f"output.{i}" for i in range(count)]


def describe(model, examples, notes):
    config = getattr(model, "config", None)
    config = json.loads(config.to_json_string(use_diff=False)) if hasattr(config, "to_json_string") else None
    return {
        "format": 1, "class": type(model).__name__, "base_model_prefix": getattr(model, "base_model_prefix", ""),
        "model_type": (config or {}).get("model_type"), "config": config, "input_names": list(examples),
        "output_names": output_names(model, examples), "notes": notes
    }


def tokenizer_files(spec, notes):
    from transformers import AutoTokenizer

    files = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            AutoTokenizer.from_pretrained(spec).save_pretrained(folder)
        except Exception as error:  # noqa: BLE001 - a model of images has none; anything else is worth a line
            notes.append(f"no tokenizer: {first_line(error)}")
            return files
        for name in TOKENIZER_FILES:
            path = Path(folder) / name
            if path.exists():
                files[name] = path.read_text(encoding="utf-8")
    return files


def other_sizes(inputs, ranges):
    """The inputs with one row more and a few tokens more: what a graph of fixed sizes would not take."""
    import torch

    found = {}
    for name, value in inputs.items():
        example = value.example
        for i, dim in enumerate(value.dims):
            high = ranges.get(dim, (1, None))[1] if dim else None
            more = example.shape[i] + (1 if dim == "batch" else 2)
            if dim and (high is None or more <= high):
                index = torch.arange(more) % example.shape[i]
                example = example.index_select(i, index)
        found[name] = example
    return found


def check(model, file, inputs, ranges):
    """The saved archive, read again, against the model: the same seed gives the same dropout to both."""
    import torch

    given = other_sizes(inputs, ranges)
    results = []
    loaded = torch.export.load(file).module()
    for run in (lambda: model(**given), lambda: loaded(**given)):
        torch.manual_seed(0)
        with torch.no_grad():
            results.append(torch.utils._pytree.tree_leaves(run()))
    worst = 0.0
    for ours, theirs in zip(*results):
        if isinstance(ours, torch.Tensor) and ours.is_floating_point() and ours.numel():
            scale = ours.abs().max().clamp_min(1e-6)
            worst = max(worst, ((ours - theirs).abs().max() / scale).item())
    tolerance = 1e-5 if all(p.dtype != torch.bfloat16 and p.dtype != torch.float16 for p in model.parameters()) else 2e-2
    if len(results[0]) != len(results[1]) or not worst <= tolerance:
        raise Refused(f"the archive does not give the model's outputs: relative difference {worst:.1e}, expected at "
                      f"most {tolerance:.0e}. The model does something by chance, or by sizes, that its graph does "
                      "not have; the file was removed.")
    return worst


def write(model, inputs, file, ranges=None, files=None, notes=None):
    """Exports `model` to `file`; gives what torch_adapters.json says of it."""
    import torch

    ranges, files, notes = ranges or {}, files or {}, notes if notes is not None else []
    prepare(model, notes)
    examples = {name: value.example for name, value in inputs.items()}
    with quiet():
        paths, not_called = modules_to_preserve(model, examples)
        told = describe(model, examples, notes)

        def save(program, refused):
            told["not_preserved"] = {**not_called, **refused}
            torch.export.save(program, file, extra_files={"torch_adapters.json": json.dumps(told), **files})

        program, refused = export_with_signatures(model, examples, dynamic_shapes(inputs, ranges), paths, save)
    try:
        told["difference"] = check(model, file, inputs, ranges)
    except Refused:
        Path(file).unlink(missing_ok=True)
        raise
    told["nodes"] = len(program.graph.nodes)
    told["preserved"] = [path for path in paths if path not in refused]
    return told


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
