"""The model: from Hugging Face or from a function of the user's, in the mode in which a graph can hold it."""

import contextlib
import importlib
import json
import logging
import os
import re
import sys
from pathlib import Path

import torch

from .hub import endpoint
from .inputs import Input
from .refused import Refused, Usage, first_line


def is_factory(spec):
    """module:factory; a folder's name with a colon in it is none, nor is a drive's letter."""
    return re.fullmatch(r"[\w.]+:\w+", spec) is not None and not os.path.exists(spec)


def load_factory(spec):
    """(module, examples by name) from a function without arguments."""
    module_name, _, attribute = spec.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise Usage(f"MODEL {spec}: {error}. Expected module:factory, where Python finds the module (in the current "
                    "folder or on PYTHONPATH)") from error
    if not callable(factory) or isinstance(factory, torch.nn.Module):
        raise Usage(f"MODEL {spec}: {attribute} is {type(factory).__name__}; expected a function without arguments")
    try:
        made = factory()
    except Exception as error:  # noqa: BLE001 - it is the user's own
        raise Refused(f"MODEL {spec}: {attribute}() fails: {first_line(error)}\n  Expected a function without arguments that "
                      "gives a torch.nn.Module; --verbose tells where it stopped") from error
    model, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(model, torch.nn.Module) or not isinstance(examples, dict):
        raise Usage(f"MODEL {spec}: the function gave {type(model).__name__}; expected a torch.nn.Module, or a pair of "
                    "one and a dict of example tensors by the names of forward's arguments")
    # The first size varies: what it is of an example of the user's own is not known otherwise.
    return model, {name: Input(value, ("batch", *[None] * (value.dim() - 1))) for name, value in examples.items()}


def in_float32(model, notes):
    """A network that computes in one type does so in float32; one of several types has casts of its own, and stays as it is."""
    types = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if len(types) == 1 and types != {torch.float32}:
        note(notes, f"the weights, {str(*types).removeprefix('torch.')}, are float32 in the archive")
        model.to(torch.float32)


def class_hint(spec, class_name):
    """The class that a folder's config.json names, where transformers has it and it was not the one asked for."""
    import transformers

    try:
        named = json.loads((Path(spec) / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    known = isinstance(named, str) and named != class_name and hasattr(transformers, named)
    return f".\n  What to try: --class {named}, which its config.json names" if known else ""


def load_huggingface(spec, class_name, attention, unreachable=None):
    """`unreachable`: why there is no hub, so that an earlier download must do."""
    try:
        import transformers
    except ImportError as error:
        raise Refused(f"MODEL {spec}: Hugging Face's models need transformers ({error}): "
                      "python3 -m pip install transformers. A model of your own is given as module:factory") from error
    # Importing it set what it says of every try to reach the hub.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    chosen = getattr(transformers, class_name, None)
    if chosen is None:
        raise Usage(f"--class: transformers {transformers.__version__} has no {class_name}")
    extra = {} if attention is None else {"attn_implementation": attention}
    try:
        return chosen.from_pretrained(spec, dtype=torch.float32, **extra)
    except Exception as error:  # noqa: BLE001 - of a file that is cut off, or another model's, whatever reads it
        if unreachable is not None:
            raise Refused(f"MODEL {spec}: {endpoint()} cannot be reached ({unreachable}), and no earlier download holds it."
                          "\n  What to try: a folder with config.json and weights, or the hub once it answers.") from error
        if mismatch := re.search(r"size mismatch for (\S+): .*?Size\((\[.*?\])\).*?Size\((\[.*?\])\)", str(error)):
            raise Refused(f"MODEL {spec}: its weights are not what {class_name} has with its config.json: there is a "
                          f"{mismatch[1]} of {mismatch[2]} where the class has {mismatch[3]}.\n  What to try: the class that "
                          "the weights were saved from, by --class, or the config.json that they were saved with.") from error
        raise Refused(f"MODEL {spec}: cannot be loaded as {class_name}: {first_line(error)}\n  Expected a name on the "
                      f"hub, a folder with config.json and weights, or module:factory{class_hint(spec, class_name)}") from error


def part_of(model, path):
    try:
        part = model.get_submodule(path)
    except AttributeError as error:
        names = ", ".join(name for name, _ in model.named_children())
        raise Usage(f"--part: {type(model).__name__} has no module {path!r}; its own are {names}") from error
    if not hasattr(part, "config") and hasattr(model, "config"):
        part.config = model.config
    return part


def configs_of(config):
    """The config, and those of its parts (CLIP's holds two)."""
    yield config
    for value in list(vars(config).values()):
        if type(value).__name__.endswith("Config") and value is not config:
            yield from configs_of(value)


def chance_of(module):
    """How often a module for stochastic depth leaves its block out: transformers' and timm's name, and torchvision's."""
    chance = getattr(module, "drop_prob", getattr(module, "p", None))
    return 1.0 if chance is None else chance


def prepare(model, notes):
    """Training mode, without what a graph cannot hold: caches, and masks drawn outside of torch."""
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        # Its random numbers are one a row, which no graph draws row by row: every block counts, as it does in eval().
        if type(module).__name__.endswith(("DropPath", "StochasticDepth")):
            module.eval()
            if chance_of(module) > 0:
                note(notes, "stochastic depth (drop path): every block is in the graph, whatever chance says")
        config = getattr(module, "config", None)
        for part in configs_of(config) if hasattr(config, "to_dict") else ():
            part.use_cache = False
            if getattr(part, "apply_spec_augment", False):
                part.apply_spec_augment = False
                note(notes, "SpecAugment: its masks of frames, drawn outside the graph, are not in it")


@contextlib.contextmanager
def every_layer(model, notes):
    """Models with layerdrop draw a number before each layer and go on by it: here it says that no layer is left out."""
    configs = [module.config for module in model.modules() if hasattr(getattr(module, "config", None), "to_dict")]
    rates = [value for holder in (*model.modules(), *configs) for name, value in vars(holder).items()
             if name.endswith("layerdrop")]
    if not rates:
        yield
        return
    if any(rates):
        note(notes, "layerdrop: every layer is in the graph, whatever chance says")
    drawn = torch.rand
    torch.rand = lambda *sizes, **options: 1.0 if sizes == ([],) else drawn(*sizes, **options)
    try:
        yield
    finally:
        torch.rand = drawn


def note(notes, text):
    if text not in notes:
        notes.append(text)


def broadcast_mask(batch_size, cache_position, kv_length, kv_offset=0, mask_function=None, attention_mask=None, **_):
    """transformers' masks by broadcasting instead of vmap: the same values, in operators that can be saved."""
    from transformers.masking_utils import and_masks, padding_mask_function, prepare_padding_mask

    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset, _slice=False)
    if padding is not None:
        mask_function = and_masks(mask_function, padding_mask_function(padding))
    device = cache_position.device
    rows = torch.arange(batch_size, device=device)[:, None, None, None]
    heads = torch.arange(1, device=device)[None, :, None, None]
    columns = (torch.arange(kv_length, device=device) + kv_offset)[None, None, None, :]
    seen = mask_function(rows, heads, cache_position[None, None, :, None], columns)
    return seen.expand(batch_size, 1, cache_position.shape[0], kv_length)


def broadcast_eager_mask(*args, dtype=torch.float32, **kwargs):
    seen = broadcast_mask(*args, **kwargs)
    zero = torch.zeros((), dtype=dtype, device=seen.device)
    return torch.where(seen, zero, torch.finfo(dtype).min)


def is_layer_norm(module):
    """A LayerNorm of the model's own code, as DeBERTa's: by its name, its weights and what it gives."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    named = type(module).__name__.endswith("LayerNorm") and not isinstance(module, torch.nn.LayerNorm)
    if not named or weight is None or bias is None or weight.dim() != 1 or weight.shape != bias.shape:
        return False
    example = torch.randn(2, 3, len(weight), generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        with torch.no_grad():
            given = module(example)
    except Exception:  # noqa: BLE001 - one that takes other sizes is another norm
        return False
    return torch.is_tensor(given) and torch.allclose(given, layer_norm(module)(example), atol=1e-5)


def layer_norm(module):
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", 1e-5))
    return lambda x: torch.nn.functional.layer_norm(x, module.weight.shape, module.weight, module.bias, eps)


@contextlib.contextmanager
def plain_layer_norms(model):
    """One operator each, which adapters of a post-LN model stand before and behind."""
    found = [module for module in model.modules() if is_layer_norm(module)]
    for module in found:
        module.forward = layer_norm(module)
    try:
        yield
    finally:
        for module in found:
            del module.forward


@contextlib.contextmanager
def uncached_positions(model):
    """ESM's rotary positions keep their tables until a row has another length, which a graph of all lengths cannot ask."""
    found = [module for module in model.modules()
             if hasattr(module, "_seq_len_cached") and hasattr(module, "_update_cos_sin_tables")]

    def forget(module):
        module._seq_len_cached = module._cos_cached = module._sin_cached = None

    def made_anew(module):
        update = module._update_cos_sin_tables

        def tables(*args, **kwargs):
            forget(module)
            return update(*args, **kwargs)
        return tables
    for module in found:
        module._update_cos_sin_tables = made_anew(module)
    try:
        yield
    finally:
        for module in found:
            del module._update_cos_sin_tables
            forget(module)


@contextlib.contextmanager
def masks_as_given():
    """PyTorch's nn.Transformer and its kin look whether a mask's values are causal: a graph takes them as they are."""
    from torch.nn.modules import transformer

    before = getattr(transformer, "_detect_is_causal_mask", None)
    if before is None:
        yield
        return
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: is_causal is True
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = before


@contextlib.contextmanager
def savable_masks():
    """transformers 4.5x makes its masks by vmap, which no archive can hold. Only while a graph is made."""
    try:
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as masks
    except ImportError:
        yield
        return
    mapping = masks._global_mapping
    before = dict(mapping)
    mapping.update(sdpa=broadcast_mask, eager=broadcast_eager_mask)
    try:
        yield
    finally:
        mapping.update(before)
