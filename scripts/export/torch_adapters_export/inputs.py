"""What goes into a model when it is exported: examples, and which of their sizes vary."""

import inspect
import re
from dataclasses import dataclass

import torch

from .refused import Refused, Usage


@dataclass(frozen=True)
class Input:
    """An example, and for every dimension the name of what varies, or None where the size is fixed."""

    example: torch.Tensor
    dims: tuple


# NAME=DTYPE[SIZES] or NAME=DTYPE[SIZES]<LIMIT
PART = r"\s*(\w+)=(\w+)\[([^\]]*)\](?:<(\d+))?\s*"
EXPECTED = "expected NAME=DTYPE[SIZES], whole numbers below a limit as NAME=DTYPE[SIZES]<LIMIT, separated by commas, as " \
           "in 'input_ids=int64[batch,sequence]<100,attention_mask=int64[batch,sequence]' or 'image=float32[batch,3,32,32]'; " \
           "sizes that are names vary"


def parse_inputs(texts):
    """Of each --inputs. Equal names are equal sizes. Examples are of 2 and more: torch takes a size of 1 for a constant."""
    found, sizes = {}, {}
    generator = torch.Generator().manual_seed(0)
    for name, dtype, shape, limit in (part for text in texts for part in parts_of(text)):
        if name in found:
            raise Usage(f"--inputs: {name} is given twice; expected each input once")
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype):
            raise Usage(f"--inputs: {name} has dtype {dtype!r}; expected one of torch's, as float32 or int64")
        dims = [entry.strip() for entry in shape.split(",") if entry.strip()]
        if not all(re.fullmatch(r"\d+|[A-Za-z_]\w*", dim) for dim in dims):
            raise Usage(f"--inputs: {name} has sizes [{shape}]; {EXPECTED}")
        if dims and dims[0].isdigit() and int(dims[0]) > 1:
            raise Usage(f"--inputs: {name} has {dims[0]} rows, always; expected a name for the first size, which rows of a "
                        f"batch are counted by, as in {name}={dtype}[{', '.join(['batch', *dims[1:]])}]")
        if limit == "0":
            raise Usage(f"--inputs: {name} is to be whole numbers below 0, of which there are none here; expected a limit of 1 "
                        "or more")
        lengths = [int(dim) if dim.isdigit() else sizes.setdefault(dim, 2 + 3 * len(sizes)) for dim in dims]
        if kind.is_floating_point:
            example = torch.randn(lengths, generator=generator).to(kind)
        else:
            example = torch.randint(0, int(limit or 2), lengths, generator=generator).to(kind)
        found[name] = Input(example, tuple(None if dim.isdigit() else dim for dim in dims))
    return found


def parts_of(text):
    if not re.fullmatch(rf"{PART}(?:,{PART})*", text):
        raise Usage(f"--inputs: cannot read {text!r}; {EXPECTED}")
    return re.findall(PART, text)


def parse_ranges(texts):
    found = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=(\d+)\.\.(\d+)?", text)
        if not match or (match[3] and int(match[3]) < int(match[2])):
            raise Usage(f"--range: cannot read {text!r}; expected NAME=FROM..TO or NAME=FROM.., as in sequence=1..512")
        if match[1] in found:
            raise Usage(f"--range: {match[1]} is given twice; expected each size once")
        found[match[1]] = (int(match[2]), int(match[3]) if match[3] else None)
    return found


def accepts(model, name):
    return name in inspect.signature(model.forward).parameters


def required_inputs(model):
    """What its forward does not do without; where all may be left out, the first."""
    parameters = [one for one in inspect.signature(model.forward).parameters.values()
                  if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    needed = [one.name for one in parameters if one.default is one.empty]
    return needed or [one.name for one in parameters[:1]] or ["x"]


def check_names(model, names):
    """Names that the model's forward does not take."""
    parameters = inspect.signature(model.forward).parameters.values()
    if all(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters):
        raise Usage(f"MODEL: forward of {type(model).__name__} names no argument, and an archive's inputs have names; expected "
                    "def forward(self, input_ids, …). Of torch.compile give model._orig_mod, of DataParallel model.module")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters if one.kind is not one.VAR_POSITIONAL]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Usage(f"--inputs: {type(model).__name__} takes no {', '.join(unknown)}; it takes {', '.join(known)}")


def text_inputs(model, config, prefix=""):
    """Ids and mask of two rows, the second shorter."""
    rows, length = 2, 7
    vocabulary = getattr(config, "vocab_size", 2)
    pad = getattr(config, "pad_token_id", None)
    ids = torch.randint(0, vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[1, -2:] = 0
    if isinstance(pad, int) and 0 <= pad < vocabulary:
        ids = torch.where(ids == pad, (ids + 1) % vocabulary, ids)
        ids[1, -2:] = pad
    dims = ("batch", f"{prefix}sequence")
    found = {f"{prefix}input_ids": Input(ids, dims)}
    if accepts(model, f"{prefix}attention_mask"):
        found[f"{prefix}attention_mask"] = Input(mask, dims)
    if not prefix and accepts(model, "token_type_ids") and getattr(config, "type_vocab_size", 0) > 1:
        found["token_type_ids"] = Input(torch.zeros_like(ids), dims)
    return found


def noise_input(shape, dims):
    return Input(torch.randn(shape, generator=torch.Generator().manual_seed(0)), dims)


def takes_sound_masks(config):
    """Whether zeros behind a sound can be hidden: a norm over all of its samples, as wav2vec2-base has it, reads them."""
    return getattr(config, "feat_extract_norm", "layer") == "layer"


def varying(inputs):
    """The names of sizes that vary, beside the number of rows."""
    return list(dict.fromkeys(dim for value in inputs.values() for dim in value.dims[1:] if dim))


def unmasked(inputs):
    """The names of sizes, beside the number of rows, that vary with no mask to say where a row ends."""
    masked = {dim for name, value in inputs.items() if name.endswith("attention_mask") for dim in value.dims}
    return sorted(set(varying(inputs)) - masked)


def check_open_sizes(inputs):
    """Of numbers one size may differ from row to row, and a row's numbers tell which."""
    for name, value in inputs.items():
        dims = [dim or str(size) for dim, size in zip(value.dims, value.example.shape)]
        open_dims = [dim for dim in value.dims[1:] if dim]
        if value.example.is_floating_point() and len(open_dims) > 1:
            fixed = [dim if dim not in open_dims[:-1] else "32" for dim in dims]
            kind = str(value.example.dtype).removeprefix("torch.")
            raise Usage(f"--inputs: {name} varies in {' and '.join(open_dims)}; fromExported takes rows that differ in one size: "
                        f"give numbers for the others, as in {name}={kind}[{','.join(fixed)}]")


def example_form(name, config):
    """What an input of this name may be like, as --inputs has it."""
    if name.endswith("ids"):
        return f"int64[batch,sequence]<{getattr(config, 'vocab_size', 1000)}"
    if name == "pixel_values":
        return f"float32[batch,{getattr(config, 'num_channels', 3)},224,224]"
    if name == "input_values":
        return "float32[batch,samples]"
    return f"float32[batch,sequence,{getattr(config, 'hidden_size', 768)}]"


def by_inputs(takes, config):
    """How the inputs that a network takes are given."""
    return f"by --inputs, as in --inputs '{takes[0]}={example_form(takes[0], config)}'"


def other_examples(model):
    """What the examples' refusal means, and what to try."""
    takes = required_inputs(model)
    return (f"they do not fit its forward, which takes {', '.join(takes)}",
            f"give others {by_inputs(takes, getattr(model, 'config', None))}")


def check_decoder(model, names):
    """A decoder is taken behind an encoder of ids; behind one of sounds or images the encoder is taken alone."""
    main = getattr(model, "main_input_name", "input_ids")
    if main == "input_ids" or not accepts(model, "decoder_input_ids") or not (main in names or not names):
        return
    path = next((path for path, _ in model.named_modules() if path.split(".")[-1] == "encoder"), "encoder")
    raise Refused(f"{type(model).__name__} reads {main} and answers by a decoder, which fromExported takes behind ids alone.\n"
                  f"  What to try: export its encoder, by --part {path}.")


def huggingface_inputs(model, config):
    """By what the model calls its main input."""
    main = getattr(model, "main_input_name", "input_ids")
    # A class of a network of images and texts has those of images in a config of their own.
    images = config if hasattr(config, "image_size") else getattr(config, "vision_config", None)
    if main == "pixel_values" and hasattr(images, "image_size"):
        size = images.image_size
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        return {main: noise_input((2, getattr(images, "num_channels", 3), height, width), ("batch", None, None, None))}
    if main == "input_features" and hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        # Whisper's encoder takes thirty seconds, always: two frames a position.
        shape = (2, config.num_mel_bins, 2 * config.max_source_positions)
        return {main: noise_input(shape, ("batch", None, None))}
    if main == "input_features" and hasattr(config, "feature_projection_input_dim"):
        mask = torch.ones(2, 50, dtype=torch.long)
        mask[1, -10:] = 0
        frames = noise_input((2, 50, config.feature_projection_input_dim), ("batch", "frames", None))
        return {main: frames, "attention_mask": Input(mask, ("batch", "frames"))}
    if main == "input_values" and hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        # A spectrogram, as the audio spectrogram transformer takes it, always of one length.
        return {main: noise_input((2, config.max_length, config.num_mel_bins), ("batch", None, None))}
    if main == "input_values" and hasattr(config, "conv_kernel"):
        found = {main: noise_input((2, 4000), ("batch", "samples"))}
        if takes_sound_masks(config) and accepts(model, "attention_mask"):
            mask = torch.ones(2, 4000, dtype=torch.long)
            mask[1, -800:] = 0
            found["attention_mask"] = Input(mask, ("batch", "samples"))
        return found
    name = type(model).__name__
    if main != "input_ids" or not accepts(model, "input_ids"):
        takes = required_inputs(model)
        raise Refused(f"{name} takes {', '.join(takes)}, whose sizes are not known here.\n  What to try: give them "
                      f"{by_inputs(takes, config)}.")
    if name.endswith("ForMultipleChoice"):
        raise Refused(f"{name} takes rows of choices, [batch, choices, sequence], which fromExported has no head for.\n  "
                      "What to try: export the base model (--class AutoModel), and add the head where the archive is "
                      "opened, as model.addMultipleChoiceHead('choices', { numChoices: 4 }).")
    found = text_inputs(model, config)
    if accepts(model, "decoder_input_ids"):
        found.update(text_inputs(model, config, "decoder_"))
    return found


# Families whose positions begin behind the padding id.
OFFSET_POSITIONS = {"camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta",
                    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}


def fewest_samples(config):
    """Of a sound that gives two frames: one frame alone would be a size that does not vary."""
    fewest = 2
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride))):
        fewest = (fewest - 1) * stride + kernel
    return fewest


def huggingface_ranges(config):
    """How long rows may be, where a config says it: by their positions, or by what convolutions need."""
    if hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        return {"samples": (fewest_samples(config), None)}
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    longest = next((value for name in names if (value := getattr(config, name, None))), None)
    if not isinstance(longest, int) or longest < 2:
        return {}
    if getattr(config, "model_type", "") in OFFSET_POSITIONS:
        longest -= (config.pad_token_id or 0) + 1
    return {"sequence": (1, longest), "decoder_sequence": (1, longest)}


def dynamic_shapes(inputs, ranges):
    from torch.export import Dim

    dims = {}
    for value in inputs.values():
        for name in filter(None, value.dims):
            low, high = ranges.get(name, (1, None))
            dims.setdefault(name, Dim(name, min=low, max=high))
    return {name: {i: dims[dim] for i, dim in enumerate(value.dims) if dim} for name, value in inputs.items()}


def in_range(inputs, ranges):
    """Examples with sizes between their bounds, and no first size, which the model may treat by itself."""
    def within(size, dim):
        low, high = ranges.get(dim, (1, None))
        size = size if size >= low else low + 1
        return size if high is None else min(size, high)

    def fitted(value):
        example = value.example
        for i, dim in enumerate(value.dims):
            if dim is not None and (size := within(example.shape[i], dim)) != example.shape[i]:
                example = example.index_select(i, torch.arange(size) % example.shape[i])
        return Input(example, value.dims)
    return {name: fitted(value) for name, value in inputs.items()}


def other_sizes(inputs, ranges):
    """The examples with one row more and a few tokens more: what a graph of fixed sizes does not take."""
    found = {}
    for name, value in inputs.items():
        example = value.example
        for i, dim in enumerate(value.dims):
            if dim is None:
                continue
            limit = ranges.get(dim, (1, None))[1]
            size = example.shape[i] + (1 if dim == "batch" else 2)
            size = size if limit is None else min(size, limit)
            example = example.index_select(i, torch.arange(size) % example.shape[i])
        found[name] = example
    return found
