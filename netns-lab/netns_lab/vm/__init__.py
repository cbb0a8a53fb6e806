"""A throw-away virtual machine with a whole network kernel, for what this host's kernel cannot do.

The guest boots Debian's cloud kernel with this host's own root directory below a memory overlay: it
sees every program and every file, at the same paths, and changes none of them, except below the
directories that are named as writable. Nothing is installed for it but QEMU; no image is built.
Without hardware virtualisation the processor is emulated, several times slower.

- `needs.check()` says whether this host can do it, and if not, why not.
- `machine.run(command, ...)` boots, runs one command, and gives how it ended.
- `python -m netns_lab.vm run -- COMMAND` is the same from a shell.
"""
