"""Events, what carries them, and the kinds of trigger that bring them.

`events` and `outcomes` are the values that cross every stage; `protocols` are the seams that a trigger
is given and gives; one folder per kind holds what is particular to it. Nothing here imports the runtime,
the scaler or the command line.
"""
