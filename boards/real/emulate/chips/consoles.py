"""The serial ports of chips. Each function adds one, at its base address, as the console."""


def pl011(machine, base):
    """Arm's PL011: data at 0, flags at 0x18, where bit 4 says that nothing has come."""
    machine.on_write(base, machine.console)
    machine.on_read(base, machine.receive)
    machine.on_read(base + 0x18, lambda: 0x80 | (0 if machine.input else 0x10))


def stm32_usart(machine, base):
    """The first generation, of the F4: status at 0 with bits 7, 6 and 5 for empty, sent and received, data at 4."""
    machine.on_read(base, lambda: 0xC0 | (0x20 if machine.input else 0))
    machine.on_read(base + 4, machine.receive)
    machine.on_write(base + 4, machine.console)


def stm32_usart_v2(machine, base):
    """The later ones: status at 0x1C, where bits 22 and 21 say that both directions are on; data at 0x24 and 0x28."""
    machine.on_read(base + 0x1C, lambda: 0x60_00C0 | (0x20 if machine.input else 0))
    machine.on_read(base + 0x24, machine.receive)
    machine.on_write(base + 0x28, machine.console)


def esp_uart(machine, base, update):
    """Espressif's: a queue at 0, and at 0x1C how much is in both queues. Settings are taken over when the register at
    `update` is written, whose bits fall then."""
    machine.on_read(base, machine.receive)
    machine.on_write(base, machine.console)
    machine.on_read(base + 0x1C, lambda: min(len(machine.input), 127))
    machine.ready(base + update, ones=0, zeros=1 << 31 | 1)


def uarte(machine, base):
    """Nordic's: it moves bytes from and to memory by itself. Tasks are written, and events read, at fixed places."""
    start_receive, start_send, stop_send = 0, 8, 0xC
    received, sent, receiving, sending, stopped = 0x110, 0x120, 0x14C, 0x150, 0x158
    receive_to, send_from = 0x534, 0x544

    def send(_value):
        address, count = machine.read(base + send_from), machine.read(base + send_from + 4)
        for byte in machine.uc.mem_read(address, count):
            machine.console(byte)
        machine.registers |= {base + sending: 1, base + sent: 1}

    def receive():
        if machine.input and machine.registers.get(base + receiving) and not machine.registers.get(base + received):
            machine.uc.mem_write(machine.read(base + receive_to), bytes([machine.receive()]))
            machine.registers |= {base + received: 1, base + receive_to + 8: 1}
        return machine.registers.get(base + received, 0)

    machine.on_write(base + start_send, send)
    machine.on_write(base + stop_send, lambda _: machine.write(base + stopped, 1))
    machine.on_write(base + start_receive, lambda _: machine.write(base + receiving, 1))
    machine.on_read(base + received, receive)
