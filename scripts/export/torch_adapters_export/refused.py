"""What a user reads instead of a stack of calls."""


class Refused(Exception):
    """What failed, then what to try."""


class Usage(Refused):
    """The same, of the command line itself."""


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


# A word of what torch says, and what it means.
REASONS = (
    (("GuardOnDataDependent", "DataDependent", "data-dependent", "unbacked"),
     "the model decides by values of its tensors (an `if`, a loop or a size that depends on what goes in). Write it with "
     "torch.where or torch.cond, or export a part without it by --part"),
    (("DynamicCache", "EncoderDecoderCache", "past_key_values"),
     "a cache of keys and values is among its outputs, which a graph cannot hold: set use_cache to false in its config"),
    (("_add_batch_dim", "flat_apply", "vmap"),
     "it uses vmap, which cannot be saved: try --attention eager"),
    (("specialized", "Constraints violated", "ConstraintViolation"),
     "a size that was to vary is fixed or bound by the model's code: give it as a number by --inputs, or its bounds by "
     "--range, as in --range sequence=2..512"),
    (("Out of memory", "out of memory"), "there is not enough memory to hold the model twice"),
)


def details(error):
    """What torch says of sizes: its first line is only where to read more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines[1:] if line.startswith(("- ", "Suggested")) or " = " in line]
    return "".join(f"\n    {line[:200]}" for line in wanted[:6]) if "Constraints violated" in str(error) else ""


def explained(error, doing):
    text = f"{type(error).__name__} {error}"
    hint = next((hint for words, hint in REASONS if any(word in text for word in words)),
                "it does what no graph can hold. --part exports a part of it, --attention eager writes attention in "
                "plain operators, --inputs gives other examples")
    return Refused(f"{doing}: {first_line(error)}{details(error)}\n  What it means, and what to try: {hint}.")
