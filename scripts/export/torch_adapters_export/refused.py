"""What a user reads instead of a stack of calls."""

import re
import sysconfig
import traceback
from pathlib import Path


class Refused(Exception):
    """What failed, then what to try."""


class Usage(Refused):
    """The same, of the command line itself."""


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


# Words of what torch says, what it means, and what to try.
REASONS = (
    (("GuardOnDataDependent", "DataDependent", "data-dependent", "unbacked"),
     "the model decides by values of its tensors (an `if`, a loop or a size that depends on what goes in)",
     "write it with torch.where or torch.cond, or export a part without it by --part"),
    (("DynamicCache", "EncoderDecoderCache", "past_key_values"),
     "a cache of keys and values is among its outputs, which a graph cannot hold",
     "set use_cache to false in its config"),
    (("_add_batch_dim", "flat_apply", "vmap"), "it uses vmap, which cannot be saved", "--attention eager"),
    (("specialized", "Constraints violated", "ConstraintViolation"),
     "a size that was to vary is fixed or bound by the model's code",
     "a number in the place of {size} in --inputs, for rows of one length, or bounds in which the code is the same by "
     "--range {size}=FROM..TO"),
    (("No registered serialization name", "unsupported type of output", "to be one of the following types"),
     "what its forward gives cannot be written",
     "return a tensor, a tuple or a dict; a dataclass also needs torch.export.register_dataclass(Class, "
     "serialized_type_name='Class')"),
    (("_register_namedtuple",), "what its forward gives is a NamedTuple, which cannot be written", "return a tuple or a dict"),
    (("Kernel size can't be greater than actual input size", "Padding size should be less than", "Output size is too small"),
     "a convolution or a pooling reads more than a row of the examples has",
     "longer ones: a number in the place of a size in --inputs, or bounds by --range {size}=64..4000"),
    (("Out of memory", "out of memory"), "there is not enough memory to hold the model twice",
     "a machine with more, or a part of the model by --part"),
)
OTHERWISE = ("it does what no graph can hold", "--part exports a part of it, --attention eager writes attention in plain "
             "operators, --inputs gives other examples")


def details(error):
    """What torch says of sizes: its first line is only where to read more."""
    if "Constraints violated" not in str(error):
        return ""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
    said = [line.removeprefix("- ").split(". If ")[0] for line in lines if line.startswith("- ")]
    fixes = [f"torch suggests {line}" for line in lines if " = " in line and not line.startswith("- ")]
    return "".join(f"\n    {line[:300]}" for line in list(dict.fromkeys(said + fixes))[:4])


def violated(error):
    """What torch says of each size that cannot vary as it should."""
    return sorted({line.strip() for line in str(error).splitlines() if "Not all values of " in line})


def named_sizes(error):
    """Those that torch says of which they cannot vary as they should, as --inputs and --range call them."""
    return re.findall(r"(?:Not all values of|You marked|Constraints violated \() ?(\w+)\b", str(error))


SIZE = r"L\[.*?\]\.size\(\)\[\d+\]"
APART = re.compile(rf"values of (\w+) = .* generated guard (?:{SIZE} != (\d+)|(\d+) != {SIZE}|"
                   rf"\(\(-(\d+)\) \+ {SIZE}\) != (\d+))\.")


def sizes_apart(error):
    """Sizes by name that a graph would be another one for: attention that cuts its mask of all positions has nothing to
    cut there."""
    found = {(match[1], sum(int(number or 0) for number in match.groups()[1:])) for line in violated(error) if (match := APART.search(line))}
    return dict(found) if len(dict(found)) == len(found) else {}


SUGGESTED = re.compile(r"^\s*(\w+) = Dim\('\w+'(?:, min=(\d+))?(?:, max=(\d+))?\)\s*$", re.MULTILINE)


def suggested(error):
    """The bounds by name in which the code is the same, as torch found them."""
    return " ".join(f"--range {name}={low or 1}..{high}" for name, low, high in SUGGESTED.findall(str(error)) if low or high)


def place_of(error):
    """The line of the model's code that was running, as torch was called last."""
    import torch

    library = sysconfig.get_paths()["stdlib"]
    outside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        ours = frame.filename.startswith(outside) or not Path(frame.filename).is_file()
        if ours or (frame.filename.startswith(library) and "-packages" not in frame.filename):
            continue
        name = frame.filename.replace("\\", "/").rpartition("-packages/")[2]
        return f"\n    at {name}, line {frame.lineno}: {frame.line}"
    return ""


def explained(error, doing, otherwise=OTHERWISE, open_sizes=()):
    """Of an error what it means and what to try.

    open_sizes: names of the sizes that vary, for an error that names none."""
    text = f"{type(error).__name__} {error}"
    meaning, hint = next((told for words, *told in REASONS if any(word in text for word in words)), otherwise)
    apart = sizes_apart(error)
    # Not where other numbers are in the way, too.
    if len(apart) == 1 and all(f" {size}" in line for line in violated(error) for size in apart.values()):
        (name, size), = apart.items()
        hint = f"--range {name}=1..{size - 1}, since the model does something else at {size}"
    elif bounds := suggested(error):
        hint = f"{bounds}, in which the code is the same"
    hint = hint.replace("{size}", next(iter(named_sizes(error) or open_sizes), "the size"))
    said = first_line(error).split(" For more information")[0]
    return Refused(f"{doing}: {meaning}.\n  What to try: {hint}.\n  What torch says: {said}{details(error)}{place_of(error)}")
