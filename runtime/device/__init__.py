"""Where arrays are made and computed with: one module per implementation of `triggers.protocols.Device`."""
