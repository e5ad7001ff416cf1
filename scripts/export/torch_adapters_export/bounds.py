"""What torch.export must know of sizes and cannot prove: that a product of what it counts, tokens by tokens, is more than 1."""

import contextlib
import functools

import sympy


def is_never_less(difference, bound, least):
    """Whether an expression of sizes is `bound` or more: with each size written as its least value and what is above
    that, no term of the product is negative."""
    from torch.utils._sympy.functions import FloorDiv

    above = {}
    for size in (*difference.atoms(FloorDiv), *difference.free_symbols):
        low = least(size)
        if low is None:
            return False
        above[size] = sympy.Dummy(nonnegative=True, integer=True) + low
    # From the outside in: what is divided is no size of its own then.
    moved = sympy.expand(difference.xreplace(above))
    if moved.atoms(FloorDiv) or not moved.is_polynomial(*moved.free_symbols):
        return False
    terms = sympy.Poly(moved, *moved.free_symbols).terms() if moved.free_symbols else [((), moved)]
    constant = sum(value for powers, value in terms if not any(powers))
    return constant >= bound and all(value >= 0 for powers, value in terms if any(powers))


def is_true(guard, least):
    """Of a comparison of whole numbers; False: it is not known."""
    if not isinstance(guard, (sympy.Ge, sympy.Gt, sympy.Le, sympy.Lt, sympy.Ne)):
        return False
    more, less = (guard.rhs, guard.lhs) if isinstance(guard, (sympy.Le, sympy.Lt)) else (guard.lhs, guard.rhs)
    bound = 0 if isinstance(guard, (sympy.Ge, sympy.Le)) else 1
    apart = isinstance(guard, sympy.Ne) and is_never_less(less - more, 1, least)
    return apart or is_never_less(more - less, bound, least)


@contextlib.contextmanager
def products_bounded():
    """Only while a graph is made."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    before = getattr(ShapeEnv, "_maybe_evaluate_static", None)
    if before is None or not hasattr(ShapeEnv, "bound_sympy"):
        yield
        return

    # With what torch calls of it: it keeps what was found.
    @functools.wraps(before)
    def evaluate(self, expr, **options):
        found = before(self, expr, **options)
        if found is not None or not isinstance(expr, sympy.core.relational.Relational):
            return found

        def least(size):
            low = self.bound_sympy(size).lower
            return low if low.is_Integer else None
        return sympy.true if is_true(expr, least) else None
    ShapeEnv._maybe_evaluate_static = evaluate
    try:
        yield
    finally:
        ShapeEnv._maybe_evaluate_static = before
