"""What every stage agrees on: instructions, numbers, parameters, the weight stream.

Registers and regions are the runtime's (`fpga_gen_host`), which a board has alone. A wheel of
fpga-gen contains it; a second one, installed as fpga-gen-host, takes its place.
"""

import fpga_gen
import fpga_gen_host

if fpga_gen_host.__version__ != fpga_gen.__version__:
    raise ImportError(
        f"fpga-gen {fpga_gen.__version__} finds fpga_gen_host {fpga_gen_host.__version__} in "
        f"{fpga_gen_host.__path__[0]}: uninstall fpga-gen-host and install fpga-gen again",
        name="fpga_gen_host",
    )
