"""One module per handler shape, all alike: `FORM`, `fits(candidate)` and `adapt(candidate, spec, context)`.

`signatures` reads what a callable asks for; `lifecycle` wraps `start`, `stop`, `ready` and `alive`. What does
not belong here: finding the function's code, which is `loading`'s.
"""
