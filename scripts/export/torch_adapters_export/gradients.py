"""What a model's code does to gradients, beside what its operators do: torch.export keeps operators alone."""

import contextlib
import traceback
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

from .graph import nodes_of
from .modes import is_own, modes, plain_attention, without_dropout
from .refused import Refused, first_line

# Another order of sums rounds otherwise; another gradient is another one.
TOLERANCE = 1e-3


@contextlib.contextmanager
def differentiable(module):
    """All of its weights have gradients, also those that are frozen."""
    frozen = [one for one in module.parameters() if one.is_floating_point() and not one.requires_grad]
    for one in frozen:
        one.requires_grad_(True)
    try:
        yield
    finally:
        for one in frozen:
            one.requires_grad_(False)


@contextlib.contextmanager
def watched_hooks(found):
    """Where in the model's code tensors are given hooks."""
    register = torch.Tensor.register_hook

    def watched(tensor, hook):
        frame = traceback.extract_stack(limit=2)[0]
        found.append(f"a hook of a tensor ({Path(frame.filename).name}, line {frame.lineno})")
        return register(tensor, hook)
    torch.Tensor.register_hook = watched
    try:
        yield
    finally:
        torch.Tensor.register_hook = register


@contextlib.contextmanager
def watched_modes(found):
    """Each time that gradients are turned off."""
    turn = torch._C._set_grad_enabled

    def watched(is_on):
        if not is_on:
            found.append(is_on)
        return turn(is_on)
    torch._C._set_grad_enabled = watched
    try:
        yield
    finally:
        torch._C._set_grad_enabled = turn


def lost_modes(model, graph, given):
    """Whether the model turns gradients off more often than its graph does: torch.export drops torch.no_grad inside of
    torch.autocast, and around torch.cond."""
    turned = []
    torch.manual_seed(0)
    with torch.enable_grad(), watched_modes(turned):
        model(**given)
    kept = [node for node in nodes_of(graph)
            if getattr(node.target, "_name", "") == "wrap_with_set_grad_enabled" and not node.args[0]]
    return len(turned) > len(kept)


def outputs_of(run, given):
    """Those that have a gradient, in the mode in which a model is exported."""
    torch.manual_seed(0)
    with modes(run, lambda module, was: was and is_own(module)), plain_attention(), torch.enable_grad(), without_dropout():
        return [one for one in tree_leaves(run(**given)) if isinstance(one, torch.Tensor) and one.requires_grad]


def own_backwards(model, given):
    """What a pass goes back through that is none of PyTorch's operators: classes of torch.autograd.Function, and hooks."""
    found = []
    with differentiable(model), watched_hooks(found):
        next_ones = [output.grad_fn for output in outputs_of(model, given)]
    seen = set()
    while next_ones:
        one = next_ones.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        next_ones.extend(before for before, _ in one.next_functions)
        if isinstance(one, torch.autograd.function.BackwardCFunction):
            kind = getattr(one, "_forward_cls", type(one))
            found.append(f"{kind.__module__}.{kind.__qualname__}")
    hooked = [f"a backward hook of {name or 'the model'}" for name, module in model.named_modules()
              if module._backward_hooks or module._backward_pre_hooks]
    hook = "torch.nn.modules._functions.BackwardHookFunction"
    return list(dict.fromkeys([name for name in found if name != hook] + hooked))


def gradients(run, given):
    """Of all weights, by name."""
    with differentiable(run):
        losses = [(one * torch.sin(torch.arange(float(one.numel()))).view_as(one)).sum() for one in outputs_of(run, given)]
        named = {name: value for name, value in run.named_parameters() if value.requires_grad}
        found = torch.autograd.grad(sum(losses), list(named.values()), allow_unused=True) if losses else [None] * len(named)
    return {name: torch.zeros_like(value) if one is None else one
            for (name, value), one in zip(named.items(), found)}


def furthest_gradient(ours, theirs):
    """The largest difference, relative to each tensor's largest value, where that is more than rounding."""
    both = [(ours[name].double(), theirs[name].double()) for name in ours if name in theirs]
    largest = max((one.nan_to_num().abs().max().item() for one, _ in both if one.numel()), default=0.0)
    worst = 0.0
    for one, other in both:
        if one.numel():
            away = torch.where(one.isnan() & other.isnan(), 0.0, one - other).abs().max()
            scale = max(one.nan_to_num().abs().max().item(), 1e-4 * largest, 1e-12)
            worst = max(worst, torch.nan_to_num(away / scale, nan=float("inf")).item())
    return worst


def check_gradients(model, graph, given, kept_buffers):
    """Refuses a model whose own backward is another one than that of the operators in its forward."""
    with kept_buffers(model), kept_buffers(graph):
        try:
            found, is_lost = own_backwards(model, given), lost_modes(model, graph, given)
            if not found and not is_lost:
                return
            ours = gradients(model, given)
        except Exception:  # noqa: BLE001 - what cannot train in Python has no gradient to lose
            return
        try:
            worst = furthest_gradient(ours, gradients(graph, given))
            said = f"relative difference {worst:.1e}"
        except Exception as error:  # noqa: BLE001
            worst, said = float("inf"), first_line(error)
    if worst <= TOLERANCE:
        return
    if not found:
        raise Refused(
            f"the gradients would be others than in Python ({said}): torch.export drops torch.no_grad inside of torch.autocast, "
            "and around torch.cond, and with it the end of the gradients; nothing was written.\n"
            "  What to try: end them by x.detach(), which a graph holds, or export a part without it by --part.")
    names = ", ".join(found)
    raise Refused(
        f"the gradients would be others than in Python ({said}): {names} changes them on the way back, and a graph holds "
        "the operators of the way forth alone. Adapters in front of it would learn something else; nothing was written.\n"
        "  What to try: let PyTorch's own gradient be the one that is meant, as g(x) + (f(x) - g(x)).detach() has the values "
        "of f and the gradient of g (-x + (2 * x).detach() gives x and turns its gradient round), or export a part without it "
        "by --part.")
