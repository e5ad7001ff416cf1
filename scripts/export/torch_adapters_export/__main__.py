"""torch-adapters-export MODEL OUT.pt2: writes a model as an archive of torch.export, which torch-adapters reads."""

import argparse
import contextlib
import json
import logging
import os
import sys
import traceback
from pathlib import Path

USAGE = """\
examples:
  torch-adapters-export bert-base-uncased bert.pt2
  torch-adapters-export openai/clip-vit-base-patch32 clip.pt2 --class CLIPVisionModel
  torch-adapters-export openai/whisper-tiny whisper.pt2 --class WhisperModel --part encoder
  torch-adapters-export my_nets:make net.pt2 --inputs 'x=float32[batch,3,32,32]'

The archive holds the model in training mode (its dropout acts when adapters train, and not when the model answers), its
weights once each, config and tokenizer, and what goes in and comes out of every module, so that adapters find their
places. Python and torch are needed here, never where the archive is used:
  const model = await AutoModel.fromExported('bert.pt2')

exit status: 0 the archive is written and gives the model's outputs; 1 the model cannot be exported; 2 wrong arguments
"""


def arguments(given):
    parser = argparse.ArgumentParser(
        prog="torch-adapters-export", epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes a model as an archive of torch.export, which torch-adapters reads in Node.js.")
    parser.add_argument("model", metavar="MODEL", help="a name on Hugging Face's hub, a folder, or module:factory (a "
                        "function without arguments that gives a torch.nn.Module, or a pair of one and a dict of examples, "
                        "whose sizes are those of all rows)")
    parser.add_argument("out", metavar="OUT.pt2", help="the file to write; what is there is replaced at the end")
    parser.add_argument("--class", dest="model_class", default="AutoModel", metavar="NAME",
                        help="transformers' class that loads MODEL (default: AutoModel, which is without a head)")
    parser.add_argument("--part", metavar="PATH", help="export this module of the model, as 'encoder'")
    parser.add_argument("--inputs", action="append", default=[], metavar="SPEC", help="examples, as "
                        "'input_ids=int64[batch,sequence]<100,attention_mask=int64[batch,sequence]': sizes that are names vary, "
                        "whole numbers are below the limit (default 2); the first size is a name; may be given "
                        "again, for further inputs")
    parser.add_argument("--range", dest="ranges", action="append", default=[], metavar="NAME=FROM..TO",
                        help="between which bounds a size varies, as sequence=1..512; may be given again")
    parser.add_argument("--attention", choices=["sdpa", "eager"], help="how attention is written (default: as "
                        "transformers chooses); eager is for models that sdpa does not fit")
    parser.add_argument("--tokenizer", metavar="SOURCE", help="where the tokenizer is, if not beside the model; none: "
                        "leave it out")
    parser.add_argument("--verbose", action="store_true", help="print all that torch and the model's code say, and, of what "
                        "is refused, the stack of calls")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return parser.parse_args(given)


def check_torch():
    try:
        import torch
    except ImportError as error:
        raise SystemExit(f"torch-adapters-export: {sys.executable} has no torch ({error}).\n"
                         "  python3 -m pip install 'torch>=2.9' transformers, or set TORCH_ADAPTERS_PYTHON to a Python "
                         "that has them.") from error
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 9):
        raise SystemExit(f"torch-adapters-export: torch {torch.__version__} writes archives of an older layout; expected "
                         "2.9 or newer.\n  python3 -m pip install --upgrade 'torch>=2.9'")
    return torch


@contextlib.contextmanager
def quiet():
    """torch prints pages of a graph before an error that says it all; the same errors come in a few lines below."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.close(nowhere)
        for number, before in kept:
            os.dup2(before, number)
            os.close(before)


def export(options, torch):
    from .archive import tokenizer_files, write
    from .hub import without_hub
    from .inputs import (check_decoder, check_names, check_open_sizes, example_form, huggingface_inputs, huggingface_ranges,
                         in_range, parse_inputs, parse_ranges)
    from .models import in_float32, is_factory, load_factory, load_huggingface, note, part_of
    from .refused import Usage

    out = Path(options.out)
    if out.suffix != ".pt2":
        raise Usage(f"OUT: {options.out}; expected a file that ends with .pt2")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise Usage(f"OUT: no file can be written in {out.parent}")
    given = parse_inputs(options.inputs)
    ranges = parse_ranges(options.ranges)
    notes, files = [], {}

    if is_factory(options.model):
        model, examples = load_factory(options.model)
        in_float32(model, notes)
        tokenizer = options.tokenizer
    else:
        tokenizer = options.tokenizer or options.model
        unreachable = without_hub({options.model, tokenizer} - {"none"})
        model, examples = load_huggingface(options.model, options.model_class, options.attention, unreachable), {}
        if unreachable is not None and not Path(options.model).is_dir():
            note(notes, f"the hub: it cannot be reached ({unreachable}); what an earlier download left was taken")
    if options.part:
        model = part_of(model, options.part)
    config = getattr(model, "config", None)
    inputs = given or examples
    if not inputs and config is None:
        raise Usage(f"MODEL {options.model}: no example inputs; give them by --inputs 'x=float32[batch,16]', or let the "
                    "function give (module, {'x': tensor})")
    if inputs is examples and (fixed := next((name for name, value in examples.items() if len(value.dims) > 1), None)):
        note(notes, "every row has the examples' sizes; where rows vary, name the sizes that do: "
                    f"--inputs '{fixed}={example_form(fixed, config)}'")
    check_decoder(model, inputs)
    inputs = inputs or huggingface_inputs(model, config)
    check_names(model, inputs)
    check_open_sizes(inputs)
    if tokenizer and tokenizer != "none":
        files = tokenizer_files(tokenizer, notes, is_asked=options.tokenizer is not None)
    unknown = set(ranges) - {dim for value in inputs.values() for dim in value.dims}
    if unknown:
        raise Usage(f"--range: no input has a size called {', '.join(sorted(unknown))}; there are "
                    f"{', '.join(sorted({dim for value in inputs.values() for dim in value.dims if dim}))}")
    ranges = {**huggingface_ranges(config), **ranges}
    inputs = in_range(inputs, ranges)
    with contextlib.nullcontext() if options.verbose else quiet():
        told = write(model, inputs, str(out), ranges, files, notes)
    told["inputs"] = {name: f"{str(value.example.dtype).removeprefix('torch.')}"
                      f"[{', '.join(dim or str(size) for dim, size in zip(value.dims, value.example.shape))}]"
                      for name, value in inputs.items()}
    told["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    told["files"] = sorted(files)
    return told


def report(options, told):
    if options.json:
        print(json.dumps({key: told[key] for key in (
            "class", "model_type", "nodes", "parameters", "bytes", "inputs", "output_names", "preserved", "not_preserved",
            "notes", "files", "difference")}))
        return
    print(f"{options.out}: {told['class']}, {told['parameters']:,} parameters, {told['nodes']} nodes, "
          f"{told['bytes'] / 1e6:.1f} MB")
    print("  takes     " + "\n            ".join(f"{name} {form}" for name, form in told["inputs"].items()))
    print("  gives     " + ", ".join(told["output_names"]))
    print(f"  modules   {len(told['preserved'])} with what goes in and comes out")
    for path, reason in told["not_preserved"].items():
        print(f"            without it: {path}: {reason}")
    if told["files"]:
        print("  beside it " + ", ".join(told["files"]))
    for text in told["notes"]:
        print(f"  note      {text}")
    print(f"  checked   the archive gives what the model gives (largest relative difference {told['difference']:.1e})")


def main(given=None):
    options = arguments(given)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    torch = check_torch()
    if not options.verbose:
        torch._logging.set_logs(all=logging.CRITICAL)
    from .refused import Refused, Usage, first_line, place_of

    try:
        report(options, export(options, torch))
    except Refused as error:
        if options.verbose:
            traceback.print_exception(error)
        print(f"torch-adapters-export: {error}", file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1
    except Exception as error:  # noqa: BLE001 - whatever the model's or torch's code does
        if options.verbose:
            traceback.print_exception(error)
        print(f"torch-adapters-export: {options.model} cannot be exported: {first_line(error)}{place_of(error)}\n"
              "  --verbose prints the stack of calls.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if not __package__:
        # Run as a folder: python3 …/torch_adapters_export MODEL OUT.pt2
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from torch_adapters_export.__main__ import main
    sys.exit(main())
