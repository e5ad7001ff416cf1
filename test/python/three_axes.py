"""Attention on tensors of three axes, as networks write it by hand: rows and heads in one axis, either of them first,
one head alone, or heads that are called one by one."""

import math

import torch
from torch import nn
from torch.nn import functional


def attend(kind, q, k, v, mask, training):
    """q, k, v [rows (and heads), tokens, d]; mask [rows, tokens], 0 at padding."""
    repeats = q.shape[0] // mask.shape[0]
    seen = (mask == 1)[:, None].repeat_interleave(repeats, 0)
    tokens = q.shape[1]
    if kind == "causal":
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    if kind == "mask of two axes":
        hidden = torch.full((tokens, tokens), -math.inf).triu(1)
        return functional.scaled_dot_product_attention(q, k, v, hidden)
    if kind == "operator":
        return functional.scaled_dot_product_attention(q, k, v, seen)
    if kind == "baddbmm":
        scores = torch.baddbmm(torch.zeros(()), q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    else:
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = functional.dropout(scores.masked_fill(~seen, -1e9).softmax(-1), 0.1, training)
    return torch.bmm(weights, v)


class ThreeAxes(nn.Module):
    def __init__(self, kind, form, size):
        super().__init__()
        self.kind, self.form, self.width = kind, form, size
        self.heads = self.key_heads = 1 if form == "one head" else 2
        self.causal = kind in ("causal", "mask of two axes")
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def parts(self, x):
        """[rows, tokens, heads, d] of each."""
        return [one(x).view(*x.shape[:2], self.heads, -1) for one in (self.query, self.key, self.value)]

    def joined(self, x):
        rows, tokens, _ = x.shape
        size = self.width // self.heads
        if self.form == "one head":
            return x
        if self.form == "tokens first":
            return x.transpose(0, 1).reshape(tokens, rows * self.heads, size).transpose(0, 1)
        x = x.view(rows, tokens, self.heads, size)
        if self.form == "heads first":
            return x.permute(2, 0, 1, 3).reshape(-1, tokens, size)
        if self.form == "flattened":
            return x.transpose(1, 2).flatten(0, 1)
        return x.transpose(1, 2).contiguous().view(rows * self.heads, tokens, size)

    def apart(self, y, rows):
        tokens = y.shape[1]
        if self.form == "one head":
            return y
        if self.form == "tokens first":
            return y.transpose(0, 1).reshape(tokens, rows, self.width).transpose(0, 1)
        if self.form == "heads first":
            return y.view(self.heads, rows, tokens, -1).permute(1, 2, 0, 3).reshape(rows, tokens, self.width)
        return y.view(rows, self.heads, tokens, -1).transpose(1, 2).reshape(rows, tokens, self.width)

    def forward(self, x, mask):
        q, k, v = (self.joined(one(x)) for one in (self.query, self.key, self.value))
        if self.form == "heads first":
            mask = mask.repeat(self.heads, 1)
        return self.out(self.apart(attend(self.kind, q, k, v, mask, self.training), x.shape[0]))


class SharedKeys(nn.Module):
    """Each head of the keys is for two of the queries'."""

    def __init__(self, kind, form, size):
        super().__init__()
        self.kind, self.form, self.heads, self.key_heads, self.causal = kind, form, 4, 2, False
        self.size, self.query, self.out = size // 4, nn.Linear(size, size), nn.Linear(size, size)
        self.key, self.value = (nn.Linear(size, size // 2) for _ in range(2))

    def parts(self, x):
        return [one(x).view(*x.shape[:2], -1, self.size) for one in (self.query, self.key, self.value)]

    def repeated(self, x):
        """[rows, tokens, key heads, d] → [rows · heads, tokens, d], or with the four apart."""
        rows, tokens = x.shape[:2]
        if self.form == "before they turn":
            return x.repeat_interleave(2, 2).transpose(1, 2)
        x = x.transpose(1, 2)
        if self.form == "in the operator":
            return x.reshape(-1, tokens, self.size)
        if self.form == "when they are joined":
            return x.reshape(-1, tokens, self.size).repeat_interleave(2, 0)
        if self.form == "as they are joined":
            return x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, tokens, self.size)
        return x.repeat_interleave(2, 1).reshape(rows * self.heads, tokens, self.size)

    def forward(self, x, mask):
        rows, tokens = x.shape[:2]
        query, key, value = self.parts(x)
        key, value, query = self.repeated(key), self.repeated(value), query.transpose(1, 2)
        if self.form == "before they turn":
            y = functional.scaled_dot_product_attention(query, key, value, mask[:, None, None] == 1)
        else:
            query = query.reshape(-1, tokens, self.size)
            if self.form == "in the operator":
                seen = (mask == 1)[:, None].repeat_interleave(self.heads, 0)
                y = functional.scaled_dot_product_attention(query, key, value, seen, enable_gqa=True)
            else:
                y = attend(self.kind, query, key, value, mask, self.training)
            y = y.view(rows, self.heads, tokens, -1)
        return self.out(y.transpose(1, 2).reshape(rows, tokens, -1))


class Head(nn.Module):
    def __init__(self, kind, width, size):
        super().__init__()
        self.kind = kind
        self.query, self.key, self.value = (nn.Linear(width, size, bias=False) for _ in range(3))

    def forward(self, x, mask):
        return attend(self.kind, self.query(x), self.key(x), self.value(x), mask, self.training)


class OneByOne(nn.Module):
    """The second one is called first: what counts is where the answers are joined."""

    def __init__(self, kind, width, heads=2):
        super().__init__()
        self.heads = self.key_heads = heads
        self.causal = kind == "causal"
        self.each = nn.ModuleList(Head(kind, width, width // heads) for _ in range(heads))
        self.out = nn.Linear(width, width)

    def parts(self, x):
        return [torch.stack([getattr(one, part)(x) for one in self.each], 2) for part in ("query", "key", "value")]

    def forward(self, x, mask):
        answers = [one(x, mask) for one in reversed(self.each)]
        return self.out(torch.cat(answers[::-1], -1))


class Summed(OneByOne):
    """Which features of a prefix would be whose, nothing says."""

    def forward(self, x, mask):
        return self.out(sum(one(x, mask) for one in self.each).repeat(1, 1, self.heads))


FORMS = {
    "one head": ("operator", "one head"),
    "one head, causal": ("causal", "one head"),
    "one head, written out": ("matmul", "one head"),
    "rows and heads": ("operator", "rows first"),
    "rows and heads, causal": ("causal", "flattened"),
    "rows and heads, a mask of two axes": ("mask of two axes", "rows first"),
    "rows and heads, written out": ("matmul", "flattened"),
    "rows and heads, baddbmm": ("baddbmm", "rows first"),
    "heads and rows": ("operator", "heads first"),
    "heads and rows, written out": ("matmul", "heads first"),
    "tokens, rows and heads": ("operator", "tokens first"),
}
SHARED_KEYS = {
    "before they are joined": ("operator", "before they are joined"),
    "before they are joined, written out": ("matmul", "before they are joined"),
    "when they are joined": ("operator", "when they are joined"),
    "when they are joined, written out": ("matmul", "when they are joined"),
    "as they are joined": ("operator", "as they are joined"),
    "in the operator": ("operator", "in the operator"),
    "before they turn": ("operator", "before they turn"),
}
