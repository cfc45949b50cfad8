"""Reads what an emulator needs of a 32-bit little-endian ELF file."""

import bisect
import struct


class Elf:
    """Segments to load, the entry point, and symbols by name and by address."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        if self.data[:6] != b"\x7fELF\x01\x01":
            raise ValueError(f"{path}: no 32-bit little-endian ELF file")
        (self.entry, segments, sections) = struct.unpack_from("<III", self.data, 24)
        (segment_size, segment_count, section_size, section_count) = struct.unpack_from("<HHHH", self.data, 42)
        headers = (self.words(segments + segment_size * i, 8) for i in range(segment_count))
        # Type 1 is a segment to load. Its physical address is where the flash holds it, or a bootloader puts it.
        self.segments = [
            (physical, self.data[offset : offset + size])
            for (kind, offset, _, physical, size, *_) in headers
            if kind == 1 and size > 0
        ]
        headers = [self.words(sections + section_size * i, 10) for i in range(section_count)]
        self.symbols = {}
        for _, kind, _, _, offset, size, link, *_ in headers:
            if kind == 2:
                self.symbols.update(self.names(offset, size, headers[link][4]))
        functions = {address & ~1: name for name, address in self.symbols.items() if not name.startswith("$")}
        self.functions = sorted(functions.items())

    def words(self, offset, count):
        return struct.unpack_from(f"<{count}I", self.data, offset)

    def names(self, offset, size, strings):
        for at in range(offset, offset + size, 16):
            name, value = self.words(at, 2)
            end = self.data.index(b"\0", strings + name)
            yield self.data[strings + name : end].decode(), value

    def function(self, address):
        """The name of the symbol that the address lies in or behind."""
        at = bisect.bisect_right(self.functions, (address, "\x7f")) - 1
        return self.functions[at][1] if at >= 0 else "?"
