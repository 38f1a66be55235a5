"""The process that runs a function: receive → batch → invoke → settle.

Read `server` first: the life of a replica in five methods. It does not know who runs it, besides
what `triggers/wire` says, nor how func.yaml was made.
"""
