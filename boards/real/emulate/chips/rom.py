"""What programs call in the mask ROM of Espressif's RISC-V chips, above all the compiler's functions for floating point.

Python's floats are doubles. A sum, product or quotient of two 32-bit floats that is rounded to a double and then to 32
bits is the one that is rounded once, as a double has more than twice their bits.
"""

import math
import operator
import struct

from unicorn.riscv_const import UC_RISCV_REG_A0, UC_RISCV_REG_A1, UC_RISCV_REG_A2, UC_RISCV_REG_A3

RETURN = b"\x82\x80"

# Espressif's functions that need not do anything, and those that may say 0.
NOTHING = ("ets_delay_us", "ets_update_cpu_frequency", "rom_i2c_writeReg", "uart_tx_flush")
ZERO = ("ets_get_printf_channel", "rom_i2c_readReg")


def divide(a, b):
    """What IEEE 754 says where Python raises an exception."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def order(unordered):
    """-1, 0 or 1; `unordered` where one of both is NaN."""
    return lambda a, b: unordered if math.isnan(a) or math.isnan(b) else (a > b) - (a < b)


def integer(low, high):
    """Towards zero and saturated; NaN gives 0."""
    return lambda value: 0 if math.isnan(value) else int(max(low, min(high, value)))


# By name: the kinds of the arguments, the result's kind, and the function. Kinds are those of the module `struct`.
FUNCTIONS = {
    "__floatsisf": ("i", "f", float),
    "__floatunsisf": ("I", "f", float),
    "__floatsidf": ("i", "d", float),
    "__floatunsidf": ("I", "d", float),
    "__fixsfsi": ("f", "i", integer(-(2**31), 2**31 - 1)),
    "__fixunssfsi": ("f", "I", integer(0, 2**32 - 1)),
    "__extendsfdf2": ("f", "d", float),
    "__truncdfsf2": ("d", "f", float),
    "__udivdi3": ("QQ", "Q", lambda a, b: a // b if b else 2**64 - 1),
    "__umoddi3": ("QQ", "Q", lambda a, b: a % b if b else a),
}
for precision, kind in (("s", "f"), ("d", "d")):
    for name, function in (("add", operator.add), ("sub", operator.sub), ("mul", operator.mul), ("div", divide)):
        FUNCTIONS[f"__{name}{precision}f3"] = (kind * 2, kind, function)
    for name, unordered in (("eq", 1), ("ne", 1), ("lt", 1), ("le", 1), ("gt", -1), ("ge", -1)):
        FUNCTIONS[f"__{name}{precision}f2"] = (kind * 2, "i", order(unordered))
    FUNCTIONS[f"__unord{precision}f2"] = (kind * 2, "i", lambda a, b: math.isnan(a) or math.isnan(b))


def pack(kind, value):
    """The value's bytes; a double too large for a 32-bit float is infinite."""
    try:
        return struct.pack(f"<{kind}", value)
    except OverflowError:
        return struct.pack(f"<{kind}", math.copysign(math.inf, value))


def add(machine, base, size):
    """Adds a ROM with the functions above and what Espressif's start-up code calls."""
    machine.flash(base, size)
    uc, registers = machine.uc, (UC_RISCV_REG_A0, UC_RISCV_REG_A1, UC_RISCV_REG_A2, UC_RISCV_REG_A3)

    def provide(address, function):
        """Runs `function`, then the `ret` that stands there. Without one, the address holds no instruction."""

        def call():
            words = function(*(uc.reg_read(register) for register in registers))
            for register, word in zip(registers, words or ()):
                uc.reg_write(register, word)

        uc.mem_write(address, RETURN)
        machine.replace(address, call)

    def number(kinds, result, function):
        def call(*words):
            count = struct.calcsize(f"<{kinds}")
            values = struct.unpack(f"<{kinds}", struct.pack("<4I", *words)[:count])
            data = pack(result, function(*values))
            return struct.unpack(f"<{len(data) // 4}I", data)

        return call

    def copy(to, source, count, _):
        uc.mem_write(to, bytes(uc.mem_read(source, count)))

    def fill(to, byte, count, _):
        uc.mem_write(to, bytes([byte & 0xFF]) * count)

    functions = {name: number(*function) for name, function in FUNCTIONS.items()}
    functions |= {"memcpy": copy, "memmove": copy, "memset": fill}
    functions |= dict.fromkeys(NOTHING, lambda *_: None) | dict.fromkeys(ZERO, lambda *_: (0,))
    functions["rtc_get_reset_reason"] = lambda *_: (1,)
    functions["uart_tx_one_char"] = lambda byte, *_: machine.console(byte)
    for name, function in functions.items():
        if (address := machine.elf.symbols.get(name)) and base <= address < base + size:
            provide(address, function)
