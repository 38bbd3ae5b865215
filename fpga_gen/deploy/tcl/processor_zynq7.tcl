# Processing system of Zynq-7000 (PG082). Its HP ports are AXI3, 64 bits wide.

namespace eval ::fpga_gen::processing_system7 {

    proc create {clock_mhz hp_ports hp_bits} {
        set cell [create_bd_cell -type ip -vlnv [::fpga_gen::newest_ip processing_system7] processor]
        apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config \
            {make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"} \
            $cell
        set settings [list \
            CONFIG.PCW_EN_CLK0_PORT 1 \
            CONFIG.PCW_EN_RST0_PORT 1 \
            CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
            CONFIG.PCW_USE_M_AXI_GP0 1 \
            CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
            CONFIG.PCW_IRQ_F2P_INTR 1]
        foreach hp $hp_ports {
            lappend settings CONFIG.PCW_USE_S_AXI_HP$hp 1 CONFIG.PCW_S_AXI_HP${hp}_DATA_WIDTH $hp_bits
        }
        set_property -dict $settings $cell
    }

    proc clock {} { return processor/FCLK_CLK0 }
    proc reset {} { return processor/FCLK_RESET0_N }
    proc interrupt {} { return processor/IRQ_F2P }
    proc control {} { return {processor/M_AXI_GP0 processor/M_AXI_GP0_ACLK} }
    proc memory {hp} { return [list processor/S_AXI_HP$hp processor/S_AXI_HP${hp}_ACLK] }
    proc dram_segments {hp dram_bytes} { return processor/S_AXI_HP$hp/HP${hp}_DDR_LOWOCM }
    proc other_segments {hp} { return {} }
}
