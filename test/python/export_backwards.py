"""Networks whose own backward no graph holds: the exporter refuses them by the name of what changes the gradients."""

import torch
from export_support import Rows, notes, refused


class Turned(torch.autograd.Function):
    """Gives what it takes, and turns its gradient round."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Swish(torch.autograd.Function):
    """Its gradient is that of its operators; less is kept for it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid() * (1 + x * (1 - x.sigmoid()))


turned, swish = Turned.apply, Swish.apply


def hooked(x):
    if x.requires_grad:
        x.register_hook(lambda gradient: -gradient)
    return x.clone()


class Between(Rows):
    def __init__(self, change):
        super().__init__()
        self.change, self.last, self.drop = change, torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)

    def forward(self, values):
        return self.last(self.drop(self.change(self.layer(values))))


said = refused(Between(turned))
assert said.startswith("the gradients would be others than in Python (relative difference "), said
assert "__main__.Turned changes them" in said and "(-x + (2 * x).detach() gives x" in said, said
frozen = Between(turned).requires_grad_(False)
assert "__main__.Turned changes them" in refused(frozen) and not any(one.requires_grad for one in frozen.parameters())
said = refused(Between(hooked))
assert "a hook of a tensor (export_backwards.py, line" in said, said
backwards = Between(torch.nn.Identity())
backwards.last.register_full_backward_hook(lambda module, before, after: tuple(-one for one in before))
said = refused(backwards, "values=float32[batch,4,3]")
assert "a backward hook of last changes them" in said, said
for change in (swish, lambda x: -x + (2 * x).detach(), lambda x: x + (x.round() - x).detach()):
    assert notes(Between(change), "values=float32[batch,4,3]") == []

print("The exporter refuses gradients that would be others than in Python, by what changes them")
