"""Register constants. Generated from host/fpga_gen_host/registers.py; do not edit.

NAME: byte offset of a register; NAME_FIELD_MASK, _SHIFT: a field of it. DIGEST: of the
whole table, as the manifest of a build names it.
"""

DIGEST = "21cd9b8fe43c091a59ec51a56434e89d525d2f7f117d8abfe5e0297a7e5ee699"
MAGIC = 0x46504741
INTERFACE_VERSION = 3
LAYER_LOG_DEPTH = 1024
RUN_FACTOR = 10
RUN_SLACK = 1000000
ID = 0x00
VERSION = 0x04
HASH_LO = 0x08
HASH_HI = 0x0C
CONTROL = 0x10
CONTROL_START_MASK = 0x01
CONTROL_START_SHIFT = 0
CONTROL_SOFT_RESET_MASK = 0x02
CONTROL_SOFT_RESET_SHIFT = 1
CONTROL_IRQ_ENABLE_MASK = 0x04
CONTROL_IRQ_ENABLE_SHIFT = 2
STATUS = 0x14
STATUS_BUSY_MASK = 0x01
STATUS_BUSY_SHIFT = 0
STATUS_DONE_MASK = 0x02
STATUS_DONE_SHIFT = 1
STATUS_ERROR_MASK = 0x04
STATUS_ERROR_SHIFT = 2
STATUS_DRAINING_MASK = 0x08
STATUS_DRAINING_SHIFT = 3
STATUS_ERROR_CODE_MASK = 0xFF00
STATUS_ERROR_CODE_SHIFT = 8
STATUS_ERROR_INFO_MASK = 0xFFFF0000
STATUS_ERROR_INFO_SHIFT = 16
WATCHDOG = 0x18
PROGRAM_WORDS = 0x1C
PROGRAM_LO = 0x20
PROGRAM_HI = 0x24
WEIGHTS_LO = 0x28
WEIGHTS_HI = 0x2C
INPUT_LO = 0x30
INPUT_HI = 0x34
OUTPUT_LO = 0x38
OUTPUT_HI = 0x3C
READ_WINDOW0_BASE_LO = 0x40
READ_WINDOW0_BASE_HI = 0x44
READ_WINDOW0_LIMIT_LO = 0x48
READ_WINDOW0_LIMIT_HI = 0x4C
READ_WINDOW1_BASE_LO = 0x50
READ_WINDOW1_BASE_HI = 0x54
READ_WINDOW1_LIMIT_LO = 0x58
READ_WINDOW1_LIMIT_HI = 0x5C
CYCLES = 0x60
BUSY = 0x64
STALL_WEIGHTS = 0x68
STALL_DRAIN = 0x6C
STALL_INPUT = 0x70
WRITE_BEATS = 0x74
CONFIG = 0x78
READ_BEATS_0 = 0x80
READ_BEATS_1 = 0x84
READ_BEATS_2 = 0x88
READ_BEATS_3 = 0x8C
LAYER_INDEX = 0x90
LAYER_SELECT = 0x94
LAYER_START = 0x98
WRITE_WINDOW_BASE_LO = 0xA0
WRITE_WINDOW_BASE_HI = 0xA4
WRITE_WINDOW_LIMIT_LO = 0xA8
WRITE_WINDOW_LIMIT_HI = 0xAC
FRAME = 0xB0
FRAME_RUN = 0xB4
RUN_LIMIT = 0xB8

ERROR_NONE = 0
ERROR_BAD_INSTRUCTION = 1
ERROR_READ_RESPONSE = 2
ERROR_WRITE_RESPONSE = 3
ERROR_ADDRESS_WINDOW = 4
ERROR_WATCHDOG = 5
ERROR_WEIGHT_UNDERRUN = 6
ERROR_PROGRAM_OVERFLOW = 7
ERROR_RUN_LIMIT = 8
ERROR_AXI_PROTOCOL = 9

ERRORS = {  # STATUS.error_code: name, meaning
    0: (
        "NONE",
        "no error",
    ),
    1: (
        "BAD_INSTRUCTION",
        "unknown opcode, impossible field, or a program of 0 words",
    ),
    2: (
        "READ_RESPONSE",
        "an AXI read was answered with an error; info: port, RRESP << 4",
    ),
    3: (
        "WRITE_RESPONSE",
        "an AXI write was answered with an error; info: BRESP << 4",
    ),
    4: (
        "ADDRESS_WINDOW",
        "a transfer outside the windows of its direction; info: read port, 15: write port",
    ),
    5: (
        "WATCHDOG",
        "no progress for WATCHDOG cycles",
    ),
    6: (
        "WEIGHT_UNDERRUN",
        "an instruction asked for weights that no FETCH delivers",
    ),
    7: (
        "PROGRAM_OVERFLOW",
        "the program does not fit the program memory",
    ),
    8: (
        "RUN_LIMIT",
        "the run took RUN_LIMIT cycles",
    ),
    9: (
        "AXI_PROTOCOL",
        "RLAST at a wrong beat, or an answer nobody asked for; info: read port, 15: write port",
    ),
}
