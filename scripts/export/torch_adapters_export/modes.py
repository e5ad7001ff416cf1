"""What a model does in training and not in eval(): dropout, which answers are given without, and what else its code has."""

import contextlib

import torch
from torch.nn import functional
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils._pytree import tree_leaves

from .refused import Refused

# Sums that are written otherwise, as attention with dropout and without, round otherwise.
TOLERANCE = 1e-4


def furthest(ours, theirs):
    """The largest difference between two results, relative to the largest value of each tensor."""
    if [type(value) for value in ours] != [type(value) for value in theirs]:
        return float("inf")
    worst = 0.0
    for one, other in zip(ours, theirs):
        if isinstance(one, torch.Tensor) and one.numel():
            if one.shape != other.shape:
                return float("inf")
            one, other = one.double(), other.double()
            scale = one.abs().max().clamp_min(1e-6)
            worst = max(worst, torch.nan_to_num((one - other).abs().max() / scale, nan=float("inf")).item())
    return worst


DROPOUT = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


@contextlib.contextmanager
def without_dropout():
    """Whatever a module's own code calls leaves all values as they are."""
    attend = functional.scaled_dot_product_attention

    def attend_to_all(query, key, value, attn_mask=None, dropout_p=0.0, *args, **kwargs):
        return attend(query, key, value, attn_mask, 0.0, *args, **kwargs)
    changed = {**{name: lambda input, *_, **__: input for name in DROPOUT}, attend.__name__: attend_to_all}
    before = {name: getattr(functional, name) for name in changed}
    for name, function in changed.items():
        setattr(functional, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(functional, name, function)


@contextlib.contextmanager
def modes(model, mode_of):
    """Each module in training or not, without those inside of it."""
    before = [(module, module.training) for module in model.modules()]
    for module, was in before:
        module.training = mode_of(module, was)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def is_own(module):
    """Not PyTorch's, whose modes are known (dropout, and norms that are frozen with the model), without a hook."""
    return not type(module).__module__.startswith("torch.nn.") or module._forward_hooks or module._forward_pre_hooks


def goes_on(module):
    """Spectral norm takes a step of its iteration at every call in training, which changes answers by little or by much."""
    return isinstance(module, _SpectralNorm) and module.training


@contextlib.contextmanager
def plain_attention():
    """In eval() PyTorch's own layers take a way of their own, which gives zeros for padding."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def answers(model, given, mode_of):
    with modes(model, mode_of), plain_attention(), torch.no_grad(), without_dropout():
        return tree_leaves(model(**given))


def leave_training(model, given, kept_buffers, note):
    """Takes those modules out of training whose code does something else there than dropout."""
    def answers_of(mode_of):
        with kept_buffers(model):
            return answers(model, given, mode_of)
    expected = answers_of(lambda _, __: False)
    training = {type(module) for module in model.modules() if is_own(module) and module.training}

    def differ(classes):
        return furthest(expected, answers_of(lambda module, was: was and type(module) in classes)) > TOLERANCE
    found = {type(module) for module in model.modules() if goes_on(module)}
    if differ(training):
        found |= {kind for kind in training if differ({kind})}
    for module in model.modules():
        if type(module) in found:
            module.training = False
    names = ", ".join(sorted(kind.__name__ for kind in found))
    if found:
        note(f"{names}: its code does something else in training than in eval(), beside dropout; the graph has what eval() does")


def evaluated(program):
    """The graph of an archive as it answers: without dropout, with the statistics of norms that came with the model."""
    module = program.module()
    for part in module.modules():
        for node in getattr(getattr(part, "graph", None), "nodes", ()):
            if node.op != "call_function":
                continue
            base = str(node.target).removeprefix("aten.").split(".")[0]
            if base in ("dropout", "dropout_", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"):
                node.args = (node.args[0], node.args[1], False)
            elif base == "native_dropout":
                node.args = (node.args[0], 0.0, False)
            elif base == "scaled_dot_product_attention":
                node.args, node.kwargs = off(node, 4, "dropout_p", 0.0)
            elif base == "batch_norm":
                node.args, node.kwargs = off(node, 5, "training", False)
            elif base in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
                node.args, node.kwargs = off(node, 6, "train", False)
            elif base == "rrelu":
                node.args, node.kwargs = off(node, 3, "training", False)
        if hasattr(part, "recompile"):
            part.recompile()
    return module


def off(node, place, name, value):
    if len(node.args) > place:
        return (*node.args[:place], value, *node.args[place + 1:]), node.kwargs
    return node.args, ({**node.kwargs, name: value} if name in node.kwargs else node.kwargs)


def check_eval(model, graph, given, kept_buffers):
    """The archive's answers against the model's own in eval()."""
    with kept_buffers(model), kept_buffers(graph), torch.no_grad():
        expected = answers(model, given, lambda _, __: False)
        worst = furthest(expected, tree_leaves(graph(**given)))
    if not worst <= TOLERANCE:
        raise Refused(
            f"the archive does not answer as the model does in eval(): relative difference {worst:.1e}, expected at most "
            f"{TOLERANCE:.0e}. Its code does something else in training, beside dropout; nothing was written.\n  What to try: "
            "leave it out of what is exported, or let it not ask for self.training.")
