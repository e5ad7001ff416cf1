"""The graph, with what goes in and comes out of as many modules as torch.export can write down."""

import io
import warnings

import torch

from .refused import Refused, explained, first_line


def holds_only_tensors(value):
    if isinstance(value, (tuple, list)):
        return all(holds_only_tensors(entry) for entry in value)
    if isinstance(value, dict):
        return all(holds_only_tensors(entry) for entry in value.values())
    return value is None or isinstance(value, (torch.Tensor, bool, int, float, str))


def modules_to_preserve(model, examples):
    """Paths of the modules that a pass calls once, with values that a signature can name; why others are out."""
    calls, wrong, handles = {}, {}, []
    paths = [path for path, _ in model.named_modules() if path]

    def watch(path):
        def called(_, args, kwargs, output):
            # Inside a branch of torch.cond, which takes no side effects, and where no signature can be kept.
            if torch.compiler.is_dynamo_compiling():
                return
            calls[path] = calls.get(path, 0) + 1
            for verb, value in (("takes", (args, kwargs)), ("gives", output)):
                if not holds_only_tensors(value):
                    wrong[path] = f"it {verb} what is neither a tensor nor a constant"
        return called

    for path in paths:
        handles.append(model.get_submodule(path).register_forward_hook(watch(path), with_kwargs=True))
    try:
        with torch.no_grad():
            model(**examples)
    finally:
        for handle in handles:
            handle.remove()
    for path, count in calls.items():
        if count > 1:
            wrong.setdefault(path, f"it is called {count} times")
    return [path for path in paths if path in calls and path not in wrong], wrong


MODES = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


def without_empty_regions(graph):
    """torch.set_grad_enabled(False) sets its mode twice: of the first torch.export makes a region of nothing, which torch
    itself does not load again."""
    for node in reversed(graph.graph.nodes):
        if getattr(node.target, "_name", "") not in MODES or node.users:
            continue
        inside = getattr(graph, next(one for one in node.args if getattr(one, "op", "") == "get_attr").target)
        if all(one.op in ("placeholder", "output") for one in inside.graph.nodes):
            graph.graph.erase_node(node)


def nodes_of(module):
    """Those of a graph, and of the graphs inside of it."""
    return [node for one in module.modules() for node in getattr(getattr(one, "graph", None), "nodes", ())]


def export_once(model, examples, shapes, preserved):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (), examples, dynamic_shapes=shapes, strict=False,
                                      preserve_module_call_signature=tuple(preserved))
    for module in program.graph_module.modules():
        if getattr(module, "graph", None) is not None:
            without_empty_regions(module)
    for node in nodes_of(program.graph_module):
        # Lines of the files of the machine that exports: most of the graph's bytes, and nobody else's business.
        for name in ("stack_trace", "from_node", "torch_fn"):
            node.meta.pop(name, None)
    return program


def called_in_regions(program):
    """Paths whose calls torch.export left marks of in a graph inside the graph, where nothing takes them out again."""
    marks = (node for module in program.graph_module.modules() if module is not program.graph_module
             for node in getattr(getattr(module, "graph", None), "nodes", ())
             if getattr(node.target, "_name", "") == "_export_tracepoint")
    return {node.kwargs["path"].removeprefix("_export_root.") for node in marks}


def export_with_signatures(model, examples, shapes, paths, save):
    """Exports and saves with as many signatures as torch takes: those that it refuses are found by halves.

    `save(program, refused)` writes the archive. Gives the program and, by path, why it is without a signature.
    """
    inside = {}

    def attempt(names, refused, write):
        program = export_once(model, examples, shapes, [name for name in names if name not in inside])
        if found := called_in_regions(program):
            inside.update({path: "it is called under torch.no_grad() or torch.autocast()" for path in sorted(found)})
            program = export_once(model, examples, shapes, [name for name in names if name not in inside])
        write(program, {**refused, **inside})
        return program

    try:
        return attempt(paths, {}, save), inside
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - torch.export raises whatever it met
        reason = f"torch.export: {first_line(error)}"
    try:
        attempt([], {}, save)
    except Exception as error:
        raise explained(error, f"torch.export refuses {type(model).__name__}") from error
    kept = []

    def add(group):
        try:
            attempt(kept + group, {}, lambda program, _: torch.export.save(program, io.BytesIO()))
            kept.extend(group)
        except Exception:  # noqa: BLE001
            if len(group) > 1:
                add(group[:len(group) // 2])
                add(group[len(group) // 2:])

    add(paths[:len(paths) // 2])
    add(paths[len(paths) // 2:])
    refused = {**{path: reason for path in paths if path not in kept}, **inside}
    return attempt([path for path in paths if path in kept], refused, save), refused
