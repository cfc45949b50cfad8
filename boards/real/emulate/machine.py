"""A chip as its firmware sees it: a processor, memory, and registers that answer as start-up code expects.

A register gives back what was last written to it, unless the chip's table says otherwise. That is enough for most of a
chip: a table names the bits that say "ready", the counters, and the console.
"""

import struct
import sys
import threading

from unicorn import (
    UC_ARCH_ARM,
    UC_ARCH_RISCV,
    UC_HOOK_CODE,
    UC_HOOK_MEM_INVALID,
    UC_MODE_MCLASS,
    UC_MODE_RISCV32,
    UC_MODE_THUMB,
    UC_PROT_EXEC,
    UC_PROT_READ,
    Uc,
    UcError,
)
from unicorn.arm_const import UC_ARM_REG_PC, UC_ARM_REG_SP
from unicorn.riscv_const import UC_RISCV_REG_PC, UC_RISCV_REG_X0

WORD = 0xFFFF_FFFF
# RISC-V's control and status registers that do nothing here: memory protection, where the emulator is stricter than the
# chips; triggers; and what makers of chips have added.
SYSTEM, UNKNOWN = 0x73, (range(0x3A0, 0x3F0), range(0x7A0, 0x7B0), range(0x7C0, 0x800), range(0xBC0, 0xC00))


class Machine:
    """One chip with one program. A chip's table calls the methods up to `console`; `run` runs the program."""

    def __init__(self, elf, until, send=b"", show=sys.stdout):
        self.elf, self.until, self.show = elf, until, show
        self.input = bytearray(send)
        self.line, self.found, self.problem = bytearray(), False, None
        self.registers, self.reads, self.writes, self.bits = {}, {}, {}, {}

    # What a chip is made of.

    def cortex_m(self, model, vectors):
        """A Cortex-M of the model, with the vector table's address."""
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS, model)
        self.pc, self.vectors = UC_ARM_REG_PC, vectors
        self.peripherals(0xE000_0000, 0x10_0000)

    def riscv(self, cycles=None):
        """A 32-bit RISC-V that begins at the ELF's entry point; `cycles` is the number of a register that counts."""
        self.uc = Uc(UC_ARCH_RISCV, UC_MODE_RISCV32)
        self.pc, self.vectors = UC_RISCV_REG_PC, None
        self.cycles = 0
        for address, data in self.elf.segments:
            for at in range(0, len(data) - 3, 2):
                (instruction,) = struct.unpack_from("<I", data, at)
                number = instruction >> 20
                if instruction & 0x7F == SYSTEM and instruction >> 12 & 3 and any(number in r for r in UNKNOWN):
                    self.skip(address + at, instruction >> 7 & 31, cycles and number == cycles)

    def flash(self, base, size):
        """Memory that the program cannot write to."""
        self.uc.mem_map(base, size, UC_PROT_READ | UC_PROT_EXEC)

    def ram(self, base, size):
        """Memory that it can."""
        self.uc.mem_map(base, size)

    def peripherals(self, base, size, atomic=False):
        """Registers. With `atomic`, 0x1000 above a register its bits are toggled, 0x2000 set and 0x3000 cleared."""

        def read(_uc, offset, size, _data):
            address = base + offset
            value = self.read(address & ~3 & (~0x3000 if atomic else WORD))
            return value >> 8 * (address & 3) & (1 << 8 * size) - 1

        def write(_uc, offset, size, value, _data):
            address = base + offset
            register, lane = address & ~3, 8 * (address & 3)
            alias = register >> 12 & 3 if atomic else 0
            if atomic:
                register &= ~0x3000
            value <<= lane
            old = self.registers.get(register, 0)
            if alias == 0:
                mask = ((1 << 8 * size) - 1) << lane
                value |= old & ~mask
            self.write(register, [value, old ^ value, old | value, old & ~value][alias] & WORD)

        self.uc.mmio_map(base, size, read, None, write, None)

    def ready(self, address, ones, zeros=0):
        """Bits of a register that always read as ones, and others that always read as zeros."""
        self.bits[address] = (ones, zeros)

    def on_read(self, address, function):
        """What reading a register gives: a function of nothing."""
        self.reads[address] = function

    def on_write(self, address, function):
        """What writing a register does beside keeping the value."""
        self.writes[address] = function

    def mirror(self, address, function):
        """A register that shows something of others: `function` gets a function that reads them."""
        self.reads[address] = lambda: function(self.read)

    def counter(self, address, step, latch=None):
        """A register that grows by `step` with every reading, as nothing here knows the time; with `latch`, whenever
        that register is written."""

        def grow(_value=None):
            self.registers[address] = self.registers.get(address, 0) + step & WORD
            return self.registers[address]

        if latch is None:
            self.reads[address] = grow
        else:
            self.writes[latch] = grow

    def follow(self, address, mask, shift, also=(0, 0)):
        """A register that shows some of its bits again, `shift` above; `also` are another mask and shift."""

        def read():
            value = self.registers.get(address, 0)
            return value | (value & mask) << shift | (value & also[0]) << also[1]

        self.reads[address] = read

    def random(self, address, shift=0):
        """A register with another number at each reading, the same ones in every run (Numerical Recipes' generator)."""

        def read():
            self.registers[address] = self.registers.get(address, address) * 1_664_525 + 1_013_904_223 & WORD
            return self.registers[address] >> shift

        self.reads[address] = read

    def replace(self, address, function):
        """Calls `function` wherever the program comes to an address."""
        self.uc.hook_add(UC_HOOK_CODE, lambda *_: function(), begin=address, end=address)

    # What chips do with that.

    def read(self, address):
        read = self.reads.get(address)
        value = read() if read else self.registers.get(address, 0)
        ones, zeros = self.bits.get(address, (0, 0))
        return (value | ones) & ~zeros

    def write(self, address, value):
        self.registers[address] = value
        if write := self.writes.get(address):
            write(value)

    def console(self, byte):
        """The program sends a byte."""
        byte &= 0xFF
        if byte != ord("\n"):
            self.line.append(byte)
            return
        line = self.line.decode(errors="replace").rstrip("\r")
        print(line, file=self.show, flush=True)
        self.line.clear()
        if line.startswith(self.until):
            self.found = True
            self.uc.emu_stop()

    def receive(self):
        """The next byte for the program, 0 where there is none."""
        return self.input.pop(0) if self.input else 0

    # Running.

    def run(self, limit):
        """Runs the program until it has printed the line, or for `limit` seconds; says what else ended it."""
        for address, data in self.elf.segments:
            self.load(address, data)
        start = self.elf.entry
        if self.vectors is not None:
            stack, start = (int.from_bytes(self.uc.mem_read(self.vectors + at, 4), "little") for at in (0, 4))
            self.uc.reg_write(UC_ARM_REG_SP, stack)
        self.uc.hook_add(UC_HOOK_MEM_INVALID, self.invalid)
        # To count instructions would take thirty times as long.
        timer = threading.Timer(limit, self.stop, [f"no line that begins with `{self.until}` came in {limit:g} s"])
        timer.start()
        try:
            self.uc.emu_start(start, WORD)
        except UcError as error:
            self.problem = self.problem or str(error)
        finally:
            timer.cancel()
        if self.found:
            return None
        problem, pc = self.problem or "the program has gone to sleep", self.uc.reg_read(self.pc)
        rest = f"; begun line: {self.line.decode(errors='replace')}" if self.line else ""
        return f"{problem}, at {pc:#010x} in {self.elf.function(pc)}{rest}"

    def stop(self, problem):
        self.problem = problem
        self.uc.emu_stop()

    def invalid(self, _uc, _access, address, *_):
        self.problem = f"{address:#010x} is no memory, or it must not be written"
        return False

    def skip(self, address, register, counts):
        """Goes past an instruction at an address; its result is 0, or a number that grows."""

        def skip():
            self.cycles += 1000
            if register:
                self.uc.reg_write(UC_RISCV_REG_X0 + register, self.cycles & WORD if counts else 0)
            self.uc.reg_write(self.pc, address + 4)

        self.replace(address, skip)

    def load(self, address, data):
        try:
            self.uc.mem_write(address, data)
        except UcError as error:
            raise ValueError(f"the program has {len(data)} bytes at {address:#010x}, the chip no memory there") from error
